"""A cache on disk: small entries by kind and key, which another process may read, replace or lose at any time.

An entry is safe to lose and never in the way: a folder that is missing, full or read-only, a broken or foreign entry, is a miss.
``METABLOCK_CACHE=0`` switches the cache off; any other value is its folder. Without it the folder is ``metablock`` below
``$XDG_CACHE_HOME``, ``~/.cache`` or, on Windows, ``%LOCALAPPDATA%``.

What is read here may become code (an expression of a ``forward``). So an entry counts only if the file belongs to this user and
nobody else may write it: the trust that Python puts in its own ``__pycache__``.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

VARIABLE = "METABLOCK_CACHE"
# An entry's first bytes: the form of the file. The checksum of its data follows.
_MAGIC = b"metablock 1\n"
_SUM = 16
# The largest entry; and the largest sum of a kind's entries, beyond which the oldest half goes.
MAX_ENTRY, MAX_KIND = 16 << 20, 64 << 20
# Entries in use are marked so once in this many seconds: the oldest mark goes first.
_MARK = 86_400.0
_STARTED = time.time()
_BINARY = getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # neither a link nor a pipe
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
_STALE = 3_600.0  # seconds after which a temporary file was left by a process that died


def load(kind: str, key: str) -> bytes | None:
    """The data stored under a key, or None: there are none, they are broken, or the cache is off.

    Args:
        kind: what the data are, a word: ``"front"``.
        key: a hash of all that they depend on (:func:`digest`).

    >>> load("example", digest("never stored")) is None
    True
    """
    place = _place(kind, key)
    if place is None:
        return None
    try:
        handle = os.open(place, _READ)
        with open(handle, "rb", buffering=0) as file:
            about = os.fstat(handle)
            if not _own(about) or not stat.S_ISREG(about.st_mode) or about.st_size > MAX_ENTRY:
                return None
            data = file.read(MAX_ENTRY + 1)
        if abs(time.time() - about.st_mtime) > _MARK:
            with suppress(OSError):
                os.utime(place)
    except OSError:
        return None
    body = data[len(_MAGIC) + _SUM :]
    whole = data.startswith(_MAGIC) and data[len(_MAGIC) : len(_MAGIC) + _SUM] == _checksum(body)
    return body if whole else None


def store(kind: str, key: str, data: bytes) -> None:
    """Stores data under a key: a whole entry or none. Does nothing where that is impossible, or the cache is off.

    The arguments are those of :func:`load`. Data larger than :data:`MAX_ENTRY` are not stored.

    >>> store("example", digest("stored"), b"data")
    """
    place = _place(kind, key)
    if place is None or len(data) > MAX_ENTRY - len(_MAGIC) - _SUM:
        return
    temporary = f"{place}.{os.getpid()}.{os.urandom(4).hex()}"
    with suppress(OSError):
        parent = os.path.dirname(place)
        os.makedirs(parent, mode=0o700, exist_ok=True)
        if not _own(os.stat(parent)):
            return
        handle = os.open(temporary, _WRITE, 0o600)
        try:
            with open(handle, "wb") as file:
                file.write(_MAGIC + _checksum(data) + data)
            os.replace(temporary, place)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            return
        _trim(parent)


def digest(*parts: str | bytes) -> str:
    """A key: the hash of these parts, in order.

    >>> digest("a", "b") == digest("a", b"b"), digest("a", "b") == digest("ab")
    (True, False)
    """
    whole = hashlib.blake2b(digest_size=20)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        whole.update(b"%d:" % len(data))
        whole.update(data)
    return whole.hexdigest()


@cache
def fingerprint() -> str | None:
    """A hash of metablock itself: the names, sizes and times of its code, its grammars and its catalogue.

    Returns:
        None if a file is younger than this process, whose code may be another than the files say: then nothing is to be stored.
    """
    package = Path(__file__).resolve().parent
    folders = [package, *(package.parent / name for name in ("grammars", "architectures") if not (package / "_data").is_dir())]
    lines: list[str] = [str(package)]
    todo = [str(folder) for folder in folders]
    try:
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.name == "__pycache__":
                        continue
                    if entry.is_dir():
                        todo.append(entry.path)
                    elif entry.name.endswith((".py", ".lark", ".yaml", ".json")):
                        about = entry.stat()
                        if about.st_mtime > _STARTED:
                            return None
                        lines.append(f"{entry.path} {about.st_size} {about.st_mtime_ns}")
    except OSError:
        return None
    return digest(*sorted(lines))


def folder() -> Path | None:
    """The folder of the cache; None where it is off, or there is no place for one.

    >>> import os
    >>> before = os.environ.get("METABLOCK_CACHE")
    >>> os.environ["METABLOCK_CACHE"] = "0"
    >>> folder() is None
    True
    >>> if before is None:
    ...     del os.environ["METABLOCK_CACHE"]
    ... else:
    ...     os.environ["METABLOCK_CACHE"] = before
    """
    chosen = os.environ.get(VARIABLE)
    if chosen is not None and chosen.strip().lower() in ("0", "off", "false", "no"):
        return None
    if chosen:
        return Path(chosen)
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    if base is None or not os.path.isabs(base):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, ".cache")
    return Path(base) / "metablock"


def _place(kind: str, key: str) -> str | None:
    base = folder()
    return None if base is None else os.path.join(base, kind, key)


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SUM).digest()


def _own(about: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user, and nobody else may write it. Where the system has no users, it does."""
    return not hasattr(os, "geteuid") or (about.st_uid == os.geteuid() and not about.st_mode & 0o022)


def _trim(parent: str) -> None:
    """Keeps the entries of a kind below their bound: the oldest go, until half of it is used. So do what dead processes left."""
    entries: list[tuple[float, int, str]] = []
    now = time.time()
    with os.scandir(parent) as listing:
        for entry in listing:
            with suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if "." in entry.name and now - about.st_mtime > _STALE:
                    os.unlink(entry.path)
                else:
                    entries.append((about.st_mtime, about.st_size, entry.path))
    size = sum(bytes_ for _, bytes_, _ in entries)
    if size <= MAX_KIND:
        return
    for _, bytes_, path in sorted(entries):
        with suppress(OSError):
            os.unlink(path)
        size -= bytes_
        if size <= MAX_KIND // 2:
            return
