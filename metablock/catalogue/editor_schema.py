"""The JSON schema of spec files, for editors: sections and their meaning. ``metablock check`` checks expressions."""

from __future__ import annotations

from typing import Any

from ..language.load import PAPER, SECTIONS
from ..language.registry import OPERATORS
from ..language.spec import REVISIONS
from ..language.standard import standard

# The first line of every shipped file.
MARK = "# yaml-language-server: $schema=../grammars/architecture.schema.json"

_ABOUT = {
    "metablock": "The revision of the language that the file is written in; 1 where it is not stated.",
    "name": "The name of the architecture, that of its file.",
    "paper": "Where it was published.",
    "input": "What enters: image(3, 224), signal(12, 5000), series(80, 400), tokens(512, 1024) ...; or several, by name.",
    "classes": "The number of classes; 1000 by default.",
    "let": "Bindings: a name stands for an expression, each use builds anew; `ffn(r=4): ...` takes parameters. Names are slots.",
    "shared": "Modules that are built once and used wherever they are named.",
    "stem": "Runs before the stages.",
    "stages": "Columns: one entry per stage, or one value for all. `down`, `body` and `end` run; all others are names.",
    "head": "Runs after the stages.",
    "model": "A stream that composes stem, stages and head, for a network that is more than their sequence.",
    "predict": "What inference returns, from named outputs.",
    "loss": "What a training minimises: a stream over named outputs, inputs, `label` and `target`.",
    "freeze": "Parts that are not trained, by their names: [stem, stages.0].",
    "init": "Rules for initial weights, by slot, operator or parameter: {linear: trunc_normal(0.02)}.",
    "weights": "Rules for the checkpoints of others: our name: their name.",
    "traits": "Named sets of edits that variants start from.",
    "variants": "Edits of the above, by name; the first is the default. `of:` starts from others.",
    "method": "A method that trains the network, with the sections of a method's file; `metablock show SPEC --method` writes it.",
    "checkpoints": "A table with a header row: places of trained weights (a hub's name or an address), by who trained them.",
    "facts": "A table with a header row: exact figures of the official code, and figures that the paper reports.",
}


def schema() -> dict[str, Any]:
    """The schema as data: `name` and `input` are required, and only known sections are allowed.

    >>> schema()["required"], schema()["properties"]["metablock"]["enum"]
    (['name', 'input'], [1])
    """
    names = ", ".join(sorted({*OPERATORS, *standard()}))
    expression = {
        "description": f"An expression: a >> b, a + b, n * a, res(a) ... Operators and standard bindings: {names}.",
        "anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            {"type": "array", "items": {"$ref": "#/$defs/expression"}},
        ],
    }
    table = {"type": "object", "additionalProperties": {"$ref": "#/$defs/expression"}}
    edits = {
        "type": ["object", "null"],
        "properties": {
            "of": {"description": "Other variants or traits to start from.", "type": ["string", "array", "number"]},
            "let": {"$ref": "#/$defs/table"},
            "stages": {"$ref": "#/$defs/stages"},
            "init": {"$ref": "#/$defs/table"},
        },
        "additionalProperties": {"$ref": "#/$defs/value"},
    }
    kinds: dict[str, dict[str, Any]] = {
        "metablock": {"enum": list(REVISIONS)},
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_]+$"},
        "paper": {
            "type": "object",
            "properties": {key: {"type": ["string", "number"]} for key in PAPER},
            "additionalProperties": False,
        },
        "input": {"anyOf": [{"$ref": "#/$defs/expression"}, {"$ref": "#/$defs/table"}]},
        "let": {"$ref": "#/$defs/table"},
        "shared": {"$ref": "#/$defs/table"},
        "stages": {"$ref": "#/$defs/stages"},
        "freeze": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "init": {"$ref": "#/$defs/table"},
        "weights": {"type": "object", "additionalProperties": {"type": "object"}},
        "method": {"type": "object"},
        "traits": {"type": "object", "additionalProperties": {"$ref": "#/$defs/edits"}},
        "variants": {"type": "object", "additionalProperties": {"$ref": "#/$defs/edits"}},
        "checkpoints": {"type": "array", "items": {"type": "array"}},
        "facts": {"type": "array", "items": {"type": "array"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "metablock architecture",
        "type": "object",
        "properties": {
            name: {"description": _ABOUT[name], **kinds.get(name, {"$ref": "#/$defs/expression"})} for name in SECTIONS
        },
        "required": ["name", "input"],
        "additionalProperties": False,
        "$defs": {
            "expression": expression,
            "value": {"anyOf": [{"$ref": "#/$defs/expression"}, {"$ref": "#/$defs/table"}]},
            "table": table,
            "stages": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "shared": {"$ref": "#/$defs/table"},
                            "down": {"description": "Runs before the body of a stage.", "$ref": "#/$defs/expression"},
                            "body": {"description": "The blocks of a stage.", "$ref": "#/$defs/expression"},
                            "end": {"description": "Runs after the body of a stage.", "$ref": "#/$defs/expression"},
                        },
                        "additionalProperties": {"$ref": "#/$defs/expression"},
                    },
                    {"description": "Rows: one mapping per stage.", "type": "array", "items": {"$ref": "#/$defs/table"}},
                ]
            },
            "edits": edits,
        },
    }
