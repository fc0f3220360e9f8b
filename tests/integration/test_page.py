"""The live page in a real browser, while a real agent streams to a real server."""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inference_server import launch
from inference_server.demo_frames import draw

selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install -e '.[test]'")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

DEADLINE_S = 60
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--window-size=1366,850"]


@dataclass(slots=True)
class Rig:
    """A server and its agents on a loop in a thread of their own, so that the test can wait on the browser."""

    scratch: Path
    url: str = ""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _thread: threading.Thread = field(init=False)
    _agents: list[asyncio.subprocess.Process] = field(default_factory=list)

    def start(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)))
        self._thread.start()
        assert ready.wait(DEADLINE_S)

    async def _serve(self, ready: threading.Event) -> None:
        async with launch.server(self.scratch / "server") as self.url:
            ready.set()
            await self._ended.wait()
            for agent in self._agents:
                await launch.end(agent)

    def stream(self, name: str, *arguments: str) -> None:
        """Start an agent."""

        async def start() -> None:
            spool = self.scratch / f"agent-{name}"
            self._agents.append(await launch.start_agent(self.url, spool, "--device", name, *arguments))

        asyncio.run_coroutine_threadsafe(start(), self._loop).result(DEADLINE_S)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(DEADLINE_S)
        self._loop.close()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, human_reading: Path) -> Iterator[Rig]:
    scratch = tmp_path_factory.mktemp("page")
    rig = Rig(scratch)
    rig.start()
    slides = draw(scratch / "slides")
    rig.stream(
        "glasses", "--audio", str(human_reading), "--frames", str(slides)
    )  # in real time, as a person would see it
    yield rig
    rig.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with chromedriver: install both to test the page (Debian: chromium chromium-driver)")
    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver, log_output=subprocess.DEVNULL))
    yield browser
    browser.quit()


def wait(browser: webdriver.Chrome, what: Callable[[webdriver.Chrome], Any], deadline_s: float = DEADLINE_S) -> Any:
    return WebDriverWait(browser, deadline_s, poll_frequency=0.1, ignored_exceptions=[Exception]).until(what)


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    found = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())", selector
    )
    return [str(text) for text in found]


def open_page(browser: webdriver.Chrome, url: str) -> None:
    browser.get(url)
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, "body[data-ready=true][data-link=live]"))


def test_words_appear_while_they_are_spoken_and_become_a_line(rig: Rig, browser: webdriver.Chrome) -> None:
    open_page(browser, rig.url)
    growing: list[str] = wait(browser, lambda b: [t for t in texts(b, ".draft .line-text") if len(t.split()) >= 3])
    assert growing[0].casefold().startswith("it was the best")
    wait(browser, lambda b: [t for t in texts(b, "article.line[data-kind=heard] .line-text") if "best of times" in t])
    wait(browser, lambda b: [t for t in texts(b, "article.line[data-kind=seen] .line-text") if "TALE OF TWO" in t])
    assert wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".device[data-state=recording]")).is_displayed()


def test_the_devices_recording_can_be_paused_and_resumed(rig: Rig, browser: webdriver.Chrome) -> None:
    open_page(browser, rig.url)
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".device[data-state=recording] .device-pause")).click()
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".device[data-state=paused]"))
    browser.find_element(By.CSS_SELECTOR, ".device-pause").click()
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".device[data-state=recording]"))


def test_a_reload_shows_the_same_lines(rig: Rig, browser: webdriver.Chrome) -> None:
    open_page(browser, rig.url)
    before = wait(browser, lambda b: texts(b, "article.line .line-text"))
    browser.refresh()
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, "body[data-ready=true][data-link=live]"))
    after = wait(browser, lambda b: texts(b, "article.line .line-text"))
    assert after[: len(before)] == before


def test_a_line_opens_with_its_frame_and_plays_its_clip(rig: Rig, browser: webdriver.Chrome) -> None:
    open_page(browser, rig.url)
    line = wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, "article.line[data-kind=heard] .line-text"))
    line.click()
    image = wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".detail-frame img"))
    wait(browser, lambda b: b.execute_script("return arguments[0].naturalWidth", image) == 1280)
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".clip-play"))
    assert not texts(browser, ".clip-failure") or texts(browser, ".clip-failure") == [""]


def test_a_question_is_answered_with_its_evidence(rig: Rig, browser: webdriver.Chrome) -> None:
    open_page(browser, rig.url)
    wait(browser, lambda b: [t for t in texts(b, "article.line .line-text") if "foolishness" in t])
    box = browser.find_element(By.ID, "ask-input")
    box.send_keys("the age of what foolishness?", Keys.ENTER)
    wait(browser, lambda b: [t for t in texts(b, ".answer-text") if "foolishness" in t])
    assert wait(browser, lambda b: texts(b, ".evidence li"))


def test_search_finds_what_was_said(rig: Rig, browser: webdriver.Chrome) -> None:
    open_page(browser, rig.url)
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    browser.find_element(By.ID, "search-input").send_keys("wisdom")
    assert wait(browser, lambda b: [t for t in texts(b, ".hit") if "wisdom" in t])


def test_the_wall_shows_the_last_lines_and_no_controls(rig: Rig, browser: webdriver.Chrome) -> None:
    browser.get(f"{rig.url}?display=wall")
    assert wait(browser, lambda b: texts(b, ".wall-line .wall-text"))
    assert texts(browser, "button") == [] or not any(
        element.is_displayed() for element in browser.find_elements(By.TAG_NAME, "button")
    )


def test_a_forgotten_line_is_gone_from_the_page_and_from_the_disk(rig: Rig, browser: webdriver.Chrome) -> None:
    open_page(browser, rig.url)
    line = wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, "article.line[data-kind=heard]"))
    stream, seq = line.get_attribute("data-id").split("/")
    clips = lambda: list((rig.scratch / "server/media" / stream).rglob(f"{seq}.ogg"))  # noqa: E731
    assert clips()
    line.find_element(By.CSS_SELECTOR, ".line-text").click()
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".forget")).click()
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".forget-confirm")).click()
    gone = f"article.line[data-id='{stream}/{seq}']"
    wait(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, gone))
    assert not clips()


def test_the_page_runs_without_script_errors_and_within_its_policy(rig: Rig, browser: webdriver.Chrome) -> None:
    open_page(browser, rig.url)
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def test_the_pages_reducer_agrees_with_the_server() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: the page's own unit tests (tests/page) need it")
    tests = Path(__file__).parents[1] / "page/state.test.mjs"
    done = subprocess.run([node, "--test", str(tests)], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout[-3000:]
