"""CPU seconds of fresh processes: how long a verb takes to its first answer.

    python benchmarks/start_up.py [--against CHECKOUT] [--rounds N] [-o FILE.md]

Each round starts every command once, in turns; a round before them fills Python's compiled files and our caches. A figure is the
median of user and system time over the rounds; ``ratio`` is to ``import torch`` in the same run, which says what another machine
would take. With ``--against``, another checkout of metablock (an earlier commit) is measured in the same turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What is measured: a label, and the arguments of Python.
VERB = ("-m", "metablock")
COMMANDS: dict[str, tuple[str, ...]] = {
    "python": ("-c", "pass"),
    "import torch": ("-c", "import torch"),
    "import metablock": ("-c", "import metablock"),
    "completion": VERB,
    "--help": (*VERB, "--help"),
    "check --no-shapes": (*VERB, "check", "--no-shapes", "examples/my_backbone.yaml"),
    "check": (*VERB, "check", "examples/my_backbone.yaml"),
    "list": (*VERB, "list"),
    "show swin_tiny": (*VERB, "show", "swin_tiny"),
    "show swin_tiny --as shapes": (*VERB, "show", "swin_tiny", "--as", "shapes"),
    "build resnet18 --no-compile": (*VERB, "build", "resnet18", "--no-compile"),
    "build swin_tiny --no-compile": (*VERB, "build", "swin_tiny", "--no-compile"),
}
COMPLETION = {"_METABLOCK_COMPLETE": "complete_bash", "COMP_WORDS": "metablock\nbuild\nswin_t", "COMP_CWORD": "2"}


def cpu_seconds(label: str, checkout: Path, scratch: Path) -> float:
    """User and system seconds of one process, whose caches stand in ``scratch``. Raises RuntimeError for one that fails."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {
        "PYTHONPATH": str(checkout),
        "PYTHONPYCACHEPREFIX": str(scratch / "bytecode"),
        "XDG_CACHE_HOME": str(scratch / "cache"),
    }
    env |= COMPLETION if label == "completion" else {}
    os.chdir(checkout)  # `python -m` looks there first
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawn(sys.executable, [sys.executable, *COMMANDS[label]], env, file_actions=silent)
    _, status, used = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{label} failed")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="an earlier checkout, measured in the same turns")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    checkouts = {"before": options.against.resolve(), "now": ROOT} if options.against else {"now": ROOT}
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds + 1):
            for label in COMMANDS:
                for name, checkout in checkouts.items():
                    used = cpu_seconds(label, checkout, Path(folder) / name)
                    if number:  # the first round fills the caches
                        seconds.setdefault((label, name), []).append(used)
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    torch = medians["import torch", "now"]
    heads = ["command", *(f"{name} (s)" for name in checkouts), *(f"{name}, ratio" for name in checkouts)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for label in COMMANDS:
        row = [medians[label, name] for name in checkouts]
        cells = [*(f"{value:.2f}" for value in row), *(f"{value / torch:.2f}" for value in row)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    text = f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {options.rounds} rounds\n\n"
    text += "\n".join(lines) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
