"""Text files that are there whole, or as they were."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import MetablockError


def write_whole(path: Path, text: str) -> None:
    """Writes a file in one step; one that exists is replaced and keeps its permissions, a link still points at it.

    Raises MetablockError where it cannot be written; then there is no new file, and an old one is as it was.
    """
    path = path.resolve()
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as problem:
        raise MetablockError(f"{path}: cannot write there: {problem.strerror}\n  name another folder") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)  # can only be read by setting it
    os.umask(mask)
    return mask
