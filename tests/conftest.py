"""Set-up of all tests: a torchvision that imports on any build of torch, few threads, the same random numbers every time."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

_schemas: list[torch.library.Library] = []  # a schema lives as long as the library that defined it


def _let_torchvision_import() -> None:
    """Defines the two schemas torchvision's Python needs at import, where its compiled half does not load.

    That half is built against one build of torch and fails beside another (a CUDA wheel beside a CPU torch); the models, which
    are all the tests want, are plain Python.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for path in sorted(Path(spec.origin).parent.glob("_C*.*")):
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(path))
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _schemas.append(library)


os.environ["METABLOCK_TRACEBACK"] = "1"  # a fault of ours fails the test that meets it, in other processes too
os.environ["METABLOCK_CACHE"] = "0"  # no test reads what an earlier run has left; those of the cache have folders of their own
_let_torchvision_import()
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads()))
settings.register_profile("metablock", deadline=None, derandomize=True)
settings.load_profile("metablock")


def pytest_collection_finish() -> None:
    """What is there before the first test stays: the garbage collector need not look through torch's modules again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Modules and tensors made in the test are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parent.parent
