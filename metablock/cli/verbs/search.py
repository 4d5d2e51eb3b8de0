"""``metablock search``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import options
from ..application import app, print_json, say
from ..completion import complete_spec
from ..study_options import (
    Compiled,
    Data,
    Device,
    Epochs,
    Jobs,
    Overrides,
    RecipeName,
    Swaps,
    require_packages,
    stopping,
    study_of,
    typed_command,
)


@app.command()
def search(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study file, or a spec with `one_of` in it.", show_default=False, autocompletion=complete_spec
        ),
    ],
    swaps: Swaps = None,
    variant: options.Variant = None,
    edits: options.Edits = None,
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=1, max=1_000_000, help="The number of networks to evaluate.")
    ] = 20,
    objectives: Annotated[
        str, typer.Option("--objectives", metavar="NAMES", help="top1, and one or more of macs, params, latency.")
    ] = "top1,macs",
    data: Data = None,
    input: options.Input = None,
    recipe: RecipeName = None,
    epochs: Epochs = None,
    overrides: Overrides = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", min=1, max=1_000, help="The number of runs a network.", show_default="1")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", callback=options.path, metavar="FOLDER", help="NAME.search by default.")
    ] = None,
    jobs: Jobs = 1,
    device: Device = "cpu",
    compiled: Compiled = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Search the choices of a spec for the best accuracy at each cost; the front is a folder of specs.

    Started again with more trials, it continues from those in its journal.

    \b
      metablock search my.yaml --trials 40 --epochs 10          # token: one_of(pool(3), dw(7), attention(dim // 32))
      metablock search swin_tiny --swap 'stages[0].token = pool, dw(7)' --swap 'stages[1].token = pool, dw(7)'
    """
    from ...ablation import run as running
    from ...ablation.dataset import replaced
    from ...ablation.search import search as search_networks
    from ...ablation.training import check_device
    from ...backend.device import parse_device
    from ..progress import Bars
    from ..study_answers import search_answer

    require_packages()
    parse_device(device)
    plan = study_of(
        study,
        swaps=swaps,
        variant=variant,
        edits=edits,
        data=data,
        input=input,
        recipe=recipe,
        epochs=epochs,
        overrides=overrides,
        seeds=seeds or 1,
    )
    folder = Path(output or f"{plan.name}.search")
    wanted = tuple(name.strip() for name in objectives.split(","))
    line = "stopped; what is trained is in the journal, and the same command goes on from there"
    with stopping(lambda: line), Bars() as bars:
        prepared = running.prepare_search(plan, bars.phase, compiled=compiled)
        check_device(prepared.recipe, device)
        if (note := replaced(prepared.study.resolved(), prepared.data)) is not None:
            typer.echo(note, err=True)
        engine = running.Engine(jobs, device, tuple(plugin or ()))
        front, every = search_networks(
            prepared,
            folder,
            lambda journal: running.run(journal, engine, bars.watch(prepared)),
            trials=trials,
            objectives=wanted,
            together=jobs,
            device=device,
            tell=bars.phase,
            command=typed_command(),
        )
    if as_json:
        print_json(search_answer(plan.name, wanted, front, every, folder / "front").model_dump())
        return
    typer.echo((folder / "front" / "front.md").read_text(encoding="utf-8").rstrip())
    say(f"\n{len(front)} of {len(every)} networks are on the front: {folder / 'front'}")
