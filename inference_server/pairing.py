"""How a device or a phone finds this server: the URL, the command, and both as a QR code."""

import io
import socket
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import quote

import segno

from inference_server.config import LOOPBACK
from inference_server.views import Json


@dataclass(frozen=True, slots=True)
class Pairing:
    """`host` is what the server listens on; `token` "" if it needs none."""

    host: str
    port: int
    token: str
    tls: bool

    @property
    def _address(self) -> str:
        host = _own_address() if self.host in ("0.0.0.0", "::") else self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def page_url(self) -> str:
        """Where the page is, without the token."""
        return f"{'https' if self.tls else 'http'}://{self._address}/"

    @property
    def url(self) -> str:
        """The page, opened for whoever follows this link."""
        return self.page_url + (f"?token={quote(self.token)}" if self.token else "")

    @property
    def command(self) -> str:
        """What to run on a capture device."""
        secret = f"FIELDNOTE_TOKEN={self.token} " if self.token else ""
        return f"{secret}fieldnote-agent capture --server {'wss' if self.tls else 'ws'}://{self._address}"

    def view(self) -> Json:
        """For the page's empty state."""
        return {
            "url": self.url,
            "command": self.command,
            "qr_svg": self._qr_svg(),
            "local": self.host in LOOPBACK,
        }

    def _qr_svg(self) -> str:
        out = io.BytesIO()
        segno.make(self.url, error="m").save(
            out, kind="svg", xmldecl=False, scale=4, border=2, dark="#000", light="#fff"
        )
        return out.getvalue().decode()

    def qr_text(self) -> str:
        """The QR code for a terminal."""
        out = io.StringIO()
        segno.make(self.url, error="m").terminal(out, compact=True, border=1)
        return out.getvalue()


def _own_address() -> str:
    """The address that others in the network reach this machine by, as the system would choose it; nothing is sent."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address that belongs to no one
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
