"""Many counts from one warm process: each in a fork of it, so that none sees another's caches."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .counting import Recorder
from .measure import Job, count, faked


def warm(recorder: Recorder) -> None:
    """Compiles a small network, so that what the compiler imports and prepares once is shared by all forks."""
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(2), nn.Linear(36, 8)]
    network = faked(nn.Sequential(*layers).eval(), torch.bfloat16, recorder.mode)
    with recorder.mode:
        x = torch.empty(2, 3, 8, 8, dtype=torch.bfloat16, device="cuda")
    with torch.no_grad():
        torch.compile(network)(x)


def run(jobs: Sequence[Job], recorder: Recorder, folder: Path, workers: int = 1) -> Iterator[tuple[Job, dict[str, Any] | None]]:
    """Counts jobs, ``workers`` at once. Gives each job with its result; None where it failed: its log says why.

    Args:
        jobs: what to count.
        recorder: of this process; each fork has a copy.
        folder: takes a ``.json`` and a ``.log`` a job.
        workers: forks at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting, live = list(jobs), dict[int, Job]()
    while waiting or live:
        while waiting and len(live) < workers:
            job = waiting.pop(0)
            pid = os.fork()
            if pid == 0:
                _work(job, recorder, folder / name(job))
            live[pid] = job
        pid, _ = os.wait()
        if pid in live:
            job = live.pop(pid)
            path = folder / f"{name(job)}.json"
            yield job, json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def name(job: Job) -> str:
    """A job's file name, without its suffix.

    >>> name(Job("swin_tiny", way="whole", channels_last=True))
    'swin_tiny_ours_whole+cl_infer'
    """
    text = f"{job.model}_{job.side}_{job.how}_{job.mode}"
    return "".join(letter if letter.isalnum() or letter in "_+-." else "-" for letter in text)


def _work(job: Job, recorder: Recorder, path: Path) -> None:
    """Counts a job in this fork, writes its files, and ends the process."""
    code = 1
    try:
        result, log = Path(f"{path}.json"), os.open(f"{path}.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        result.unlink(missing_ok=True)
        os.dup2(log, 1), os.dup2(log, 2)
        content = json.dumps(count(job, recorder))
        part = Path(f"{path}.part")
        part.write_text(content, encoding="utf-8")
        part.replace(result)
        code = 0
    except BaseException:  # a fork must never return into its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
