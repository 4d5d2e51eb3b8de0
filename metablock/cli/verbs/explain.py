"""``metablock explain``"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import options
from ..application import app, print_json
from ..completion import complete_slot


@app.command()
def explain(
    spec: options.Spec,
    slot: Annotated[
        str,
        typer.Argument(
            metavar="SLOT",
            help="A name: token, stages[2].token, norm, body, a wire, an operator.",
            show_default=False,
            autocompletion=complete_slot,
        ),
    ],
    variant: options.Variant = None,
    edits: options.Edits = None,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Explain a name of a spec: what it stands for, down to operators, and which file, variant or edit set it.

    \b
      metablock explain poolformer_s12 token
      metablock explain caformer_s18 'stages[2].token'
      metablock explain swin_tiny drop
      metablock explain swin_tiny norm --edit 'norm = group_norm(1)'
    """
    from ...report.explain import explain as explained
    from ..explain_text import explain_text
    from ..tables import text_width

    explanation = explained(options.build_options(spec, variant, edits, None, None, False), slot)
    if as_json:
        print_json(explanation.model_dump())
        return
    for line in explain_text(explanation, text_width()):
        typer.echo(line)
