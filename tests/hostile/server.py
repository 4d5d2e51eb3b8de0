"""Reads hostile texts, each in a process of its own under limits of time and memory.

The process imports everything once and forks for each text that comes on standard input (a line of JSON); the answer is a line too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Read before anything else, so that what is imported and built once is there.
WARM = [
    "name: n\ninput: image(3, 32)\nmodel: conv(8, 3) >> bn >> relu >> attention(1) >> window(2, id) >> global_pool >> linear(4)\n",
    "name: n\ninput: image(3, 32)\nmodel: conv(8, 3) >> layer_norm >> max_pool(2) >> avg_pool(2) >> learned(4)\n",
]
CPU_SECONDS = 8  # the limit that kills; what a text takes is reported
MEMORY = 400 << 20  # of address space beyond what the process has


def read(text: str, clock: Callable[[str], None]) -> str:
    """What a person would do with a file: check it, format it, look at it, build it. ``clock`` notes what each took."""
    from metablock.api import build
    from metablock.errors import SpecError, Text
    from metablock.front import front
    from metablock.language.format import formatted, show_spec
    from metablock.language.load import load_text
    from metablock.language.yaml import read as tree
    from metablock.report.check import problems_of

    while text == "!hang":
        pass
    if text == "!allocate":
        bytearray(2 * MEMORY)
    with suppress(SpecError):
        formatted(tree(Text("h.yaml", text)))
    clock("fmt")
    try:
        spec = load_text(text, "h.yaml")
        wrong = problems_of(spec)
    finally:
        clock("check")
    if wrong:
        raise SpecError(wrong)
    show_spec(front(spec).spec)
    clock("show")
    model = build(spec, device="meta")
    return f"valid: {sum(p.numel() for p in model.parameters()):,} parameters"


def answer(text: str) -> dict[str, object]:
    """How reading a text ends."""
    from metablock.errors import MetablockError, SpecError

    seconds: dict[str, float] = {}
    last = time.process_time()

    def clock(verb: str) -> None:
        nonlocal last
        seconds[verb], last = time.process_time() - last, time.process_time()

    try:
        return {"end": "valid", "text": read(text, clock), "verbs": seconds}
    except SpecError as wrong:
        lacking = [p.message for p in wrong.problems if p.span is None or not p.hint]
        return {"end": "refused", "text": str(wrong), "lacking": lacking, "verbs": seconds}
    except MetablockError as wrong:
        return {"end": "refused", "text": str(wrong), "lacking": [str(wrong)]}
    except BaseException:
        return {"end": "traceback", "text": traceback.format_exc()[-2000:]}


def address_space() -> int:
    """The bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def resident() -> int:
    """The bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def child(text: str, out: int) -> None:
    """Runs in the forked process: limits itself, reads, writes its answer."""
    before = resident()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + MEMORY,) * 2)
    result = answer(text)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result |= {"seconds": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024 - before}
    os.write(out, json.dumps(result).encode())


def fork(text: str) -> dict[str, object]:
    """The answer to one text, from a process of its own."""
    source, out = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(source)
        try:
            child(text, out)
        finally:
            os._exit(0)
    os.close(out)
    with os.fdopen(source, "rb") as file:
        data = file.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(data) if data else {"end": "killed", "text": f"status {status}", "seconds": CPU_SECONDS, "memory": 0}


def serve() -> None:
    """Answers each line of standard input."""
    import gc

    import torch

    import metablock
    from metablock.backend.costs import macs

    for text in WARM:
        spec = metablock.load_text(text)
        answer(text)
        macs(metablock.build(spec, device="meta"), torch.empty(1, 3, 32, 32, device="meta"))
    answer("name: [")
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
