"""Checkpoints of a training: files that say which training they belong to, and are whole or as they were."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from ..errors import MetablockError
from ..files import Latch, target_of
from .digest import add
from .identity import Identity
from .store import StorageError

_AGAIN = "remove it, and the training starts again"


class CheckpointError(MetablockError):
    """A file that is no checkpoint, is damaged, or belongs to another training. It stays as it is."""


def read_checkpoint(path: Path, identity: Identity, device: torch.device) -> dict[str, Any] | None:
    """The state that :func:`write_checkpoint` stored; None if there is no file.

    Args:
        path: of the file.
        identity: of the training that wants to go on.
        device: where tensors are put.

    Raises:
        CheckpointError: the file is no checkpoint, its content does not fit its digest, or it is one of another training; the
            text names what differs.
        StorageError: the place cannot be looked at.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as wrong:
        raise _refused(path, wrong) from None
    if not stat.S_ISREG(mode):  # a pipe would be waited for, a device read without end
        raise unreadable(path)
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:  # cut off, another file, no permission
        raise unreadable(path) from None
    if not isinstance(state, dict) or not {"model", "optimizer", "epochs"} <= set(state):
        raise unreadable(path)
    if not isinstance(state.get("identity"), str) or "digest" not in state:
        message = (
            f"{path}: this checkpoint does not say which training it is of, or what its content is: an earlier version wrote it"
        )
        raise CheckpointError(message, f"name another --checkpoint, or {_AGAIN}")
    if state["digest"] != _digest(state):
        raise CheckpointError(f"{path}: the content of this checkpoint is not what was written", _AGAIN)
    try:
        other = Identity.from_json(state["identity"])
        different = list(other.differences(identity))
    except Exception:  # an identity of some other kind
        raise unreadable(path) from None
    if different:
        message = f"{path}: this checkpoint is of another training: {'; '.join(different)}"
        raise CheckpointError(message, f"name another --checkpoint, or {_AGAIN}")
    return state


def unreadable(path: Path) -> CheckpointError:
    """The error for a file that is no whole checkpoint."""
    return CheckpointError(f"{path}: this checkpoint cannot be read: it is cut off, or another file", _AGAIN)


def check_place(path: Path) -> None:
    """Makes the folder of a checkpoint, removes what killed processes left there, and tries to write.

    Raises StorageError where that fails: before a training, not after its first epoch.
    """
    try:
        target = target_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        for old in target.parent.glob(f"{_prefix(target)}*"):
            old.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            os.stat(target)  # raises where the name is too long
        temporary = _temporary(target)
        try:
            temporary.write_bytes(b"")
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as wrong:
        raise _refused(path, wrong) from None


def write_checkpoint(path: Path, identity: Identity, state: Mapping[str, Any]) -> None:
    """Replaces a checkpoint. The new one is on the disk, whole, before the old one goes.

    Raises StorageError where it cannot be written; the old one is as it was.
    """
    try:
        target = target_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(target)
        whole = {**state, "identity": identity.to_json()}
        try:
            with closing(Latch(temporary)) as file:  # torch has an error of its own for a write that fails
                torch.save({**whole, "digest": _digest(whole)}, file)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as wrong:
        raise _refused(path, wrong) from None


def _digest(state: Mapping[str, Any]) -> str:
    total = sha256()
    add(total, {key: value for key, value in state.items() if key != "digest"})
    return total.hexdigest()


def _prefix(target: Path) -> str:
    return f".{sha256(target.name.encode(errors='replace')).hexdigest()[:12]}."


def _temporary(target: Path) -> Path:
    return target.with_name(f"{_prefix(target)}{os.getpid()}")


def _refused(path: Path, wrong: BaseException) -> StorageError:
    shown = str(path) if len(str(path)) < 200 else f"{str(path)[:80]}..."
    if isinstance(wrong, OSError) and wrong.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{shown}: the disk is full", "the checkpoint before this one stays; make room, and start again")
    reason = (wrong.strerror or "no such place") if isinstance(wrong, OSError) else "this is not a path"
    return StorageError(f"{shown}: a checkpoint cannot be written there: {reason}", "name another place with --checkpoint")
