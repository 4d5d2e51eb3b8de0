"""Counts launches, bytes and entries of models of ours and timm's on a made-up H200.

python -m benchmarks.gpu_proxy swin_tiny                        # ours beside timm's, both formats of timm's
python -m benchmarks.gpu_proxy swin_tiny --side ours --way whole --top 20
python -m benchmarks.gpu_proxy --mode train --drop 0.1 -o proxy --workers 2     # all models, a file each
python -m benchmarks.gpu_proxy --table proxy/*.json             # the table of such files
python -m benchmarks.gpu_proxy --check                          # whether the models of the committed check grew
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from . import table

# timm's counts at batch 64 in bfloat16, of the versions that README.md names.
TIMM = Path(__file__).with_name("timm.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of benchmarks/models.py, or of both libraries; by default all fourteen")
    parser.add_argument("--side", choices=("both", "ours", "timm"), default="both")
    parser.add_argument("--way", choices=("default", "nested", "whole", "regions", "eager"), default="default", help="of ours")
    parser.add_argument("--mode", choices=("infer", "train"), default="infer")
    parser.add_argument("--channels-last", action="store_true", help="of ours, images too; timm's is counted with and without")
    parser.add_argument("--kernels", choices=("rule", "last", "built"), default="rule", help="how ours are stored by compile")
    parser.add_argument("--fused", action=argparse.BooleanOptionalAction, help="of ours: the argument of metablock.compile")
    parser.add_argument("--drop", type=float, default=0.0, help="stochastic depth in training")
    parser.add_argument("--autocast", action="store_true", help="weights in float32; otherwise all is bfloat16")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, help="height and width of the images")
    parser.add_argument("--edit", action="append", default=[], help="of our spec; repeatable")
    parser.add_argument("--top", type=int, default=0, help="print so many kernels, the slowest by the model first")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write Inductor's code there: of one model and side")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="keep a .json and a .log of each count")
    parser.add_argument(
        "--baseline",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="timm's results are these, by default the committed ones: not counted",
    )
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="print the table of these; count nothing")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="write the results there, a short line each: so timm.json was made"
    )
    parser.add_argument("--plain", action="store_true", help="a row for each result, without comparison")
    parser.add_argument("--check", action="store_true", help="compare the models of check.json with what is committed")
    parser.add_argument("--write-check", action="store_true", help="count them, and write what is to be committed")
    args = parser.parse_args()
    failed = False
    if args.table:
        rows = table.read(args.table)
    elif args.check or args.write_check:
        from . import check

        sys.exit(check.main(write=args.write_check))
    else:
        warnings.filterwarnings("ignore")
        rows, failed = _count(args)
    _print(rows, plain=args.plain or args.side != "both")
    if args.keep:
        table.write(args.keep, rows)
    sys.exit(failed)


def _count(args: argparse.Namespace) -> tuple[list[table.Row], bool]:
    from ..models import MODELS, load_timm

    if args.side != "ours" and args.baseline is None:
        load_timm()
    from .device import install

    mode = install()
    from .counting import Recorder
    from .jobs import run, warm
    from .measure import Job, count

    recorder = Recorder(mode, args.save)
    names = args.models or list(MODELS)
    common = {"mode": args.mode, "batch": args.batch, "size": args.size, "drop": args.drop, "autocast": args.autocast}
    jobs: list[Job] = []
    for name in names:
        if args.side != "timm":
            jobs.append(
                Job(
                    name,
                    "ours",
                    args.way,
                    channels_last=args.channels_last,
                    kernels=args.kernels,
                    fused=args.fused,
                    edits=tuple(args.edit),
                    **common,
                )
            )
        if args.side != "ours" and args.baseline is None:
            way = "eager" if args.way == "eager" else "default"
            formats = (False, True) if args.side == "both" else (args.channels_last,)
            jobs += [Job(name, "timm", way, channels_last=last, **common) for last in formats]
    rows = table.read([TIMM] if args.baseline == [] else args.baseline or [])
    if len(jobs) == 1 and not args.output and args.baseline is None:
        rows.append(count(jobs[0], recorder))
        for milliseconds, calls, megabytes, *what in rows[-1]["rows"][: args.top]:
            print(f"{milliseconds:8.3f} ms x{calls:<4d} {megabytes:9.1f} MB  {what}")
        return rows, False
    warm(recorder)
    failed, folder = False, args.output or Path(tempfile.mkdtemp(prefix="gpu_proxy"))
    for job, result in run(jobs, recorder, folder, args.workers):
        if result is None:
            failed = True
            print(f"{job.model} ({job.side}, {job.how}) failed: see {folder}", file=sys.stderr)
        else:
            rows.append(result)
    return rows, failed


def _print(rows: list[table.Row], plain: bool) -> None:
    from ..models import MODELS

    if plain:
        print(table.plain(rows))
        return
    for mode in ("infer", "train"):
        if any(row["mode"] == mode for row in rows):
            print(table.markdown(rows, mode, list(MODELS)))


if __name__ == "__main__":
    main()
