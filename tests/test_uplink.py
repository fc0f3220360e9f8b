"""What may be sent next: the window, cumulative acknowledgements, resume."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import ProtocolError
from agent.uplink import Uplink


def test_a_session_resumes_behind_what_the_server_holds() -> None:
    uplink = Uplink(window_records=4, window_bytes=1000)
    uplink.welcomed(have_seq=5, oldest_seq=3, next_seq=9)
    assert (uplink.acked, uplink.sent_through, uplink.in_flight, uplink.room) == (5, 5, 0, 4)


def test_a_new_session_forgets_what_was_on_the_way_in_the_old_one() -> None:
    uplink = Uplink(window_records=4, window_bytes=1000)
    uplink.sent(1, 600)
    uplink.sent(2, 600)
    uplink.welcomed(have_seq=1, oldest_seq=1, next_seq=3)
    assert (uplink.sent_through, uplink.in_flight, uplink.room) == (1, 0, 4)


@pytest.mark.parametrize("have_seq", [9, 10, 2**62])
def test_a_server_that_holds_what_was_never_sent_is_refused(have_seq: int) -> None:
    uplink = Uplink(window_records=4, window_bytes=1000)
    with pytest.raises(ProtocolError, match="old copy"):
        uplink.welcomed(have_seq, oldest_seq=3, next_seq=9)


def test_a_server_that_lacks_what_the_spool_already_gave_away_is_refused() -> None:
    uplink = Uplink(window_records=4, window_bytes=1000)
    with pytest.raises(ProtocolError, match="another --spool"):
        uplink.welcomed(have_seq=0, oldest_seq=3, next_seq=9)


def test_an_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    uplink = Uplink(window_records=4, window_bytes=1000)
    uplink.sent(1, 10)
    with pytest.raises(ProtocolError, match="only 1 were sent"):
        uplink.acknowledged(2)


def test_a_late_acknowledgement_takes_nothing_back() -> None:
    uplink = Uplink(window_records=4, window_bytes=1000)
    for seq in (1, 2, 3):
        uplink.sent(seq, 10)
    assert uplink.acknowledged(2) == 2
    assert uplink.acknowledged(1) == 2
    assert (uplink.acked, uplink.in_flight) == (2, 1)


def test_one_record_larger_than_the_window_still_goes() -> None:
    uplink = Uplink(window_records=4, window_bytes=1000)
    assert uplink.room == 4
    uplink.sent(1, 5000)
    assert uplink.room == 0
    uplink.acknowledged(1)
    assert uplink.room == 4


@given(st.integers(1, 8), st.integers(1, 500), st.lists(st.one_of(st.integers(1, 300), st.none())))
def test_the_window_is_never_exceeded_and_opens_again_when_all_is_acknowledged(
    window_records: int, window_bytes: int, steps: list[int | None]
) -> None:
    """A step sends a record of that size if there is room, or acknowledges the oldest on the way."""
    uplink, on_the_way = Uplink(window_records, window_bytes), list[tuple[int, int]]()
    for size in steps:
        if size is None:
            if on_the_way:
                seq, _ = on_the_way.pop(0)
                assert uplink.acknowledged(seq) == seq
        elif uplink.room:
            seq = uplink.sent_through + 1
            uplink.sent(seq, size)
            on_the_way.append((seq, size))
        assert uplink.in_flight == len(on_the_way) <= window_records
        assert sum(size for _, size in on_the_way[:-1]) < window_bytes
    uplink.acknowledged(uplink.sent_through)
    assert uplink.room == window_records
