"""The types of the answers about names: operators, standard bindings, the names of a spec."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .answer import Answer


class OperatorRow(Answer):
    """``list --operators``: a name that specs can call. ``doc``: the docstring's first paragraph, or the binding's body."""

    name: str
    kind: Literal["operator", "binding"]
    signature: str
    doc: str


class ArgumentText(Answer):
    """An argument: the kinds of values that it takes, the numbers that it ``admits``, its default (null: required), its text."""

    name: str
    takes: tuple[str, ...]
    admits: str | None
    default: str | None
    text: str | None


class ExampleText(Answer):
    """An example that the test suite runs: ``code``, and what it prints."""

    code: str
    output: str


class OperatorUse(Answer):
    """A file of the catalogue that uses a name itself, and in which slots: bindings, columns, sections."""

    file: str
    paper: str | None
    slots: tuple[str, ...]


class OperatorText(OperatorRow):
    """``list --operators NAME``: all that is known of an operator or a standard binding.

    ``formulas``: the code of the first paragraph; ``details`` and ``sources``: the other paragraphs, those about papers apart;
    ``takes``, ``gives``: the layouts that arrive and leave, and what becomes of the grid; ``returns``: what its text says of it;
    ``place``: its file and line; ``definition``: a binding's text; ``bindings``: the standard bindings that use it; ``similar``:
    other names that contain its.
    """

    formulas: tuple[str, ...]
    details: tuple[str, ...]
    arguments: tuple[ArgumentText, ...]
    takes: str | None
    gives: str | None
    returns: str | None
    errors: tuple[str, ...]
    sources: tuple[str, ...]
    examples: tuple[ExampleText, ...]
    place: str | None
    definition: str | None
    bindings: tuple[str, ...]
    papers: tuple[OperatorUse, ...]
    similar: tuple[str, ...]


class Setting(Answer):
    """Who set a name, to what, and where: ``file:line``."""

    by: str
    text: str
    place: str | None


class StageText(Answer):
    """What a name is in a stage: the text, its place where it is the stage's own, and the numbers it has block by block."""

    stage: int
    text: str
    place: str | None
    values: tuple[str, ...]


class NameText(Answer):
    """What a name means. ``name``: as it stands, with its arguments where it is called.

    ``header``: the name with its parameters; ``arguments``: their values here; ``text``: the expression it stands for; ``value``:
    that as a number, where it is the same everywhere, else ``stages`` has them; ``set_by``: the last one holds; ``parts``: what
    the names in the expression mean, unless that stands ``above``; ``used_by``: the bindings and sections that name it.
    """

    name: str
    kind: str
    header: str | None = None
    arguments: dict[str, str] = Field(default_factory=dict)
    text: str | None = None
    value: str | None = None
    note: str | None = None
    place: str | None = None
    set_by: tuple[Setting, ...] = ()
    stages: tuple[StageText, ...] = ()
    parts: tuple[NameText, ...] = ()
    above: bool = False
    used_by: tuple[str, ...] = ()


class Explanation(Answer):
    """``explain``: the meanings of a name in a network; a wire or parameter has one in each expression that has it."""

    spec: str
    variant: str | None
    slot: str
    names: tuple[NameText, ...]


__all__ = [
    "ArgumentText",
    "ExampleText",
    "Explanation",
    "NameText",
    "OperatorRow",
    "OperatorText",
    "OperatorUse",
    "Setting",
    "StageText",
]
