"""The verbs and their help."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import MetablockError
from . import options

if TYPE_CHECKING:
    from ..report.build import BuildOptions

BAD_INPUT = 2


class _Verbs(TyperGroup):
    """Bad input is told, never thrown at the person who gave it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except MetablockError as wrong:
            typer.echo(str(wrong), err=True)
        except RecursionError:
            typer.echo("the spec is nested too deeply\n  let its bindings use each other in fewer steps", err=True)
        raise typer.Exit(BAD_INPUT)


app = typer.Typer(
    cls=_Verbs,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"metablock {__version__}")
        raise typer.Exit


@app.callback(epilog="metablock VERB --help has examples.")
def metablock(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Neural backbones, one YAML file a paper: check them, build them, swap their parts."""


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Spec files; - is standard input.", show_default=False)],
    shapes: Annotated[
        bool, typer.Option("--shapes/--no-shapes", help="Also infer the shapes of every variant (brings torch).")
    ] = True,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Report every error of every file: its place, the line, one hint.

    Silent when all is well; otherwise the status is 2.

    \b
      metablock check my.yaml
      metablock check --no-shapes architectures/*.yaml
      generate | metablock check - --json
    """
    from ..report.check import check as problems_of
    from ..report.check import file_report

    found = {name: problems_of(name, shapes=shapes) for name in dict.fromkeys(files)}
    if as_json:
        reports = [file_report(name, problems).model_dump() for name, problems in found.items()]
        typer.echo(json.dumps(reports, indent=2))
    else:
        for problem in (problem for problems in found.values() for problem in problems):
            typer.echo(problem.render(), err=True)
    if any(found.values()):
        raise typer.Exit(BAD_INPUT)


@app.command()
def build(
    spec: options.Spec,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="A .safetensors or .pth file: our names, the official code's or timm's."),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps; on meta nothing runs.")
    ] = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float32, float64, float16, bfloat16.")] = "float32",
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Use torch.compile: a graph for each distinct block.")
    ] = True,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of the weights, part by part, and of the input.")] = 0,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="How many images a pass has.")] = 1,
    large: options.Large = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Re-parameterise: branches, norms and scales collapse into convolutions.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the network, by the suffix: .py, .safetensors, .pt2 or .onnx."
        ),
    ] = None,
    dynamic: Annotated[
        str | None,
        typer.Option("--dynamic", metavar="SIZES", help="What stays open in a .pt2 or .onnx file: batch,height,width."),
    ] = None,
) -> None:
    """Build a network, compile it, run it; print its parts, their cost, and the paper's own figures.

    \b
      metablock build poolformer_s12
      metablock build poolformer_s12 --set 'token = attention(dim // 32)'
      metablock build swin_tiny --set 'stages[2:].token = pool' --classes 10 --no-compile
      metablock build ./my.yaml --variant small --input 3x256x192 --batch 8 --device cuda
      metablock build convnext_tiny --weights convnext.pth -o convnext.safetensors
      metablock build convnext_tiny -o convnext.py
      metablock build repvgg_a0 --deploy -o repvgg.safetensors
      metablock build convnext_tiny -o convnext.onnx --dynamic batch,height,width
    """
    from ..report.build import build_report
    from .output import build_tables, working

    choice = choice_of(spec, variant, edits, classes, input, large)
    with working() as progress:
        report = build_report(
            choice,
            weights=weights,
            device=device,
            dtype=dtype,
            compiled=compiled,
            seed=seed,
            batch=batch,
            output=output,
            dynamic=dynamic,
            deploy=deploy,
            progress=progress,
        )
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        build_tables(report)


class View(StrEnum):
    """What ``show`` shows."""

    spec = "spec"
    tree = "tree"
    shapes = "shapes"


