"""What to send next: a window over the spool, cumulative acknowledgements, resume. Knows sequence numbers, no socket.

uplink = Uplink(window_records=256, window_bytes=1_000_000)
uplink.welcomed(have_seq, oldest_seq, next_seq)     # each connection starts here
while uplink.room: ... uplink.sent(seq, size)
dropped_through = uplink.acknowledged(seq)
"""

from collections import deque
from dataclasses import dataclass, field

from agent.protocol import ProtocolError


@dataclass(slots=True)
class Uplink:
    """Which records are on the way, and whether another may follow."""

    window_records: int
    window_bytes: int
    acked: int = 0  # the server holds everything up to here
    _in_flight: deque[tuple[int, int]] = field(default_factory=deque)  # (seq, size_bytes), oldest first
    _bytes: int = 0

    def welcomed(self, have_seq: int, oldest_seq: int, next_seq: int) -> None:
        """A connection begins: the server holds records up to `have_seq`, the spool those from `oldest_seq` on, and
        its next one will be `next_seq`.

        Raises ProtocolError if the two do not meet: one of them was set back in time, or this is another server.
        """
        if have_seq + 1 < oldest_seq:
            raise ProtocolError(
                f"the server holds records of this stream up to {have_seq}, and this spool gave those before "
                f"{oldest_seq} to a server already: use that one, or begin a new stream with another --spool DIR"
            )
        if have_seq >= next_seq:
            raise ProtocolError(
                f"the server holds record {have_seq} of this stream and the spool is only at {next_seq - 1}: "
                "it was restored from an old copy; move the spool directory away to begin a new stream"
            )
        self.acked = have_seq
        self._in_flight.clear()
        self._bytes = 0

    @property
    def sent_through(self) -> int:
        """The last record on the way or acknowledged."""
        return self._in_flight[-1][0] if self._in_flight else self.acked

    @property
    def in_flight(self) -> int:
        """Records sent and not yet acknowledged."""
        return len(self._in_flight)

    @property
    def room(self) -> int:
        """How many more records may be sent now."""
        return 0 if self._bytes >= self.window_bytes else self.window_records - len(self._in_flight)

    def sent(self, seq: int, size_bytes: int) -> None:
        """A record has gone out; they go in order and without holes."""
        assert seq == self.sent_through + 1
        self._in_flight.append((seq, size_bytes))
        self._bytes += size_bytes

    def acknowledged(self, seq: int) -> int:
        """The server holds everything up to `seq`; returns how far the spool may forget. Raises ProtocolError."""
        if seq > self.sent_through:
            raise ProtocolError(f"the server acknowledged record {seq}; only {self.sent_through} were sent")
        while self._in_flight and self._in_flight[0][0] <= seq:
            self._bytes -= self._in_flight.popleft()[1]
        self.acked = max(self.acked, seq)
        return self.acked
