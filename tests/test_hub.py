"""The hub: nobody is waited for, and nobody who comes back misses anything unknowingly."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import on_a_loop, within

from inference_server.hub import Event, Hub


def hub(history: int = 100, per_viewer: int = 10) -> Hub:
    return Hub("boot", history, per_viewer)


async def numbers(events: AsyncGenerator[Event], n: int) -> list[int]:
    return [(await within(anext(events))).data["n"] for _ in range(n)]


@on_a_loop
async def test_a_viewer_is_told_what_follows_its_cursor() -> None:
    h = hub()
    h.publish("line", {"n": 1})
    cursor = h.cursor
    h.publish("line", {"n": 2})

    async with aclosing(h.events(cursor)) as events:
        assert await numbers(events, 1) == [2]
        h.publish("line", {"n": 3})
        assert await numbers(events, 1) == [3]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 8))
def test_a_viewer_that_comes_back_gets_all_that_it_missed_or_a_reset(published: int, seen: int, history: int) -> None:
    async def story() -> None:
        h = hub(history)
        cursors = [h.cursor]
        for n in range(1, published + 1):
            h.publish("line", {"n": n})
            cursors.append(h.cursor)
        seen_last = min(seen, published)
        async with aclosing(h.events(cursors[seen_last])) as events:
            missed = published - seen_last
            if missed > history:
                assert (await within(anext(events))).name == "reset"
                h.publish("line", {"n": 99})
                assert await numbers(events, 1) == [99]
            else:
                assert await numbers(events, missed) == list(range(seen_last + 1, published + 1))

    asyncio.run(story())


@pytest.mark.parametrize(
    "cursor", ["", "nonsense", "other-0", "boot-", "boot-x", "boot-1", "boot--1", "boot-" + "9" * 9000]
)
def test_an_unknown_cursor_is_answered_with_a_reset(cursor: str) -> None:
    @on_a_loop
    async def story() -> None:
        h = hub()
        async with aclosing(h.events(cursor)) as events:
            event = await within(anext(events))
            assert (event.name, event.cursor) == ("reset", h.cursor)

    story()


@on_a_loop
async def test_a_viewer_that_does_not_keep_up_is_cut_off_and_can_resume() -> None:
    h = hub(per_viewer=3)
    async with aclosing(h.events(h.cursor)) as slow, aclosing(h.events(h.cursor)) as keen:
        h.publish("line", {"n": 0})
        assert await numbers(slow, 1) == await numbers(keen, 1) == [0]
        cursor = h.cursor
        for n in range(1, 5):
            h.publish("line", {"n": n})
            assert await numbers(keen, 1) == [n]

        assert [event async for event in slow] == []
        assert (h.cut_off, h.viewers) == (1, 1)
    async with aclosing(h.events(cursor)) as again:
        assert await numbers(again, 4) == [1, 2, 3, 4]


@on_a_loop
async def test_a_viewer_cut_off_while_it_catches_up_ends_with_what_it_was_owed() -> None:
    h = hub(per_viewer=1)
    cursor = h.cursor
    for n in (1, 2):
        h.publish("line", {"n": n})
    async with aclosing(h.events(cursor)) as events:
        assert await numbers(events, 1) == [1]
        for n in (3, 4):
            h.publish("line", {"n": n})
        assert [event.data["n"] async for event in events] == [2]


@on_a_loop
async def test_after_a_forgetting_nobody_is_told_of_the_past() -> None:
    h = hub()
    cursor = h.cursor
    h.publish("line", {"n": 1, "text": "secret"})

    h.forget()
    h.publish("removed", {"n": 2})

    async with aclosing(h.events(cursor)) as events:
        assert (await within(anext(events))).name == "reset"
        h.publish("line", {"n": 3})
        assert await numbers(events, 1) == [3]


@on_a_loop
async def test_a_viewer_that_was_up_to_date_goes_on_over_a_forgetting() -> None:
    h = hub()
    h.publish("line", {"n": 1})
    cursor = h.cursor
    h.forget()
    h.publish("removed", {"n": 2})

    async with aclosing(h.events(cursor)) as events:
        assert await numbers(events, 1) == [2]


@on_a_loop
async def test_quiet_is_filled_with_pings_that_move_no_cursor() -> None:
    h = hub()
    async with aclosing(h.events(h.cursor, quiet_s=0.001)) as events:
        for _ in range(3):
            assert await within(anext(events)) == Event("", "ping", {})
        h.publish("line", {"n": 1})
        while (event := await within(anext(events))).name == "ping":
            pass
        assert event.data == {"n": 1}


async def _close_when_watched(h: Hub) -> None:
    assert h.viewers == 1  # tasks run in the order in which they were made
    h.close()


@on_a_loop
async def test_closing_ends_every_viewer_and_those_who_come_later() -> None:
    h = hub()
    async with aclosing(h.events(h.cursor)) as events:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(anext(events, None))  # type: ignore[arg-type]
            group.create_task(_close_when_watched(h))
        assert waiting.result() is None
    async with aclosing(h.events(h.cursor)) as events:
        assert [event async for event in events] == []
    assert h.closed and h.viewers == 0


@on_a_loop
async def test_a_viewer_that_leaves_is_forgotten() -> None:
    h = hub()
    async with aclosing(h.events("")) as events:
        await within(anext(events))
        assert h.viewers == 1
    assert h.viewers == 0
