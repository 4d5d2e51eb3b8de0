"""``metablock schema``, hidden"""

from __future__ import annotations

import json

import typer

from ..app import app


@app.command(hidden=True)
def schema() -> None:
    """Print the JSON schema of spec files, which grammars/architecture.schema.json holds for editors."""
    from ...catalogue.editor_schema import schema as schema_of_specs

    typer.echo(json.dumps(schema_of_specs(), indent=2))
