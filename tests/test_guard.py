"""Who may come in, over real requests and WebSockets."""

import socket
import statistics
import time
from pathlib import Path

import pytest
from fakes import Tape
from serving import Running, on_a_loop, serving
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from inference_server import guard

TOKEN = "s3cret-Token_42"


async def status(server: Running, path: str = "/api/ledger", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await server.http.get(path, headers=named)).status_code


async def knock(server: Running, query: str = "", **headers: str) -> int:
    """The status that a WebSocket handshake is answered with; 101 if it is let in."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        async with connect(server.capture_url + query, additional_headers=named):
            return 101
    except InvalidStatus as exc:
        return exc.response.status_code


@on_a_loop
async def test_without_a_token_localhost_is_let_in_and_no_other_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        port = server.url.rsplit(":", 1)[1].strip("/")
        assert await status(server) == 200
        for host in (f"localhost:{port}", "LOCALHOST", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert await status(server, host=host) == 200, host
        # A page of a foreign name that was bound to 127.0.0.1 sends that name.
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[::1",
            "",
        ):
            response = await server.http.get("/api/ledger", headers={"host": host})
            assert response.status_code in (400, 403), host
        assert (await server.http.get("/api/ledger", headers={"host": "evil.example"})).json()["error"][
            "code"
        ] == "host"
        assert await knock(server) == 101


@on_a_loop
async def test_pages_of_other_origins_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        own = server.url.rstrip("/")
        assert await status(server, origin=own) == 200
        for origin in (
            "https://evil.example",
            "http://127.0.0.1:1",
            "null",
            "http://[",
            "",
            own + "x",
            own.replace("//", "//x."),
        ):
            assert await status(server, origin=origin) == 403, origin
            assert await knock(server, origin=origin) == 403, origin
        assert await knock(server, origin=own) == 101
        answer = await server.http.request(
            "DELETE", f"/api/lines/{'ab' * 16}/1", headers={"origin": "https://evil.example"}
        )
        assert answer.json()["error"]["code"] == "origin"


@on_a_loop
async def test_with_a_token_it_comes_as_header_cookie_or_query_and_any_host_may_ask(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as server:
        assert await status(server) == 401
        assert await status(server, authorization=f"Bearer {TOKEN}") == 200
        assert await status(server, authorization=f"bearer  {TOKEN}", host="notes.example") == 200
        assert await status(server, cookie=f"{guard.COOKIE}={TOKEN}") == 200
        assert await status(server, f"/api/ledger?token={TOKEN}") == 200
        assert await status(server, origin="https://evil.example", authorization=f"Bearer {TOKEN}") == 403


@on_a_loop
async def test_nothing_but_the_whole_token_is_a_token(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as server:
        for wrong in ("-", TOKEN[:-1], TOKEN + "x", TOKEN.lower(), "x" * 10_000):
            assert await status(server, authorization=f"Bearer {wrong}") == 401, wrong
        for headers in (
            {"authorization": TOKEN},
            {"authorization": "Bearer"},
            {"authorization": f"Basic {TOKEN}"},
            {"cookie": f"token={TOKEN}"},
        ):
            assert await status(server, **headers) == 401
        assert await status(server, "/api/ledger?token=") == 401
        assert await status(server, f"/api/ledger?token=wrong&x={TOKEN}") == 401
        assert await status(server, cookie=";=;;") == 401
        assert await status(server, "/health") == 200


@on_a_loop
async def test_a_cookie_of_another_program_does_not_hide_ours(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as server:
        for odd in ('a={"x":1}', "b=[1,2]", "c d=e", "=", 'q="unclosed'):
            assert await status(server, cookie=f"{odd}; {guard.COOKIE}={TOKEN}") == 200, odd
            assert await status(server, cookie=f"{guard.COOKIE}={TOKEN}; {odd}") == 200, odd


@on_a_loop
async def test_a_device_needs_the_token_too(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as server:
        assert await knock(server) == 401
        assert await knock(server, authorization="Bearer wrong") == 401
        assert await knock(server, authorization=f"Bearer {TOKEN}") == 101
        assert await knock(server, f"?token={TOKEN}") == 101
        async with server.device(Tape(), additional_headers={"authorization": f"Bearer {TOKEN}"}) as device:
            assert device.welcome is not None


@on_a_loop
async def test_the_link_with_the_token_leaves_a_cookie_and_a_clean_address(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as server:
        answer = await server.http.get(f"/?token={TOKEN}")

        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert (await server.http.get("/")).status_code == 200  # the client keeps cookies


@on_a_loop
async def test_a_token_in_an_address_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving(tmp_path, token=TOKEN) as server:
        assert await knock(server, f"?token={TOKEN}&x=1") == 101
        assert await knock(server, f"?x=1&token={TOKEN}wrong") == 401
        found = await server.get(f"/api/search?q=a%20b&token={TOKEN}&limit=3")
        assert found == {"query": "a b", "hits": []}
    logged = [record.getMessage() for record in caplog.records if record.name.startswith(("uvicorn", "inference"))]
    assert logged and not any(TOKEN in line for line in logged)


@on_a_loop
async def test_every_answer_forbids_foreign_scripts_and_frames(tmp_path: Path) -> None:
    async with serving(tmp_path, token=TOKEN) as server:
        for path in ("/", "/health", "/api/ledger", "/nowhere", f"/?token={TOKEN}"):
            headers = (await server.http.get(path)).headers
            assert "default-src 'self'" in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff", path


@on_a_loop
async def test_a_body_without_end_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        sent = 0

        async def endless():  # type: ignore[no-untyped-def]
            nonlocal sent
            while sent < 50_000_000:
                sent += 65_536
                yield b" " * 65_536

        answer = await server.http.post("/api/ask", content=endless())

        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@on_a_loop
async def test_requests_that_are_no_http_hurt_nobody(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        port = int(server.url.rsplit(":", 1)[1].strip("/"))
        for garbage in (b"\x16\x03\x01" * 50, b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000 + b"\r\n\r\n", b""):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(garbage)
        assert await server.get("/health") == {"name": "fieldnote", "status": "ok"}


def test_comparing_takes_as_long_for_a_near_miss_as_for_a_far_one() -> None:
    token = "x" * 4096
    near, far = "x" * 4095 + "y", "y" + "x" * 4095

    def took(offered: str) -> float:
        begun = time.perf_counter()
        for _ in range(200):
            guard._equal(offered, token)
        return time.perf_counter() - begun

    ratios = [took(near) / took(far) for _ in range(15)]
    assert 0.5 < statistics.median(ratios) < 2.0


@pytest.mark.parametrize("host", ["[::1", "a b", "", "[", "::::", "\x00"])
def test_a_host_that_is_none_is_no_name(host: str) -> None:
    assert guard._hostname(host) not in ("localhost", "127.0.0.1", "::1")
