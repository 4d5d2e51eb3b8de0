"""``metablock ablate``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...errors import MetablockError
from .. import options
from ..application import app, print_json
from ..completion import complete_spec
from ..study_options import (
    Compiled,
    Data,
    Device,
    Epochs,
    Jobs,
    Overrides,
    RecipeName,
    Score,
    Swaps,
    require_packages,
    stopping,
    study_of,
    typed_command,
)


@app.command()
def ablate(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A study file, or the base: a catalogue name or a spec.",
            show_default=False,
            autocompletion=complete_spec,
        ),
    ],
    swaps: Swaps = None,
    variant: options.Variant = None,
    edits: options.Edits = None,
    match: Annotated[
        str | None, typer.Option("--match", metavar="BY", help="Scale widths to the base's cost: macs, params or none.")
    ] = None,
    design: Annotated[
        str | None,
        typer.Option("--design", metavar="HOW", help="one_at_a_time: around the base; grid: all combinations."),
    ] = None,
    data: Data = None,
    input: options.Input = None,
    recipe: RecipeName = None,
    epochs: Epochs = None,
    overrides: Overrides = None,
    method: options.Method = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="'A, B'", help="Methods as a factor; the base has the first."),
    ] = None,
    score: Score = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", min=1, max=1_000, help="The number of runs a cell.", show_default="3")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            callback=options.path,
            metavar="FOLDER",
            help="For the journal and the report; NAME.study by default.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, train nothing.")] = False,
    jobs: Jobs = 1,
    device: Device = "cpu",
    compiled: Compiled = False,
    executor: Annotated[
        str, typer.Option("--executor", metavar="WHERE", help="local: this machine; ray: a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="HOST", help="The Ray cluster: auto, ray://host:10001; a new one on this machine by default."
        ),
    ] = None,
    with_report: Annotated[
        bool, typer.Option("--report/--no-report", help="Measure latency and write the report at the end.")
    ] = True,
    retry: Annotated[str | None, typer.Option("--retry", metavar="WHICH", help="failed: repeat the failed runs.")] = None,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Swap parts of an architecture, match what the variants cost, train them with paired seeds, and say what the numbers allow.

    An interrupted study continues when the same command is started again. The report is written at the end, and by
    `metablock report` at any time.

    \b
      metablock ablate poolformer_s12 --swap 'token = pool(3), attention(dim // 32), dw(7), none' --match macs --dry-run
      metablock ablate swin_tiny --swap 'stages[*].token = dw(7)' --data folder:imagenette --recipe deit --epochs 50
      metablock ablate my.study.yaml --jobs 2
      metablock ablate vit_tiny_patch16_224 --methods 'mae, moco_v3' --score probe
    """
    from ...ablation import run as running
    from ...ablation.dataset import replaced
    from ...ablation.training import check_device
    from ...backend.device import parse_device
    from ..progress import Bars
    from ..study_answers import plan_answer, study_answer
    from ..study_output import estimated, plan_table, stopped, summary

    require_packages()
    if executor not in ("local", "ray"):
        raise MetablockError(f"unknown executor '{executor}'", "known: local, ray")
    if retry not in (None, "failed"):
        raise MetablockError(f"unknown --retry '{retry}'", "--retry failed")
    if executor == "local":
        parse_device(device)
    elif device not in ("cpu", "cuda"):
        raise MetablockError(f"unknown device '{device}' for Ray", "cpu, or cuda for a GPU a run")
    plan = study_of(
        study,
        swaps=swaps,
        variant=variant,
        edits=edits,
        match=match,
        design=design,
        data=data,
        input=input,
        recipe=recipe,
        epochs=epochs,
        overrides=overrides,
        seeds=seeds,
        method=method,
        methods=methods,
        score=score,
    )
    folder = Path(output or f"{plan.name}.study")
    with stopping(lambda: "stopped before anything was trained; the same command starts again"):
        with Bars() as bars:
            prepared = running.prepare(plan, folder, bars.phase, compiled=compiled)
        if executor == "local":
            check_device(prepared.recipe, device)
        if (line := replaced(prepared.study.resolved(), prepared.data)) is not None:
            typer.echo(line, err=True)
        if dry_run:
            if as_json:
                print_json(plan_answer(prepared, estimated(prepared, device) / jobs).model_dump())
            else:
                plan_table(prepared, jobs, device)
            return
        journal = running.enter(prepared, folder, typed_command())
    if retry:
        journal.retry_failed()
    engine = running.Engine(jobs, device, tuple(plugin or ()))
    with stopping(lambda: stopped(journal)), Bars() as bars:
        if executor == "ray":
            from ...ablation.on_ray import run_on_ray

            run_on_ray(
                journal,
                jobs=0 if jobs == 1 else jobs,
                address=address,
                device=device,
                plugins=engine.plugins,
                watch=bars.watch(prepared),
            )
        else:
            running.run(journal, engine, bars.watch(prepared))
        if with_report:
            running.measure(journal, prepared.cells, device, bars.phase)
    results = running.results_of(journal)
    other = journal.current() != journal.plan
    journal.close()
    files: list[Path] = []
    if with_report:
        from ...ablation.report import write_report

        files = write_report(results, folder)
    if as_json:
        print_json(study_answer(results, files).model_dump())
    else:
        summary(results, files)
    if other:
        typer.echo("another command works on another plan in this folder: `metablock report` will show that one", err=True)
