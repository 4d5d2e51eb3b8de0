"""Study files, read like specs: every mistake with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import MetablockError, Problem, Span, SpecError, Text, error, suggest
from ..language import ast as e
from ..language.parser import parse_target, parse_value
from ..language.spec import Edit, Spec
from ..language.yaml import Mapping as MappingNode
from ..language.yaml import Node, Scalar, read, read_file
from ..language.yaml import Sequence as SequenceNode
from .recipe import parse_override
from .study import DESIGNS, MATCHES, Factor, Level, Match, Study, factor


def load_study(path: str | Path) -> Study:
    """Reads a study file. Raises SpecError with every problem of its form."""
    return _StudyLoader(Path(path).parent).study(read_file(path))


def load_study_text(content: str, name: str = "<study>", folder: Path | None = None) -> Study:
    """The same from a string."""
    return _StudyLoader(folder or Path()).study(read(Text(name, content)))


SECTIONS = (
    "study", "base", "variant", "edits", "factors", "design", "match", "data", "input", "recipe", "seeds", "alpha", "margin",
)  # fmt: skip
_HINTS = {"study": "`study: mixers` names it", "base": "`base: poolformer_s12`, or a file: ./my.yaml"}


class _StudyLoader:
    """Collects problems instead of stopping at the first."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[Problem] = []
        self.folder = folder

    def wrong(self, message: str, span: Span | None, hint: str | None) -> None:
        self.problems.append(Problem(message, span, hint))

    def study(self, root: MappingNode) -> Study:
        found: dict[str, Node] = {}
        for key, node in root.entries:
            if key.value in SECTIONS:
                found[key.value] = node
            else:
                self.wrong(
                    f"unknown key '{key.value}' in a study",
                    key.span,
                    suggest(key.value, SECTIONS, f"known: {', '.join(SECTIONS)}"),
                )
        for name, hint in _HINTS.items():
            if name not in found:
                self.wrong(f"'{name}' is missing", root.span.part(0, 1), hint)
        if self.problems:
            raise SpecError(self.problems)
        study = Study(self.word(found["study"], "a name"), self.base(found["base"]))
        take = {
            name: getattr(self, name)(node)
            for name, node in found.items()
            if name not in ("study", "base", "edits", "factors", "recipe")
        }
        study = replace(study, **take)
        if "recipe" in found:
            recipe, overrides = self.recipe(found["recipe"])
            study = replace(study, recipe=recipe, overrides=overrides)
        self.done()
        try:
            base, _ = study.spec()
            if study.variant is not None and base.variant_named(study.variant) is None:
                self.wrong(
                    f"'{base.name}' has no variant '{study.variant}'", found["variant"].span, base.suggest_variant(study.variant)
                )
        except SpecError:
            raise
        except MetablockError as problem:
            message, _, hint = str(problem).partition("\n")
            self.wrong(message, found["base"].span, hint.strip())
        self.done()
        if "edits" in found:
            study = replace(study, edits=self.table(found["edits"]))
        self.done()
        resolved = study.resolved()
        if "factors" in found:
            study = replace(study, factors=self.factors(found["factors"], resolved))
        self.done()
        return study

    def done(self) -> None:
        if self.problems:
            raise SpecError(self.problems)

    # Values

    def word(self, node: Node, what: str) -> str:
        if isinstance(node, Scalar) and node.value:
            return node.value
        self.wrong(f"{what} is expected here", node.span, "write a word")
        return ""

    def number(self, node: Node, what: str, low: float, high: float, whole: bool = False) -> float:
        try:
            value = float(node.value) if isinstance(node, Scalar) else float("nan")
        except ValueError:
            value = float("nan")
        if not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            self.wrong(
                f"{what} is {kind} from {low:g} to {high:g}",
                node.span,
                f"for instance {what}: {max(low, min(high, 3 if whole else 0.05)):g}",
            )
            return low
        return value

    def choice(self, node: Node, what: str, options: Sequence[str]) -> str:
        value = self.word(node, what)
        if value and value not in options:
            self.wrong(f"unknown {what} '{value}'", node.span, suggest(value, options, f"known: {', '.join(options)}"))
        return value

    def base(self, node: Node) -> str:
        value = self.word(node, "an architecture")
        near = self.folder / value
        return str(near) if value.endswith((".yaml", ".yml")) and near.is_file() else value

    def variant(self, node: Node) -> str:
        return self.word(node, "a variant")

    def data(self, node: Node) -> str:
        return self.word(node, "a data set")

    def input(self, node: Node) -> str:
        return self.word(node, "a size")

    def design(self, node: Node) -> str:
        return self.choice(node, "design", DESIGNS)

    def alpha(self, node: Node) -> float:
        return self.number(node, "alpha", 1e-6, 0.5)

    def margin(self, node: Node) -> float:
        return self.number(node, "margin", 0, 1)

    def seeds(self, node: Node) -> tuple[int, ...]:
        """A count, or the seeds themselves."""
        if isinstance(node, SequenceNode):
            return tuple(int(self.number(item, "a seed", 0, 2**31, whole=True)) for item in node.items)
        return tuple(range(int(self.number(node, "seeds", 1, 1000, whole=True))))

    def match(self, node: Node) -> Match:
        if isinstance(node, Scalar):
            return Match(self.choice(node, "match", MATCHES))
        if not isinstance(node, MappingNode):
            self.wrong("`match` is a word or a mapping", node.span, "match: macs, or match: {by: macs, tolerance: 0.05}")
            return Match()
        result = Match("macs")
        for key, value in node.entries:
            if key.value == "by":
                result = replace(result, by=self.choice(value, "match", MATCHES))
            elif key.value == "tolerance":
                result = replace(result, tolerance=self.number(value, "tolerance", 0, 1))
            elif key.value == "multiple":
                result = replace(result, multiple=int(self.number(value, "multiple", 1, 1024, whole=True)))
            elif key.value == "scale":
                items = value.items if isinstance(value, SequenceNode) else (value,)
                result = replace(result, scale=tuple(self.word(item, "a column or binding") for item in items))
            else:
                known = ("by", "tolerance", "scale", "multiple")
                self.wrong(
                    f"unknown key '{key.value}' in `match`", key.span, suggest(key.value, known, f"known: {', '.join(known)}")
                )
        return result

    def recipe(self, node: Node) -> tuple[str, dict[str, Any]]:
        """A name, or ``{of: name, key: value, ...}``."""
        if isinstance(node, Scalar):
            return self.word(node, "a recipe"), {}
        if not isinstance(node, MappingNode):
            self.wrong("`recipe` is a word or a mapping", node.span, "recipe: small, or recipe: {of: small, epochs: 20}")
            return "small", {}
        of, values = "small", {}
        for key, value in node.entries:
            if key.value == "of":
                of = self.word(value, "a recipe")
            else:
                text = value.value if isinstance(value, Scalar) else value.span.content
                try:
                    values[key.value] = parse_override(key.value, text)
                except MetablockError as problem:
                    message, _, hint = str(problem).partition("\n")
                    self.wrong(message, key.span, hint.strip())
        return of, values

    # Edits

    def table(self, node: Node) -> tuple[Edit, ...]:
        """``slot: value`` lines as edits."""
        if not isinstance(node, MappingNode):
            self.wrong("edits are `slot: value` lines", node.span, "for instance token: pool(3)")
            return ()
        edits = []
        for key, value in node.entries:
            try:
                edits.append(Edit(parse_target(key.content), self.expression(value), key.span))
            except SpecError as problem:
                self.problems += problem.problems
        return tuple(edits)

    def expression(self, node: Node) -> e.Node:
        if isinstance(node, Scalar):
            return parse_value(node.content)
        if isinstance(node, SequenceNode):
            return e.List(tuple(map(self.expression, node.items)), span=node.span)
        raise error("an expression is expected here, not a mapping", node.span, "write the value behind its slot")

    def factors(self, node: Node, base: Spec) -> tuple[Factor, ...]:
        if not isinstance(node, MappingNode):
            self.wrong("factors are `slot: [value, value]` lines", node.span, "for instance token: [pool(3), id]")
            return ()
        result: list[Factor] = []
        for key, value in node.entries:
            try:
                if isinstance(value, MappingNode):
                    levels = tuple(Level(name.value, self.table(edits)) for name, edits in value.entries)
                    result.append(Factor(key.value, levels))
                else:
                    items = value.items if isinstance(value, SequenceNode) else (value,)
                    result.append(factor(key.content, [(item.span, self.expression(item)) for item in items], base))
            except SpecError as problem:
                self.problems += problem.problems
        return tuple(result)


def is_study(name: str) -> bool:
    """Whether a name is a file that holds a study; one that is no YAML is for others to complain of."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        return read_file(path).get("study") is not None
    except SpecError:
        return False
