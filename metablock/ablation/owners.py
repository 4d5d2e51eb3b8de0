"""Who does a run: a process by a name that no other has, and whether it is still alive."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

FORGOTTEN = (
    86_400.0  # seconds since the last sign of life, by the clocks of two machines, after which an owner counts as gone at once
)


def owner() -> str:
    """The name of this process as an owner of runs: host, process id, and when it began (ids are used again)."""
    return f"{host()}:{os.getpid()}:{_born(os.getpid())}"


def host() -> str:
    """The machine; of containers each by itself, since the processes of one do not see those of another."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    return f"{socket.gethostname()}/{space}" if space else socket.gethostname()


def _born(pid: int) -> str:
    """When a process began, in ticks of the system's clock; empty if that cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def gone(name: str, beat: float) -> bool:
    """Whether the owner of a run has certainly died.

    Args:
        name: of the owner, see :func:`owner`.
        beat: time of its last sign of life, in seconds since 1970. Two clocks differ: of an owner on another machine only more
            than a day says something. :meth:`metablock.ablation.journal.Journal.free_silent` watches whether it changes.

    >>> gone(owner(), beat=0.0), gone("another machine:12:34", beat=0.0), gone("another machine:12:34", beat=time.time() + 9e9)
    (False, True, False)
    """
    machine, _, rest = name.partition(":")
    pid, _, born = rest.partition(":")
    if machine == host() and pid.isdigit():
        try:
            os.kill(int(pid), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            return False
        return _born(int(pid)) != born
    return time.time() - beat > FORGOTTEN


def on_this_machine(name: str, pid: int | None = None) -> bool:
    """Whether an owner is a process of this machine; with ``pid``, whether it is that one.

    >>> on_this_machine(owner()), on_this_machine(owner(), os.getpid()), on_this_machine("another machine:12:34")
    (True, True, False)
    """
    return name.startswith(f"{host()}:" + (f"{pid}:" if pid is not None else ""))
