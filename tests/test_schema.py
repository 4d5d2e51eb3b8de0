"""The schema for editors: current, fits every shipped spec, and knows misspelt sections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from metablock.catalogue.editor_schema import MARK, schema
from metablock.language.resources import architectures, folder

ROOT = Path(__file__).resolve().parent.parent
FILES = [*architectures().values(), *sorted((ROOT / "examples").glob("*.yaml"))]


def problems(text: str) -> list[str]:
    from jsonschema import Draft202012Validator

    return [error.message for error in Draft202012Validator(schema()).iter_errors(yaml.safe_load(text))]


def test_the_file_is_current() -> None:
    """`metablock schema > grammars/architecture.schema.json` makes it so."""
    assert json.loads((folder("grammars") / "architecture.schema.json").read_text(encoding="utf-8")) == schema()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_specs_fit_and_name_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == MARK
    assert (path.parent / MARK.split("=")[1]).exists()
    assert problems(text) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("stages:", "stage:", "'stage' was unexpected"),
        ("stages:", "freeze: 3\nstages:", "is not valid under any of the given schemas"),
        ("name: my_backbone\n", "", "'name' is a required property"),
        ("let:\n", "let: 3\nheads:\n", "is not of type 'object'"),
        ("variants:\n", "variants: [1]\nfacts:\n", "is not of type 'object'"),
    ],
)
def test_what_does_not_fit(old: str, new: str, says: str) -> None:
    text = (ROOT / "examples" / "my_backbone.yaml").read_text(encoding="utf-8")
    assert any(says in message for message in problems(text.replace(old, new, 1)))


def test_every_section_says_what_it_is() -> None:
    properties: dict[str, Any] = schema()["properties"]
    assert all(len(section["description"]) > 10 for section in properties.values())
    assert "hilo" in schema()["$defs"]["expression"]["description"]
