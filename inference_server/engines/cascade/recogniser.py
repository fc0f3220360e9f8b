"""Speech to words on the CPU. A recogniser also says how much speech it hears: the server's own witness."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from agent.audio import SAMPLE_RATE, Pcm, to_float32
from inference_server.config import Engine as EngineConfig
from inference_server.engines.base import EngineError

logger = logging.getLogger(__name__)
_QUIET_PEAK = 0.25  # quieter audio is brought up to this peak for the speech detector; recognition takes it as it is


@dataclass(frozen=True, slots=True)
class Heard:
    """Words of one piece of audio, and the seconds of speech in it."""

    words: str
    speech_s: float


class Recogniser(Protocol):
    """Not thread-safe: one for each thread. Raises EngineError."""

    def hear(self, pcm: Pcm) -> Heard:
        """Recognise (n_samples,) int16 at 16 kHz, at most 30 s."""
        ...


class Moonshine:
    """The tiny English model inside the moonshine-voice wheel.

    Its built-in cutting by voice activity costs every ninth word on read speech, so it is switched off:
    utterances come cut already. The same library's detector (Silero), in a second instance that recognises
    nothing, is the second witness.
    """

    def __init__(self) -> None:
        from moonshine_voice import ModelArch, get_model_path
        from moonshine_voice.transcriber import Transcriber

        path = str(get_model_path("tiny-en"))
        whole = {"return_audio_data": "false", "vad_max_segment_duration": "40"}
        self._words = Transcriber(path, ModelArch.TINY, options={**whole, "vad_threshold": "0.0"})
        self._speech = Transcriber(path, ModelArch.TINY, options={**whole, "skip_transcription": "true"})

    def hear(self, pcm: Pcm) -> Heard:
        """Recognise; nothing is recognised where the detector hears no speech."""
        samples = to_float32(pcm)
        peak = float(np.abs(samples).max(initial=0.0))
        louder = samples * (_QUIET_PEAK / peak) if 0.0 < peak < _QUIET_PEAK else samples
        speech_s = sum(line.duration for line in _transcribe(self._speech, louder))
        if speech_s == 0.0:
            return Heard("", 0.0)
        return Heard(" ".join(line.text.strip() for line in _transcribe(self._words, samples)), speech_s)


def _transcribe(transcriber: Any, samples: "np.ndarray[Any, np.dtype[np.float32]]") -> list[Any]:
    from moonshine_voice import MoonshineError

    try:
        lines: list[Any] = transcriber.transcribe_without_streaming(samples.tolist(), SAMPLE_RATE).lines
    except MoonshineError as exc:
        raise EngineError(f"the recogniser failed: {exc}") from exc
    return lines


class Whisper:
    """faster-whisper with a local CTranslate2 directory or a name on the model hub: for other languages."""

    def __init__(self, model: str, language: str) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as exc:
            raise EngineError("faster-whisper is not installed: python -m pip install 'fieldnote[whisper]'") from exc
        self._language = language
        try:
            self._model = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=1)
        except (OSError, ValueError, RuntimeError) as exc:
            raise EngineError(
                f"the whisper model {model!r} cannot be loaded ({exc}); give a local CTranslate2 directory"
            ) from exc

    def hear(self, pcm: Pcm) -> Heard:
        """Recognise; nothing is recognised where the detector hears no speech."""
        from faster_whisper.vad import get_speech_timestamps

        samples = to_float32(pcm)
        speech = sum(part["end"] - part["start"] for part in get_speech_timestamps(samples))
        if speech == 0:
            return Heard("", 0.0)
        segments, _ = self._model.transcribe(samples, language=self._language, condition_on_previous_text=False)
        return Heard(" ".join(segment.text.strip() for segment in segments), speech / SAMPLE_RATE)


def opener(config: EngineConfig) -> Callable[[], Recogniser]:
    """How to open the recogniser that the config names; opening may raise EngineError."""
    match config.recogniser:
        case "moonshine":
            return Moonshine
        case "whisper":
            return lambda: Whisper(config.whisper_model, config.language)
