"""Who may come in: the token, and requests that a foreign web page makes through someone's browser.

Without a token the server listens on loopback alone. Even there a web page on the internet could reach it through the
browser, so the Host must be a loopback name (against DNS rebinding) and an Origin, where there is one, must be our own.
"""

import hmac
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference_server.config import LOOPBACK

COOKIE = "fieldnote_token"
_OPEN_PATHS = {"/health"}
_MOST_BODY_BYTES = 100_000
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware around everything. `token` "" means: loopback only, no token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it with what is wrong."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        scope["query_string"] = _without_token(scope["query_string"])  # in place: the server logs what stands there
        send = _with_headers(send, scope)
        if refusal is None:
            await self._app(scope, _bounded(receive), send)
        elif scope["type"] == "websocket":
            await refusal_to_websocket(refusal, scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["path"] in _OPEN_PATHS:
            return None
        if not self._token and _hostname(headers.get("host", "")) not in LOOPBACK:
            return _error(403, "host", "without a token this server answers to localhost alone")
        if not _same_origin(headers):
            return _error(403, "origin", "requests from other web pages are refused")
        if not self._token:
            return None
        offered = _offered(scope, headers)
        if offered and any(_equal(one, self._token) for one in offered):
            query = parse_qs(scope["query_string"].decode("latin-1"))
            return self._signed_in(scope) if scope["path"] == "/" and "token" in query else None
        return _error(401, "token", "this server needs its token: open the URL that it shows at its start")

    def _signed_in(self, scope: Scope) -> Response:
        """Keep the token in a cookie and out of the address bar."""
        response = RedirectResponse("/", 303)
        secure = scope.get("scheme") == "https"
        response.set_cookie(COOKIE, self._token, 365 * 86_400, httponly=True, samesite="strict", secure=secure)
        return response


async def refusal_to_websocket(refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake with the refusal's own status, where the server can; else close before accepting."""
    if "websocket.http.response" in scope.get("extensions", {}):
        start: Message = {
            "type": "websocket.http.response.start",
            "status": refusal.status_code,
            "headers": refusal.raw_headers,
        }
        await send(start)
        await send({"type": "websocket.http.response.body", "body": bytes(refusal.body)})
    else:
        await send({"type": "websocket.close", "code": 1008})


def _with_headers(send: Send, scope: Scope) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return sending


def _bounded(receive: Receive) -> Receive:
    """No request's body is large; one that goes on and on is refused before it fills the memory."""
    received = 0

    async def receiving() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > _MOST_BODY_BYTES:
                raise HTTPException(413, f"the request is larger than {_MOST_BODY_BYTES} bytes")
        return message

    return receiving


def _without_token(query_string: bytes) -> bytes:
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    if all(name != "token" for name, _ in pairs):
        return query_string
    return urlencode([(name, value) for name, value in pairs if name != "token"]).encode()


def _offered(scope: Scope, headers: Headers) -> list[str]:
    """Every token that the request carries."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    offered = [bearer.strip()] if scheme.lower() == "bearer" else []
    offered += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
    cookies = cookie_parser(headers.get("cookie", ""))  # as browsers do: another's odd cookie does not hide ours
    return offered + ([cookies[COOKIE]] if COOKIE in cookies else [])


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.casefold() == headers.get("host", "").casefold()
    except ValueError:
        return False


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").casefold()
    except ValueError:
        return ""


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
