"""The verbs that train: ``ablate``, ``train``, ``report``, and the hidden ``work`` of a study's processes."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import MetablockError
from . import options
from .verbs import app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..ablation.probe import Probed
    from ..ablation.study import Study

Data = Annotated[
    str | None,
    typer.Option("--data", metavar="NAME", help="digits, folder:PATH, hf:NAME[:config] or npz:FILE.", show_default="digits"),
]
RecipeName = Annotated[str | None, typer.Option("--recipe", metavar="NAME", help="small, deit or resnet.", show_default="small")]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", min=1, help="Instead of the recipe's.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--with", metavar="KEY=VALUE", help="A value of the recipe: lr=3e-4, batch=128. Repeatable.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="cpu, cuda, mps.")]
Compiled = Annotated[bool, typer.Option("--compile/--no-compile", help="Compile the networks.")]
NEEDED = ("accelerate", "scipy", "matplotlib", "sklearn")


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

    _need()
    if executor not in ("local", "ray"):
        raise MetablockError(f"unknown executor '{executor}'\n  known: local, ray")
    if retry not in (None, "failed"):
        raise MetablockError(f"unknown --retry '{retry}'\n  --retry failed")
    chosen = _study(study, swaps, variant, edits, match, design, data, input, recipe, epochs, overrides, seeds)
    folder = Path(output or f"{chosen.name}.study")
    with Bars() as bars:
        prepared = running.prepare(chosen, folder, bars.phase)
    if dry_run:
        plan_table(prepared, jobs, device)
        return
    from ..ablation.report import write_report

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
        running.measure(journal, prepared.cells, device, bars.phase)
    journal.close()
    found = running.results(folder)
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
    """Train one network. On several GPUs: accelerate launch -m metablock train ...

    \b
      metablock train poolformer_s12 --data digits --epochs 5
      metablock train ./my.yaml --data folder:imagenette --recipe deit --with lr=1e-3 -o my.safetensors
      metablock train examples/ecg.yaml --data npz:beats.npz
    """
    from ..ablation.data import load_data
    from ..ablation.recipe import recipe as recipe_of
    from ..ablation.training import Options, TrainingError
    from ..ablation.training import train as train_network
    from ..api import build, parse_input, resolved, sized
    from ..outputs import check_output, write
    from .progress import Bars

    _need()
    if output is not None:
        check_output(output)
    settings = recipe_of(recipe or "small", **_values(overrides, epochs))
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
    if output is not None:
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

    _need()
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


def _need() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = {"sklearn": "scikit-learn"}
        raise MetablockError(
            f"training needs {', '.join(names.get(name, name) for name in missing)}\n  pip install 'metablock[ablate]'"
        )


def _values(overrides: list[str] | None, epochs: int | None) -> dict[str, Any]:
    from ..ablation.recipe import parse_override

    values: dict[str, Any] = {}
    for text in overrides or ():
        key, mark, value = text.partition("=")
        if not mark:
            raise MetablockError(f"--with '{text}' has no '='\n  for instance --with lr=3e-4")
        values[key.strip()] = parse_override(key.strip(), value.strip())
    return {**values, **({"epochs": epochs} if epochs is not None else {})}


def _study(
    name: str, swaps: list[str] | None, variant: str | None, edits: list[str] | None, match: str | None, design: str | None,
    data: str | None, input: str | None, recipe: str | None, epochs: int | None, overrides: list[str] | None, seeds: int | None,
) -> Study:  # fmt: skip
    """A study from its file and the options, which come after it; or from the options alone."""
    from dataclasses import replace

    from ..ablation.study import DESIGNS, MATCHES, Study, edits_of, parse_swap
    from ..ablation.study_file import is_study, load_study
    from ..errors import suggest

    for word, known, what in ((match, MATCHES, "--match"), (design, DESIGNS, "--design")):
        if word is not None and word not in known:
            raise MetablockError(f"unknown {what} '{word}'\n  {suggest(word, known, 'known: ' + ', '.join(known))}")
    study = load_study(name) if is_study(name) else Study(Path(name).stem, name)
    given: dict[str, Any] = {"variant": variant, "data": data, "input": input, "recipe": recipe, "design": design}
    study = replace(study, **{key: value for key, value in given.items() if value is not None})
    if edits:
        study = replace(study, edits=(*study.edits, *edits_of(edits)))
    if match is not None:
        study = replace(study, match=replace(study.match, by=match))
    if seeds is not None:
        study = replace(study, seeds=tuple(range(seeds)))
    study = replace(study, overrides={**study.overrides, **_values(overrides, epochs)})
    if swaps:
        base = study.resolved()
        study = replace(study, factors=(*study.factors, *(parse_swap(swap, base) for swap in swaps)))
    return study


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
    from ..ablation.probe import table, write_probe
    from ..ablation.study import parse_swap
    from ..api import assemble, example, parse_input, resolved, shaped, sized
    from ..edits import apply
    from .progress import Bars

    _need()
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
            model = assemble(network, shaped(network), weights=weights if network is base else None)
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

    _need()
    chosen = _study(study, swaps, variant, edits, None, None, data, input, recipe, epochs, overrides, seeds or 1)
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
