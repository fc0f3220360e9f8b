"""Media as plain files: <media>/<stream>/<day>/<seq>.ogg and .jpg. Paths are made from validated ids alone."""

import os
from contextlib import suppress
from pathlib import Path

from inference_server.ledger import day_of


class Media:
    """Files below one directory, written in full or not at all."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "media"

    def write(self, stream: str, seq: int, captured_at: int, suffix: str, data: bytes) -> str:
        """Keep `data`; on disk (fsync) when this returns. Returns the name to find it by. Raises OSError."""
        name = f"{stream}/{day_of(captured_at)}/{seq}.{suffix}"
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{suffix}.new")
        with open(fresh, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
        _sync_directory(path.parent)
        return name

    def path(self, name: str) -> Path:
        """Where a file lies whose name the database gave."""
        return self._root / name

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises OSError."""
        return self.path(name).read_bytes()

    def remove(self, name: str) -> None:
        """Delete the file; missing is fine."""
        with suppress(FileNotFoundError):
            self.path(name).unlink()


def _sync_directory(path: Path) -> None:
    if os.name == "posix":  # Windows has no directory handles to sync
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
