"""Atomic writes: a file is replaced as a whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

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
    temporary: Path | None = None
    try:
        target = target_of(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # a full disk, or one that fails, may say so only now
        os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as problem:
        raise _unwritten(path, problem) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def target_of(path: Path) -> Path:
    """The file that a path leads to, there or not. Raises OSError for what must not be replaced: a folder, a device, a pipe.

    >>> target_of(Path("/dev/null"))
    Traceback (most recent call last):
        ...
    OSError: [Errno 22] it is no ordinary file
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is no ordinary file")
    return target


class Latch(io.RawIOBase, BinaryIO):
    """A file for code that must not see a write fail: it takes all that is written, and keeps the first error.

    Code below Python may end the process where a write fails, or raise an exception of its own. Close it to know:
    :meth:`close` raises the OSError.
    """

    def __init__(self, path: Path):
        super().__init__()
        self._file = path.open("wb")
        self._problem: OSError | None = None
        self._place = self._end = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        self._try(lambda: self._file.seek(self._place))
        return self._place

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._try(lambda: self._file.write(data))
        self._place += size
        self._end = max(self._end, self._place)
        return size

    def flush(self) -> None:
        self._try(self._file.flush)

    def close(self) -> None:
        """Closes the file. Raises the OSError of the first write that failed."""
        if self.closed:
            return
        self._try(self._file.close)
        super().close()
        if self._problem is not None:
            raise self._problem

    def _try(self, action: Callable[[], object]) -> None:
        if self._problem is None and not self._file.closed:
            try:
                action()
            except OSError as problem:
                self._problem = problem
                with suppress(OSError):
                    self._file.close()


def _unwritten(path: Path, problem: OSError) -> MetablockError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        old = "; the file that was there is unchanged" if path.exists() else ""
        return MetablockError(f"{path}: the disk is full", f"nothing was written{old}: free some space, or name another folder")
    reason = problem.strerror or problem
    return MetablockError(f"{path}: cannot write there: {reason}", "nothing was written: name another folder")


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
