"""``metablock schema``, hidden"""

from __future__ import annotations

from ..application import app, print_json


@app.command(hidden=True)
def schema() -> None:
    """Print the JSON schema of spec files, which grammars/architecture.schema.json holds for editors."""
    from ...catalogue.editor_schema import schema as schema_of_specs

    print_json(schema_of_specs())
