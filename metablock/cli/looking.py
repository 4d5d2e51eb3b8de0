"""The verbs that look for networks and into them: ``search`` and ``probe``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .study_options import Compiled, Data, Device, Epochs, Overrides, RecipeName, need, study_of
from .verbs import app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..ablation.probe import Probed


@app.command()
def probe(
    spec: options.Spec,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    swaps: Annotated[
        list[str] | None, typer.Option("--swap", metavar="'SLOT = A, B'", help="Draw these beside the network as it is.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="FILE", help="Trained weights; else the first ones.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Pictures: digits, folder:PATH, hf:NAME, npz:FILE; else noise.")
    ] = None,
    images: Annotated[int, typer.Option("--images", metavar="N", min=1, help="How many pictures.")] = 8,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FOLDER", help="NAME.probe by default.")] = None,
    plugin: options.Plugin = None,
) -> None:
    """Draw how far the features of each stage see, and which frequencies each stage passes on.

    First weights show what the architecture can see; what it does see, trained ones.

    \b
      metablock probe poolformer_s12 --weights poolformer.safetensors --data folder:imagenette
      metablock probe poolformer_s12 --swap 'token = attention(dim // 32), dw(7)' --input 3x128x128
    """
    from ..ablation.data import load_data
    from ..ablation.probe import probe as measure
    from ..ablation.report.probes import table, write_probe
    from ..ablation.study import parse_swap
    from ..api import assemble, example
    from ..front import front, parse_input, resolved, sized
    from ..language.edits import apply
    from .progress import Bars

    need()
    base = resolved(spec, variant=variant, edits=edits or ())
    with Bars() as bars:
        found = load_data(data, parse_input(input), bars.phase) if data is not None else None
        base = sized(base, classes=classes, input=found.input if found else input)
        networks = {base.variant or base.name: base}
        for swap in swaps or ():
            for level in parse_swap(swap, base).levels:
                networks[level.name] = apply(base, level.edits)
        results: dict[str, Sequence[Probed]] = {}
        for number, (name, network) in enumerate(networks.items()):
            bars.phase(f"probing {name}", number, len(networks))
            model = assemble(*front(network), weights=weights if network is base else None)
            shown = found.val.get(range(min(images, len(found.val)))) if found is not None else example(model, images)
            results[name] = measure(model, shown[0])
    folder = Path(output or f"{base.variant or base.name}.probe")
    written = write_probe(results, folder)
    typer.echo(table(results))
    typer.echo(f"{len(written)} files in {folder}")


@app.command()
def search(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study file, or a spec with `one_of` in it.", show_default=False)
    ],
    swaps: Annotated[
        list[str] | None, typer.Option("--swap", metavar="'SLOT = A, B'", help="A slot or column and its values. Repeatable.")
    ] = None,
    variant: options.Variant = None,
    edits: options.Edits = None,
    trials: Annotated[int, typer.Option("--trials", metavar="N", min=1, help="How many networks are looked at.")] = 20,
    objectives: Annotated[
        str, typer.Option("--objectives", metavar="NAMES", help="top1, and one or more of macs, params, latency.")
    ] = "top1,macs",
    data: Data = None,
    input: options.Input = None,
    recipe: RecipeName = None,
    epochs: Epochs = None,
    overrides: Overrides = None,
    seeds: Annotated[int | None, typer.Option("--seeds", metavar="N", min=1, help="Runs a network.", show_default="1")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FOLDER", help="NAME.search by default.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=1, help="Runs at once.")] = 1,
    device: Device = "cpu",
    compiled: Compiled = False,
    plugin: options.Plugin = None,
) -> None:
    """Search the choices of a spec for the best accuracy at each cost; the front is a folder of specs.

    Started again with more trials, it goes on from those in its journal.

    \b
      metablock search my.yaml --trials 40 --epochs 10          # token: one_of(pool(3), dw(7), attention(dim // 32))
      metablock search swin_tiny --swap 'stages[0].token = pool, dw(7)' --swap 'stages[1].token = pool, dw(7)'
    """
    from ..ablation import run as running
    from ..ablation.search import search as look
    from .progress import Bars

    need()
    chosen = study_of(study, swaps, variant, edits, None, None, data, input, recipe, epochs, overrides, seeds or 1)
    folder = Path(output or f"{chosen.name}.search")
    with Bars() as bars:
        prepared = running.prepare_search(chosen, bars.phase)
        engine = running.Engine(jobs, device, compiled, tuple(plugin or ()))
        front, every = look(
            prepared,
            folder,
            lambda journal: running.run(journal, engine, bars.watch(prepared)),
            trials=trials,
            objectives=tuple(name.strip() for name in objectives.split(",")),
            together=jobs,
            device=device,
            tell=bars.phase,
            command=shlex.join(["metablock", *sys.argv[1:]]),
        )
    typer.echo((folder / "front" / "front.md").read_text(encoding="utf-8").rstrip())
    typer.echo(f"\n{len(front)} of {len(every)} networks are on the front: {folder / 'front'}")
