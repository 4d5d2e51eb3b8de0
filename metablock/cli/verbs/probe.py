"""``metablock probe``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import MetablockError
from .. import options
from ..application import app, say
from ..study_options import require_packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...ablation.probe import Probed


@app.command()
def probe(
    spec: options.Spec,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    swaps: Annotated[
        list[str] | None,
        typer.Option("--swap", metavar="'SLOT = A, B'", help="Draw the network with each of these values, too. Repeatable."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", callback=options.path, metavar="FILE", help="Trained weights; the initial ones by default."),
    ] = None,
    weights_input: options.WeightsInput = None,
    names: options.Names = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="NAME", help="Pictures: digits, folder:PATH, hf:NAME, npz:FILE; noise by default."),
    ] = None,
    images: Annotated[int, typer.Option("--images", metavar="N", min=1, max=1_000_000, help="The number of pictures.")] = 8,
    output: Annotated[
        str | None, typer.Option("--output", "-o", callback=options.path, metavar="FOLDER", help="NAME.probe by default.")
    ] = None,
    plugin: options.Plugin = None,
) -> None:
    """Draw how far the features of each stage see, and which frequencies each stage passes on.

    Initial weights show what the architecture can see; trained weights show what it does see.

    \b
      metablock probe poolformer_s12 --weights poolformer.safetensors --data folder:imagenette
      metablock probe poolformer_s12 --swap 'token = attention(dim // 32), dw(7)' --input 3x128x128
    """
    from ...ablation.data import load_data
    from ...ablation.probe import probe as measure
    from ...ablation.report.probes import table, write_probe
    from ...ablation.study import parse_swap
    from ...api import assemble, example
    from ...front import front, parse_input, resolved, sized
    from ...language.edits import apply
    from ..progress import Bars

    require_packages()
    base = resolved(spec, variant=variant, edits=edits or ())
    with Bars() as bars:
        dataset = load_data(data, parse_input(input), bars.phase) if data is not None else None
        base = sized(base, classes=classes, input=dataset.input if dataset else input)
        networks = {base.variant or base.name: base}
        for swap in swaps or ():
            factor = parse_swap(swap, base)
            for level in factor.levels:  # two slots may have a value of one name
                name = level.name if level.name not in networks else f"{factor.name} = {level.name}"
                if name in networks:
                    raise MetablockError(f"--swap '{swap}': '{name}' stands twice", "keep one of the two")
                networks[name] = apply(base, level.edits)
        results: dict[str, Sequence[Probed]] = {}
        for number, (name, network) in enumerate(networks.items()):
            bars.phase(f"probing {name}", number, len(networks))
            trained = network is base  # only the base has weights
            model = assemble(
                *front(network),
                weights=weights if trained else None,
                weights_input=weights_input if trained else None,
                names=names if trained else None,
            )
            pictures = dataset.val.get(range(min(images, len(dataset.val)))) if dataset is not None else example(model, images)
            results[name] = measure(model, pictures[0])
    folder = Path(output or f"{base.variant or base.name}.probe")
    files = write_probe(results, folder)
    typer.echo(table(results))
    say(f"{len(files)} files in {folder}")
