"""The verbs that train: ``ablate``, ``train``, ``report``, and the hidden ``work`` of a study's processes."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MetablockError
from . import options
from .study_options import Compiled, Data, Device, Epochs, Overrides, RecipeName, need, study_of, values_of
from .verbs import app


@app.command()
def ablate(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study file, or the base: a catalogue name or a spec.", show_default=False)
    ],
    swaps: Annotated[
        list[str] | None, typer.Option("--swap", metavar="'SLOT = A, B'", help="A slot or column and its values. Repeatable.")
    ] = None,
    variant: options.Variant = None,
    edits: options.Edits = None,
    match: Annotated[
        str | None, typer.Option("--match", metavar="BY", help="Scale widths so that cost is the base's: macs, params or none.")
    ] = None,
    design: Annotated[
        str | None, typer.Option("--design", metavar="HOW", help="one_at_a_time, around the base, or grid: all combinations.")
    ] = None,
    data: Data = None,
    input: options.Input = None,
    recipe: RecipeName = None,
    epochs: Epochs = None,
    overrides: Overrides = None,
    seeds: Annotated[int | None, typer.Option("--seeds", metavar="N", min=1, help="Runs a cell.", show_default="3")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FOLDER", help="Of journal and report; NAME.study by default.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, train nothing.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=1, help="Runs at once; on GPUs each has one.")] = 1,
    device: Device = "cpu",
    compiled: Compiled = False,
    executor: Annotated[
        str, typer.Option("--executor", metavar="WHERE", help="local: this machine; ray: a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="HOST", help="Of a Ray cluster: auto, ray://host:10001; else one starts here."),
    ] = None,
    with_report: Annotated[
        bool, typer.Option("--report/--no-report", help="Measure latency and write the report at the end.")
    ] = True,
    retry: Annotated[str | None, typer.Option("--retry", metavar="WHICH", help="failed: do failed runs again.")] = None,
    plugin: options.Plugin = None,
) -> None:
    """Swap parts of an architecture, match what the variants cost, train them with paired seeds, and say what the numbers allow.

    Interrupted at any moment, the same command goes on where it was. The report is written at the end, and by
    `metablock report` at any time.

    \b
      metablock ablate poolformer_s12 --swap 'token = pool(3), attention(dim // 32), dw(7), none' --match macs --dry-run
      metablock ablate swin_tiny --swap 'stages[*].token = dw(7)' --data folder:imagenette --recipe deit --epochs 50
      metablock ablate my.study.yaml --jobs 2
    """
    from ..ablation import run as running
    from .progress import Bars, plan_table, summary

    need()
    if executor not in ("local", "ray"):
        raise MetablockError(f"unknown executor '{executor}'\n  known: local, ray")
    if retry not in (None, "failed"):
        raise MetablockError(f"unknown --retry '{retry}'\n  --retry failed")
    chosen = study_of(study, swaps, variant, edits, match, design, data, input, recipe, epochs, overrides, seeds)
    folder = Path(output or f"{chosen.name}.study")
    with Bars() as bars:
        prepared = running.prepare(chosen, folder, bars.phase)
    if dry_run:
        plan_table(prepared, jobs, device)
        return
    journal = running.enter(prepared, folder, shlex.join(["metablock", *sys.argv[1:]]))
    if retry:
        journal.retry_failed()
    engine = running.Engine(jobs, device, compiled, tuple(plugin or ()))
    with Bars() as bars:
        if executor == "ray":
            from ..ablation.on_ray import run_on_ray

            run_on_ray(
                journal,
                jobs=0 if jobs == 1 else jobs,
                address=address,
                device=device,
                compiled=compiled,
                plugins=engine.plugins,
                watch=bars.watch(prepared),
            )
        else:
            running.run(journal, engine, bars.watch(prepared))
        if with_report:
            running.measure(journal, prepared.cells, device, bars.phase)
    journal.close()
    found = running.results(folder)
    written: list[Path] = []
    if with_report:
        from ..ablation.report import write_report

        written = write_report(found, folder)
    summary(found, written)


@app.command()
def train(
    spec: options.Spec,
    data: Data = None,
    variant: options.Variant = None,
    edits: options.Edits = None,
    input: options.Input = None,
    recipe: RecipeName = None,
    epochs: Epochs = None,
    overrides: Overrides = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of weights, order, augmentation, dropout.")] = 0,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the trained weights: .safetensors, .pt2, .onnx.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="FILE", help="Written every epoch; if it exists, training goes on from it."),
    ] = None,
    teacher: Annotated[str | None, typer.Option("--teacher", metavar="SPEC", help="For a recipe that distils.")] = None,
    teacher_weights: Annotated[
        str | None, typer.Option("--teacher-weights", metavar="FILE", help="The teacher's weights.")
    ] = None,
    device: Device = "cpu",
    compiled: Compiled = False,
    plugin: options.Plugin = None,
) -> None:
    """Train one network. On several GPUs: torchrun --standalone --nproc-per-node 4 -m metablock train ...

    \b
      metablock train poolformer_s12 --data digits --epochs 5
      metablock train ./my.yaml --data folder:imagenette --recipe deit --with lr=1e-3 -o my.safetensors
      metablock train examples/ecg.yaml --data npz:beats.npz
    """
    from ..ablation.data import load_data
    from ..ablation.recipe import recipe as recipe_of
    from ..ablation.training import Options, TrainingError
    from ..ablation.training import train as train_network
    from ..api import build
    from ..front import parse_input, resolved, sized
    from ..writers.outputs import check_output, write
    from .progress import Bars

    need()
    if output is not None:
        check_output(output)
    settings = recipe_of(recipe or "small", **values_of(overrides, epochs))
    plain = resolved(spec, variant=variant, edits=edits or ())
    with Bars() as bars:
        found = load_data(data or "digits", parse_input(input), bars.phase)
    network = sized(plain, classes=found.classes, input=found.input)
    taught = None
    if teacher is not None:
        taught = build(teacher, classes=found.classes, input=found.input, weights=teacher_weights)
    with Bars() as bars:
        report, step = bars.training(settings.epochs)
        path = Path(checkpoint) if checkpoint else None
        try:
            model, _ = train_network(
                network,
                found,
                settings,
                seed,
                checkpoint=path,
                options=Options(device, compiled),
                teacher=taught,
                report=report,
                step=step,
            )
        except TrainingError as wrong:
            raise MetablockError(f"{wrong}\n  a lower rate (--with lr=...), a smaller batch, or --with clip=1 may help") from None
    if output is not None and not int(os.environ.get("RANK", "0")):
        write(model.eval(), output)
        typer.echo(f"{output} is written")


@app.command()
def report(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Of a study: what `metablock ablate` wrote.", show_default=False)
    ],
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FOLDER", help="Where the report goes.")] = None,
) -> None:
    """Write the report of a study from its journal, also in mid-study.

    \b
      metablock report mixers.study
    """
    from ..ablation import run as running
    from ..ablation.report import write_report
    from .progress import summary

    need()
    found = running.results(Path(folder))
    summary(found, write_report(found, Path(output or folder)))


@app.command(hidden=True)
def work(
    folder: str,
    device: Annotated[str, typer.Option("--device")] = "cpu",
    threads: Annotated[int, typer.Option("--threads")] = 0,
    parent: Annotated[int | None, typer.Option("--parent")] = None,
    compiled: Annotated[bool, typer.Option("--compile")] = False,
    plugin: options.Plugin = None,
) -> None:
    """Do runs of a study until none is left."""
    from ..ablation.training import Options
    from ..ablation.work import work as work_on

    work_on(Path(folder), Options(device, compiled, threads), parent=parent)
