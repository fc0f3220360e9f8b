"""The recordings that the benchmarks measure on, read as the one audio format inside Fieldnote."""

import os
from pathlib import Path

import av
import numpy as np

from agent.audio import SAMPLE_RATE, Pcm

# Files without a header to say what they hold.
RAW_FORMATS = {".g722": ("g722", {}), ".raw": ("s16le", {"sample_rate": "8000"})}


def default_dir() -> Path:
    """Where the recordings are: $FIELDNOTE_MEDIA, or ../shared/media beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "media"
    return Path(os.environ.get("FIELDNOTE_MEDIA", beside))


def read(path: Path) -> Pcm:
    """Decode `path` to (n_samples,) int16 at 16 kHz mono."""
    container_format, options = RAW_FORMATS.get(path.suffix, (None, {}))
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(str(path), format=container_format, options=options) as container:
        decoded = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    decoded += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in decoded])
