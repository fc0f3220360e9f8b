"""Publish and subscribe for live viewers. A viewer that does not keep up is cut off, never waited for.

Every event has a number; a viewer that comes back names the last one it saw and gets what followed, or is told
to take the snapshot again. Use from the event loop's thread only.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

_MOST_DIGITS = 18  # of an event's number


@dataclass(frozen=True, slots=True)
class Event:
    """Something that viewers show. `cursor` names the state after it; a `ping` has none."""

    cursor: str
    name: str
    data: dict[str, Any]


class Hub:
    """One per server. `boot` makes cursors of different runs differ."""

    def __init__(self, boot: str, history: int, per_viewer: int) -> None:
        self._boot = boot
        self._number = 0
        self._history: deque[tuple[int, Event]] = deque(maxlen=history)
        self._per_viewer = per_viewer
        self._viewers: dict[object, asyncio.Queue[Event | None]] = {}
        self._watching = 0
        self._closed = False
        self.cut_off = 0

    @property
    def cursor(self) -> str:
        """Where a snapshot taken now stands."""
        return f"{self._boot}-{self._number}"

    @property
    def closed(self) -> bool:
        """No event will follow."""
        return self._closed

    @property
    def viewers(self) -> int:
        """How many pages and programs follow."""
        return self._watching

    def publish(self, name: str, data: dict[str, Any]) -> None:
        """Tell everyone; never waits."""
        self._number += 1
        event = Event(self.cursor, name, data)
        self._history.append((self._number, event))
        for key, queue in list(self._viewers.items()):
            if queue.qsize() >= self._per_viewer:
                self.cut_off += 1
                self._end(key)
            else:
                queue.put_nowait(event)

    def forget(self) -> None:
        """Something was forgotten: tell nothing of the past any more. Viewers that come back take the snapshot."""
        self._history.clear()

    def _end(self, key: object) -> None:
        queue = self._viewers.pop(key)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)

    async def events(self, after: str, quiet_s: float | None = None, watching: bool = True) -> AsyncGenerator[Event]:
        """Events behind cursor `after`, then new ones as they come; one `reset` first if `after` is unknown.

        A `ping` follows each `quiet_s` without another event. Ends when the viewer was too slow or the hub closes.
        `watching` False: a device, which does not count as a viewer.
        """
        key, queue = object(), asyncio.Queue[Event | None](self._per_viewer + 1)
        missed = self._missed(after)
        self._viewers[key] = queue
        self._watching += watching
        if self._closed:
            self._end(key)
        try:
            for event in missed:
                yield event
            while (next_event := await self._next(queue, quiet_s)) is not None:
                yield next_event
        finally:
            self._watching -= watching
            self._viewers.pop(key, None)

    async def _next(self, queue: asyncio.Queue[Event | None], quiet_s: float | None) -> Event | None:
        try:
            async with asyncio.timeout(quiet_s):
                return await queue.get()
        except TimeoutError:
            return Event("", "ping", {})

    def _missed(self, after: str) -> list[Event]:
        boot, _, number = after.rpartition("-")
        oldest = self._history[0][0] if self._history else self._number + 1
        known = boot == self._boot and number.isdecimal() and len(number) <= _MOST_DIGITS
        if not known or not oldest - 1 <= int(number) <= self._number:
            return [Event(self.cursor, "reset", {})]
        return [event for n, event in self._history if n > int(number)]

    def close(self) -> None:
        """End every subscription."""
        self._closed = True
        for key in list(self._viewers):
            self._end(key)
