"""Which devices are connected and how they are; nothing here outlives the process. For the loop's thread."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from inference_server.hub import Hub
from inference_server.store.library import Device
from inference_server.views import Json, iso

Send = Callable[[str], Awaitable[None]]  # asks the device to "pause" or "resume"


@dataclass(slots=True)
class Connection:
    """A connected device and what it last said of itself."""

    device: str
    ask: Send
    close: Callable[[], None]  # ends this connection: a newer one of the same stream came
    since_ns: int
    recording: bool = True
    backlog: int = 0
    level: float = 0.0


class Presence:
    """The connected devices, told to viewers as they change."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._connections: dict[str, Connection] = {}

    @property
    def connected(self) -> int:
        """How many."""
        return len(self._connections)

    def arrived(self, stream: str, device: str, ask: Send, close: Callable[[], None]) -> Connection:
        """A device connected; an older connection of the same stream is ended."""
        if (older := self._connections.get(stream)) is not None:
            older.close()
        connection = Connection(device, ask, close, time.time_ns())
        self._connections[stream] = connection
        self._tell(stream)
        return connection

    def changed(self, stream: str, recording: bool, backlog: int, level: float) -> None:
        """A device said how it is."""
        connection = self._connections.get(stream)
        if connection is None or (connection.recording, connection.backlog, connection.level) == (
            recording,
            backlog,
            level,
        ):
            return
        if connection.recording != recording:
            connection.since_ns = time.time_ns()
        connection.recording, connection.backlog, connection.level = recording, backlog, level
        self._tell(stream)

    def left(self, stream: str, connection: Connection) -> None:
        """A connection ended."""
        if self._connections.get(stream) is connection:
            del self._connections[stream]
            gone = Device(stream, connection.device, time.time_ns(), 0)
            self._hub.publish("device", self.view(gone))

    def connection(self, stream: str) -> Connection | None:
        """The device's connection; None if it is offline."""
        return self._connections.get(stream)

    def view(self, device: Device) -> Json:
        """The device as viewers see it."""
        connection = self._connections.get(device.stream)
        if connection is None:
            state, since, backlog, level = "offline", device.seen_at, 0, 0.0
        else:
            state = "recording" if connection.recording else "paused"
            since, backlog, level = connection.since_ns, connection.backlog, connection.level
        return {
            "stream": device.stream,
            "device": device.device,
            "state": state,
            "since": iso(since),
            "backlog": backlog,
            "level": level,
        }

    def _tell(self, stream: str) -> None:
        connection = self._connections[stream]
        self._hub.publish("device", self.view(Device(stream, connection.device, connection.since_ns, 0)))
