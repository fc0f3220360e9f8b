"""Keeps viewers told about the ledger: at most one event a second for each stream, only when something has come."""

import asyncio
import logging
import time

from sqlalchemy.exc import DatabaseError

from inference_server.hub import Hub
from inference_server.ledger import account, day_of
from inference_server.store.library import Device, Library
from inference_server.views import Json, ledger

logger = logging.getLogger(__name__)
_EVERY_S = 1.0
_REST = 9  # times as long as it took: a long day takes a tenth of the time at most


def day_view(library: Library, device: Device, day: str) -> Json:
    """A stream's account of one UTC day. Raises ValueError on a bad day."""
    return ledger(device.stream, device.device, day, account(library.spans(device.stream, day), day))


class Ledgers:
    """Publishes what `touch` marked."""

    def __init__(self, library: Library, hub: Hub) -> None:
        self._library = library
        self._hub = hub
        self._touched: dict[str, int] = {}
        self._wake = asyncio.Event()

    def touch(self, stream: str, captured_at: int) -> None:
        """The stream's account of the day of `captured_at` (UTC ns) has changed."""
        self._touched[stream] = captured_at
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            touched, self._touched = self._touched, {}
            begun = time.monotonic()
            if self._hub.viewers:
                try:
                    await self._publish(touched)
                except DatabaseError as exc:  # the account is told with the next change
                    logger.error("the store fails: %s", exc.orig)
            await asyncio.sleep(max(_EVERY_S, _REST * (time.monotonic() - begun)))

    async def _publish(self, touched: dict[str, int]) -> None:
        for device in await asyncio.to_thread(self._library.devices):
            if device.stream in touched:
                day = day_of(touched[device.stream])
                view = await asyncio.to_thread(day_view, self._library, device, day)
                self._hub.publish("ledger", view)
