"""``metablock train``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import MetablockError
from .. import options
from ..application import app, first_process, print_json, say
from ..completion import complete_spec
from ..study_options import (
    Compiled,
    Data,
    Device,
    Epochs,
    Overrides,
    RecipeName,
    Score,
    recipe_values,
    require_packages,
    stopping,
)

if TYPE_CHECKING:
    from ...ablation.results import Epoch


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
    method: options.Method = None,
    score: Score = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            callback=options.path,
            metavar="FILE",
            help="Weights to begin with: of this network, or of a training of it by a method.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, max=2**63 - 1, help="Of weights, order, augmentation, dropout.")
    ] = 0,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", callback=options.path, metavar="FILE", help="Write the trained weights: .safetensors, .pt2, .onnx."
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            callback=options.path,
            metavar="FILE",
            help="Written every epoch; if it exists, training continues from it.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", callback=options.path, metavar="SPEC", help="For a recipe that distils.", autocompletion=complete_spec
        ),
    ] = None,
    teacher_weights: Annotated[
        str | None, typer.Option("--teacher-weights", callback=options.path, metavar="FILE", help="The teacher's weights.")
    ] = None,
    teacher_input: Annotated[
        str | None,
        typer.Option(
            "--teacher-weights-input", metavar="CxHxW", help="As --weights-input of `build`, for the teacher's weights."
        ),
    ] = None,
    teacher_names: Annotated[
        str | None, typer.Option("--teacher-names", metavar="NAME", help="As --names of `build`, for the teacher's weights.")
    ] = None,
    device: Device = "cpu",
    compiled: Compiled = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Train one network. On several GPUs: torchrun --standalone --nproc-per-node 4 -m metablock train ...

    \b
      metablock train poolformer_s12 --data digits --epochs 5
      metablock train ./my.yaml --data folder:imagenette --recipe deit --with lr=1e-3 -o my.safetensors
      metablock train examples/ecg.yaml --data npz:beats.npz
      metablock train vit_tiny_patch16_224 --method mae --data folder:imagenette -o pre.safetensors
      metablock train vit_tiny_patch16_224 --weights pre.safetensors --data folder:imagenette
    """
    from ...ablation.data import load_data
    from ...ablation.dataset import replaced
    from ...ablation.objective import recipe_of
    from ...ablation.training import Options, TrainingError, check_device
    from ...ablation.training import train as train_network
    from ...api import build
    from ...front import parse_input, resolved, sized
    from ...writers.outputs import check_output, write
    from ..progress import Bars

    require_packages()
    if output is not None:
        check_output(output)
    base = resolved(spec, variant=variant, edits=edits or (), method=method)
    settings = recipe_of(base, recipe, **recipe_values(overrides, epochs, score))
    check_device(settings, device)
    finished = [0]

    def stopped() -> str:
        if finished[0] >= settings.epochs and output is not None:
            return f"stopped after the last epoch, before {output} is written: " + (
                "the same command writes it" if checkpoint else "nothing is stored; --checkpoint FILE lets the same command go on"
            )
        where = f"after epoch {finished[0]} of {settings.epochs}" if finished[0] else f"in epoch 1 of {settings.epochs}"
        if not checkpoint:
            return f"stopped {where}; nothing is stored: with --checkpoint FILE the same command goes on from there"
        return f"stopped {where}; the same command " + ("goes on from there" if finished[0] else "starts again")

    with stopping(stopped):
        with Bars() as bars:
            dataset = load_data("digits" if data is None else data, parse_input(input), bars.phase)
        if (line := replaced(base, dataset)) is not None and first_process():
            typer.echo(line, err=True)
        network = sized(base, classes=dataset.classes, input=dataset.input)
        teaching = None
        if teacher is not None:
            teaching = build(
                teacher,
                classes=dataset.classes,
                input=dataset.input,
                weights=teacher_weights,
                weights_input=teacher_input,
                names=teacher_names,
            )
        with Bars() as bars:
            show, step = bars.training(settings.epochs)

            def report(epoch: Epoch) -> None:
                finished[0] = epoch.epoch
                show(epoch)

            try:
                model, passed = train_network(
                    network,
                    dataset,
                    settings,
                    seed,
                    checkpoint=Path(checkpoint) if checkpoint else None,
                    options=Options(device, compiled),
                    teacher=teaching,
                    weights=weights,
                    report=report,
                    step=step,
                )
            except TrainingError as wrong:
                hint = "a lower rate (--with lr=...), a smaller batch, or --with clip=1 may help"
                raise MetablockError(str(wrong), hint) from None
        if output is not None and first_process():
            write(model.eval(), output)
            if not as_json:
                say(f"{output} is written")
    if as_json and first_process():
        from ..study_answers import train_answer

        answer = train_answer(network, dataset, settings, seed, passed, checkpoint=checkpoint, written=output)
        print_json(answer.model_dump())
