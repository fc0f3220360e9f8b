"""The page's whole state at one instant. The cursor is taken before the store is read, so no event falls between."""

import asyncio
import time
from typing import Any

from inference_server import views
from inference_server.hub import Hub
from inference_server.ledger import day_bounds_ns, day_of
from inference_server.ledgers import day_view
from inference_server.presence import Presence
from inference_server.store.library import Answer, Library
from inference_server.worker import Worker


class Snapshots:
    """Takes snapshots."""

    def __init__(self, library: Library, presence: Presence, hub: Hub, worker: Worker, engine: str) -> None:
        self._library, self._presence, self._hub, self._worker = library, presence, hub, worker
        self._engine = engine

    async def take(self, day: str | None) -> views.Json:
        """Everything that docs/api.md promises. Raises ValueError on a bad day."""
        cursor, drafts = self._hub.cursor, list(self._worker.drafts())
        body = await asyncio.to_thread(self._stored, day)
        devices = [self._presence.view(device) for device in body.pop("_devices")]
        server = {"engine": self._engine, "shedding": self._worker.shedding}
        return {"cursor": cursor, **body, "devices": devices, "drafts": drafts, "server": server}

    async def day_or_newest(self, day: str | None) -> str:
        """`day`, or the newest day with notes, else today. Raises ValueError on a bad day."""
        if day is not None:
            day_bounds_ns(day)
            return day
        days = await asyncio.to_thread(self._library.days)
        return days[-1] if days else day_of(time.time_ns())

    def _stored(self, day: str | None) -> dict[str, Any]:
        days = self._library.days()
        day = day or (days[-1] if days else day_of(time.time_ns()))
        devices = self._library.devices()
        names = {device.stream: device.device for device in devices}
        ledgers = [day_view(self._library, device, day) for device in devices]
        return {
            "day": day,
            "days": sorted({*days, day}),
            "topics": [views.topic_with_lines(topic) for topic in self._library.topics(day)],
            "ledger": [ledger for ledger in ledgers if ledger["total_s"]],
            "answers": [self._answer(answer, names) for answer in self._library.answers(day)],
            "_devices": devices,
        }

    def _answer(self, answer: Answer, devices: dict[str, str]) -> views.Json:
        found = (self._library.line(*_key(id_)) for id_ in answer.evidence)
        items = [views.evidence(line, devices.get(line.stream, "")) for line in found if line is not None]
        return views.answer(
            answer.stream, answer.utterance, answer.captured_at, answer.question, answer.text, items, True
        )


def _key(id_: str) -> tuple[str, int]:
    stream, _, seq = id_.partition("/")
    return stream, int(seq)