@app.command()
def show(
    spec: options.Spec,
    view: Annotated[
        View, typer.Option("--as", help="spec: the resolved text; tree: the modules; shapes: what enters and leaves each step.")
    ] = View.spec,
    variant: options.Variant = None,
    edits: options.Edits = None,
    classes: options.Classes = None,
    input: options.Input = None,
    large: options.Large = False,
    plugin: options.Plugin = None,
) -> None:
    """Show a network: its variant and edits resolved, nothing allocated.

    \b
      metablock show poolformer_s12
      metablock show poolformer_s12 --as shapes --input 3x256x192
      metablock show swin_tiny --set 'token = pool' --as tree
      metablock show swin_small > my.yaml
    """
    from ..report import show as views
    from .output import shape_table

    choice = choice_of(spec, variant, edits, classes, input, large)
    if view is View.shapes:
        shape_table(views.shapes(choice))
    else:
        text = views.spec_text(choice) if view is View.spec else views.tree_text(choice)
        typer.echo(text.rstrip("\n"))


@app.command(name="list")
def list_(
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="A part of a name, or a glob: 'swin', '*_s12'.", show_default=False)
    ] = None,
    operators: Annotated[bool, typer.Option("--operators", help="The operators and standard bindings instead.")] = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """List the catalogue, a line a variant, by the facts in its files; or the operators.

    Parameters are the trainable ones; "+ 0.2M" are frozen besides. MACs are of one image.

    \b
      metablock list
      metablock list 'poolformer*'
      metablock list --operators attention
      metablock list --json | jq '.[] | select(.parameters < 2e7) | .name'
    """
    from ..report import catalogue
    from .output import catalogue_table, operator_table

    known = catalogue.operators(pattern) if operators else []
    variants = catalogue.rows(pattern) if not operators else []
    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in [*known, *variants]], indent=2))
    elif operators:
        operator_table(known)
    else:
        catalogue_table(variants)


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the architecture; the file is NAME.yaml.", show_default=False)],
    base: Annotated[str | None, typer.Option("--from", metavar="BASE", help="A catalogue name or a file to start from.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a starter spec: a small commented architecture, or a copy of another under a new name.

    \b
      metablock new my_net
      metablock new my_swin --from swin_tiny
    """
    from ..catalogue.starter import new as write_new

    path, variant = write_new(name, base=base, force=force)
    more = f" --variant {variant}" if variant else ""
    typer.echo(f"{path} is written; next:")
    typer.echo(f"  metablock check {path}")
    typer.echo(f"  metablock build {path}{more}")


@app.command()
def fmt(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Spec files; - is standard input.", show_default=False)],
    only_check: Annotated[bool, typer.Option("--check", help="Write nothing; status 1 where a file would change.")] = False,
) -> None:
    """Bring spec files into canonical form: order, spacing, quotes, columns. Comments are kept.

    What stands on standard input comes out on standard output. A file with errors stays as it is; the status is 2.

    \b
      metablock fmt my.yaml
      metablock fmt --check architectures/*.yaml
      generate | metablock fmt - > my.yaml
    """
    from ..report.check import STDIN, shown
    from ..report.fmt import reformat

    changed = wrong = False
    for name in dict.fromkeys(files):
        try:
            other, text = reformat(name, write=not only_check)
        except MetablockError as problem:  # the others are formatted all the same
            typer.echo(str(problem), err=True)
            wrong = True
            continue
        changed |= other
        if name == STDIN and not only_check:
            typer.echo(text, nl=False)
        elif other:
            typer.echo(f"{shown(name)} {'would be' if only_check else 'is'} formatted", err=True)
    if wrong or (changed and only_check):
        raise typer.Exit(BAD_INPUT if wrong else 1)


@app.command(hidden=True)
def schema() -> None:
    """Print the JSON schema of spec files, which grammars/architecture.schema.json holds for editors."""
    from ..catalogue.editor_schema import schema as made

    typer.echo(json.dumps(made(), indent=2))


def choice_of(
    spec: str, variant: str | None, edits: list[str] | None, classes: int | None, input: str | None, large: bool
) -> BuildOptions:
    from ..report.build import BuildOptions

    return BuildOptions(spec, variant, tuple(edits or ()), classes, input, large)
