"""Devices and number types by name."""

from __future__ import annotations

import torch

from ..errors import MetablockError, suggest

DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16}


def parse_device(device: str | int | torch.device | None) -> torch.device:
    """A device that this machine has.

    Args:
        device: a name (``"cpu"``, ``"cuda:1"``, ``"mps"``, ``"meta"``), an accelerator's number, or a device; None: the CPU.

    Raises:
        MetablockError: an unknown name, another type, a device that this machine does not have.

    >>> parse_device("meta"), parse_device(None)
    (device(type='meta'), device(type='cpu'))
    """
    if device is None:
        return torch.device("cpu")
    hint = "write cpu, cuda, cuda:1, mps or meta"
    if isinstance(device, bool) or not isinstance(device, (str, int, torch.device)):
        raise MetablockError(f"{device!r} is no device", hint)
    try:
        place = torch.device(device)
    except RuntimeError:
        raise MetablockError(f"unknown device '{device}'", hint) from None
    if place.type in ("cpu", "meta"):
        return place
    try:
        torch.empty(0, device=place)
    except Exception:  # each back end raises an exception of its own
        here = [f"cuda:{n}" for n in range(torch.cuda.device_count())] + ["mps"] * torch.backends.mps.is_available()
        raise MetablockError(f"there is no device '{place}' here", f"there is: {', '.join(['cpu', *here])}") from None
    return place


def parse_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A type of floating-point numbers.

    Args:
        dtype: a type of torch, or its name: ``"float32"``, ``"float64"``, ``"float16"``, ``"bfloat16"``.

    Raises:
        MetablockError: any other type.

    >>> parse_dtype("bfloat16"), parse_dtype(torch.float64)
    (torch.bfloat16, torch.float64)
    """
    known = f"there are {', '.join(DTYPES)}"
    if isinstance(dtype, str):
        if dtype in DTYPES:
            return DTYPES[dtype]
        raise MetablockError(f"unknown dtype '{dtype}'", suggest(dtype, DTYPES, known))
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    name = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else repr(dtype)
    raise MetablockError(f"{name} is no dtype of weights", known)
