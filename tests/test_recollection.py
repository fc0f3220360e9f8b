"""Words recognised ahead serve for the same audio with silence behind it, and for nothing else."""

from concurrent.futures import Future

import numpy as np
import pytest
from fakes import silence, voice

from agent.audio import Pcm
from inference_server.engines.cascade.recogniser import Heard
from inference_server.engines.cascade.recollection import KEPT, TAIL, Recollection


def kept(*audios: Pcm) -> tuple[Recollection, list["Future[Heard]"]]:
    recollection = Recollection()
    futures: list[Future[Heard]] = [Future() for _ in audios]
    for audio, future in zip(audios, futures, strict=True):
        recollection.keep(audio, future)
    return recollection, futures


SPOKEN = np.concatenate([voice(1.5), silence(0.5)])
N = len(voice(1.5))  # behind these nothing is said


@pytest.mark.parametrize("quiet_s", [0.0, 0.01, 0.3, 2.0])
def test_the_same_audio_with_silence_behind_it_is_known(quiet_s: float) -> None:
    recollection, (future,) = kept(SPOKEN)
    assert recollection.find(np.concatenate([SPOKEN, silence(quiet_s)]), N) is future


def test_audio_in_which_more_is_said_is_not_known() -> None:
    recollection, _ = kept(SPOKEN)
    more = np.concatenate([SPOKEN, voice(0.5)])
    assert recollection.find(more, len(more)) is None


def test_audio_that_ended_within_a_word_is_not_known() -> None:
    recollection, _ = kept(SPOKEN[: N + TAIL - 1])
    assert recollection.find(SPOKEN, N) is None


def test_other_audio_is_not_known() -> None:
    recollection, _ = kept(SPOKEN)
    changed = SPOKEN.copy()
    changed[0] += 1
    assert recollection.find(changed, N) is None
    assert recollection.find(SPOKEN[:-1], N) is None
    assert Recollection().find(SPOKEN, N) is None


def test_of_several_the_newest_counts() -> None:
    longer = np.concatenate([SPOKEN, silence(0.3)])
    recollection, (_, future) = kept(SPOKEN, longer)
    assert recollection.find(np.concatenate([longer, silence(0.3)]), N) is future


def test_only_the_newest_are_remembered() -> None:
    audios = [np.full(256, n, np.int16) for n in range(KEPT + 4)]
    recollection, futures = kept(*audios)
    found = [recollection.find(audio, 0) for audio in audios]
    assert found == [None] * 4 + futures[4:]
