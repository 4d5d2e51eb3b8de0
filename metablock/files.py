"""Files that are there whole, or as they were."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import MetablockError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write into instead, that takes the path's place when the block ends without an exception.

    One that exists is replaced and keeps its permissions; a link still points at it.

    Raises MetablockError where it cannot be written; then there is no new file, and an old one is as it was.
    """
    target = path.resolve()
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as problem:
        said = problem.strerror or problem
        raise MetablockError(f"{path}: cannot write there: {said}\n  nothing was written: name another folder") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a text as :func:`replacing` does. Raises MetablockError."""
    with replacing(path) as file:
        file.write_text(text, encoding="utf-8", newline="\n")


def _umask() -> int:
    mask = os.umask(0)  # can only be read by setting it
    os.umask(mask)
    return mask
