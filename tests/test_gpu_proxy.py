"""The benchmark that counts what Inductor would launch on a GPU: its arithmetic, and what three models may launch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.gpu_proxy import check, roofline, table
from oracles import require

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("g++"), reason="needs Triton and a C++ compiler")
@pytest.mark.skipif(torch.version.cuda is not None, reason="the made-up device needs a build of torch without CUDA")
def test_launches_and_bytes_did_not_grow() -> None:
    """In a process of its own, since it replaces CUDA."""
    require("triton")
    command = [sys.executable, "-m", "benchmarks.gpu_proxy", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_grew_is_named() -> None:
    before = {"net": {"entries": 1, "host_launches": 10, "GB_total": 1.0}}
    assert check.grown(before, {"net": {"entries": 1, "host_launches": 10, "GB_total": 1.0002}}) == []
    worse = check.grown(before, {"net": {"entries": 2, "host_launches": 9, "GB_total": 1.01}})
    assert worse == ["net: entries 2, was 1", "net: GB_total 1.01, was 1"]


def row(side: str, launches: int, gigabytes: float, how: str = "default", mode: str = "infer") -> dict[str, object]:
    figures = {"host_launches": launches, "GB_total": gigabytes, "saved_GB": gigabytes / 2}
    return {"model": "net", "side": side, "how": how, "mode": mode, "graphs": 2, "entries": 3, **figures}


def test_ours_stands_beside_the_better_of_timm() -> None:
    rows = [row("ours", 50, 1.0), row("timm", 100, 4.0), row("timm", 200, 2.0, "default+cl")]
    assert "| net | 2 | 3 | 50 | 100 | 0.50 | 1.00 | 2.00 | 0.50 |" in table.markdown(rows).splitlines()
    assert table.markdown(rows).endswith("| geometric mean |  |  |  |  | 0.50 |  |  | 0.50 |")
    train = table.markdown([{**one, "mode": "train"} for one in rows], "train")
    assert "| net | 2 | 3 | 50 | 100 | 0.50 | 1.00 | 2.00 | 0.50 | 0.50 | 1.00 | 0.50 |" in train.splitlines()


def test_the_limit_is_that_of_products() -> None:
    """A product of 4 x 8 and 8 x 16 in two bytes a number; the activation is free."""
    one = roofline.limit(nn.Sequential(nn.Linear(8, 16, bias=False), nn.ReLU()), torch.zeros(4, 8), bandwidth=1.0, peak=1e9)
    assert (one.bytes, one.flops, one.memory_share) == (2 * (32 + 128 + 64), 2 * 4 * 8 * 16, 1.0)
    assert one.seconds == one.bytes
