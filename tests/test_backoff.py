"""How long the link waits between attempts."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import Backoff

delays = st.floats(0.001, 1000)


@given(delays, delays, st.integers(1, 200), st.integers())
def test_a_delay_is_never_above_the_longest_nor_below_half_of_what_the_failures_call_for(
    first_s: float, longest_s: float, failures: int, seed: int
) -> None:
    backoff = Backoff(first_s, longest_s, Random(seed))
    for failure in range(failures):
        ceiling = min(longest_s, first_s * 2.0**failure)
        assert ceiling / 2 <= backoff.next_s() <= ceiling


def test_hours_of_failures_do_not_overflow() -> None:
    backoff = Backoff(0.5, 30.0, Random(1))
    assert all(backoff.next_s() <= 30.0 for _ in range(5000))


def test_after_a_success_the_delay_begins_anew() -> None:
    backoff = Backoff(1.0, 60.0, Random(1))
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 1.0


def test_two_devices_do_not_wait_in_step() -> None:
    one, other = Backoff(1.0, 60.0, Random(1)), Backoff(1.0, 60.0, Random(2))
    assert [one.next_s() for _ in range(5)] != [other.next_s() for _ in range(5)]
