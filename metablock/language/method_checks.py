"""Checks of a method's file, and edits of it."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Problem
from . import ast as e
from .check import check_names
from .edits import apply
from .methods import PARTS
from .spec import Binding, Edit, Spec

_INPUTS = ("view", "uniform", "normal")
# What the data bring for a loss to read.
_DATA = ("label", "target")


def check_method(method: Spec) -> list[Problem]:
    """Every problem of a method's names and calls. Shapes are looked at with a backbone.

    >>> from .methods import open_method
    >>> check_method(open_method("mae"))
    []
    """
    parts = {
        name: Binding(e.Header(name, span=hole.span), e.Name("id")) for name, hole in method.holes.items() if name not in PARTS
    }
    columns = {"body": Binding(e.Header("body"), e.Name("id"))} if "stages" in method.holes else {}
    sections = {name: e.Name("id") for name in ("stem", "head") if name in method.holes}
    example = e.Call(e.Name("image"), (e.Argument(None, e.Number(3)), e.Argument(None, e.Number(224))))
    alone = method.with_(
        inputs={"input": example},
        let={**parts, **method.let},
        columns=columns,
        sections={**sections, **method.sections},
        weights={},
        facts=method.facts.only(None),
    )
    problems = [problem for problem in check_names(alone) if problem.span is not None]
    for name, node in method.inputs.items():
        called = node.func if isinstance(node, e.Call) else node
        if not isinstance(called, e.Name) or called.id not in _INPUTS:
            hint = "`image: view` is an example of the data, `noise: uniform(1, n)` is drawn"
            problems.append(Problem(f"'{name}' is no input of a method", node.span, hint))
    return problems


def edited_method(method: Spec, backbone: Spec, edits: Sequence[Edit]) -> tuple[Spec, tuple[Edit, ...]]:
    """A method with the edits of it made, and the edits of the backbone: those whose names the backbone has, or neither has.

    Args:
        method: the method.
        backbone: the file of the backbone.
        edits: in order.

    Raises:
        SpecError: an edit that cannot be made.
    """
    known = {name for table in backbone.binding_tables().values() for name in table} | backbone.sections.keys() | {"input"}
    own = {*method.let, *method.shared, *method.sections}
    mine = [edit for edit in edits if edit.name in own and edit.name not in known and isinstance(edit.target, e.Header)]
    return (apply(method, mine) if mine else method), tuple(edit for edit in edits if edit not in mine)
