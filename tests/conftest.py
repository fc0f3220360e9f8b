"""What every test shares: real recordings where they are, no leaked threads, and in CI no silent skips."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import media

_LEAK_S = 3.0


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The directory of real recordings and photos; the test is skipped where it is absent, except in CI."""
    directory = media.default_dir()
    if not (directory / "MANIFEST.tsv").exists():
        pytest.skip(f"no recordings at {directory}; set FIELDNOTE_MEDIA to where they are")
    return directory


@pytest.fixture(scope="session")
def human_reading() -> Path:
    """44 s of a human voice that come with the speech recogniser."""
    from moonshine_voice import get_assets_path

    return Path(str(get_assets_path())) / "two_cities.wav"


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """A test that leaves a thread behind fails; daemons of libraries apart."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + _LEAK_S
    while (leaked := _leaked(before)) and time.monotonic() < until:
        leaked[0].join(timeout=0.1)
    assert not leaked, f"threads left behind: {[thread.name for thread in leaked]}"


def _leaked(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        # asyncio's own pool ends with its loop, which fixtures of a wider scope keep running
        if thread not in before and not thread.daemon and not thread.name.startswith("asyncio_")
    ]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI everything must run: a skip is a failure there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("skipped in CI, where everything must run", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
