"""Atomic writes: a file is replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import MetablockError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file beside ``path``, which replaces it when the block ends without an exception.

    A file that is replaced keeps its permissions; a symbolic link still points at it.

    Raises:
        MetablockError: the file cannot be written. An old one is unchanged, and no new one is left.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "report.txt"
    ...     with replacing(path) as file:
    ...         _ = file.write_text("done")
    ...     path.read_text()
    'done'
    """
    target = Path(os.path.realpath(path))
    temporary: Path | None = None
    try:
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as problem:
        reason = problem.strerror or problem
        raise MetablockError(f"{path}: cannot write there: {reason}", "nothing was written: name another folder") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a text atomically, as UTF-8 with ``\\n`` for line ends. Raises MetablockError where it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "net.yaml", "name: net\\n")
    ...     (Path(folder) / "net.yaml").read_bytes()
    b'name: net\\n'
    """
    with replacing(path) as file:
        file.write_text(text, encoding="utf-8", newline="\n")


def _umask() -> int:
    mask = os.umask(0)  # there is no way to read it but to set it
    os.umask(mask)
    return mask
