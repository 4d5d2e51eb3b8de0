"""Checks of a method's file."""

from __future__ import annotations

from ..errors import Problem, nearest, suggest
from . import ast as e
from .check import check_names
from .methods import PARTS, SOURCES
from .spec import Binding, Spec


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
    read = {part.id for node in method.inputs.values() for part in e.walk(node) if isinstance(part, e.Name)}
    idle = {f"the binding '{name}' is never used" for name in read}
    problems = [problem for problem in check_names(alone) if problem.span is not None and problem.message not in idle]
    for name, node in method.inputs.items():
        called = node.func if isinstance(node, e.Call) else node
        if not isinstance(called, e.Name) or called.id not in SOURCES:
            hint = "`image: view` is an example of the data, `noise: uniform(1, n)` is drawn"
            near = nearest(called.id, SOURCES) if isinstance(called, e.Name) else None
            problems.append(Problem(f"'{name}' is no input of a method", node.span, f"did you mean '{near}'?" if near else hint))
        elif called.id == "view" and isinstance(node, e.Call):
            word = node.args[0].value if node.args else None
            if isinstance(word, e.String) and word.value not in method.views:
                known = f"it has {', '.join(method.views)}" if method.views else "write them under `views:`"
                hint = suggest(word.value, method.views, known) or known
                problems.append(Problem(f"the method has no view '{word.value}'", word.span, hint))
    return problems
