"""Reads study files as specs are read: all problems of a file at once, each with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from ..lowering.places import located
from .recipe import override, parse_number
from .study import DESIGNS, MATCHES, Factor, Level, Match, Study, factor, method_factor, repeated


def load_study(path: str | Path) -> Study:
    """Reads a study file; a base beside it is named by its path relative to the file.

    Raises:
        SpecError: with all problems of the file, or of the edits in it.
        MetablockError: there is no such file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "mixers.yaml")
    ...     _ = path.write_text("study: mixers\\nbase: poolformer_s12\\nfactors: {token: [pool(3), dw(7)]}\\nmatch: macs")
    ...     study = load_study(path)
    >>> study.match.by, study.seeds
    ('macs', (0, 1, 2))
    """
    return _StudyLoader(Path(path).parent).study(read_file(path))


def load_study_text(content: str, name: str = "<study>", folder: Path | None = None) -> Study:
    """Reads a study from a string.

    Args:
        content: the YAML text.
        name: what messages call it.
        folder: where a base's relative path begins; by default the working directory.

    Raises:
        SpecError: as :func:`load_study`.

    >>> study = load_study_text("study: mixers\\nbase: poolformer_s12\\nfactors: {token: [pool(3), dw(7)]}\\nseeds: 5")
    >>> study.name, [level.name for level in study.factors[0].levels], study.seeds
    ('mixers', ['pool(3)', 'dw(7)'], (0, 1, 2, 3, 4))
    """
    return _StudyLoader(folder or Path()).study(read(Text(name, content)))


SECTIONS = (
    "study", "base", "variant", "method", "edits", "factors", "design", "match", "data", "input", "recipe", "seeds", "alpha",
    "margin",
)  # fmt: skip
_HINTS = {"study": "`study: mixers` names it", "base": "`base: poolformer_s12`, or a file: ./my.yaml"}


class _StudyLoader:
    """Reads the sections of one file. Each method reads one section and adds what is wrong with it to ``problems``."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[Problem] = []
        self.folder = folder

    def wrong(self, message: str, span: Span | None, hint: str | None) -> None:
        """Adds a problem."""
        self.problems.append(Problem(message, span, hint))

    def study(self, root: MappingNode) -> Study:
        """The whole file. Raises SpecError after each step that later steps rely on."""
        sections = self.sections(root)
        self.done()
        study = Study(self.word(sections["study"], "a name"), self.base(sections["base"]))
        plain = {
            name: getattr(self, name)(node)
            for name, node in sections.items()
            if name not in ("study", "base", "edits", "factors", "recipe")
        }
        study = replace(study, **plain)
        if "recipe" in sections:
            recipe, overrides = self.recipe(sections["recipe"])
            study = replace(study, recipe=recipe, overrides=overrides)
        self.done()
        self.check_base(study, sections)
        self.done()
        if "edits" in sections:
            study = replace(study, edits=self.table(sections["edits"]))
        self.done()
        resolved = study.resolved()
        if "factors" in sections:
            study = replace(study, factors=self.factors(sections["factors"], resolved))
        self.done()
        return study

    def sections(self, root: MappingNode) -> dict[str, Node]:
        sections: dict[str, Node] = {}
        for key, node in root.entries:
            if key.value in SECTIONS:
                sections[key.value] = node
            else:
                hint = suggest(key.value, SECTIONS, f"known: {', '.join(SECTIONS)}")
                self.wrong(f"unknown key '{key.value}' in a study", key.span, hint)
        for name, hint in _HINTS.items():
            if name not in sections:
                self.wrong(f"'{name}' is missing", root.span.part(0, 1), hint)
        return sections

    def check_base(self, study: Study, sections: Mapping[str, Node]) -> None:
        """Whether there is such a base, and such a variant of it."""
        try:
            with located(sections["base"].span):
                base, _ = study.spec()
        except SpecError:
            raise
        except MetablockError as problem:
            message, _, hint = str(problem).partition("\n")
            self.wrong(message, sections["base"].span, hint.strip())
            return
        if study.variant is not None and base.variant_named(study.variant) is None:
            message = f"'{base.name}' has no variant '{study.variant}'"
            self.wrong(message, sections["variant"].span, base.suggest_variant(study.variant))

    def done(self) -> None:
        """Raises SpecError if anything was wrong so far."""
        if self.problems:
            raise SpecError(self.problems)

    # Values

    def word(self, node: Node, what: str) -> str:
        if isinstance(node, Scalar) and node.value:
            return node.value
        self.wrong(f"{what} is expected here", node.span, "write a word")
        return ""

    def number(self, node: Node, what: str, low: float, high: float, whole: bool = False) -> float:
        parsed = parse_number(node.value) if isinstance(node, Scalar) else None
        value = float("nan") if parsed is None else float(parsed)
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

    def method(self, node: Node) -> str:
        value = self.word(node, "a method")
        near = self.folder / value
        return str(near) if value.endswith((".yaml", ".yml")) and near.is_file() else value

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
        """A number of seeds, counted from 0, or a list of seeds."""
        if isinstance(node, SequenceNode):
            seeds: dict[int, Node] = {}
            for item in node.items:
                before = len(self.problems)
                seed = int(self.number(item, "a seed", 0, 2**31, whole=True))
                if seed in seeds and len(self.problems) == before:
                    self.wrong(f"the seed {seed} stands twice", item.span, "keep one of the two")
                seeds[seed] = item
            if not seeds:
                self.wrong("a study needs a seed", node.span, "for instance seeds: 3")
            return tuple(seeds)
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
                names = tuple(self.word(item, "a column or binding") for item in items)
                if twice := repeated(names):
                    self.wrong(f"'{twice}' stands twice", value.span, "keep one of the two")
                result = replace(result, scale=names)
            else:
                known = ("by", "tolerance", "scale", "multiple")
                self.wrong(
                    f"unknown key '{key.value}' in `match`", key.span, suggest(key.value, known, f"known: {', '.join(known)}")
                )
        return result

    def recipe(self, node: Node) -> tuple[str, dict[str, Any]]:
        """Name and overrides, from a name or from ``{of: name, key: value, ...}``."""
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
                try:
                    values[key.value] = override(key.value, value, key.span)
                except SpecError as wrong:
                    self.problems += wrong.problems
        return of, values

    # Edits

    def table(self, node: Node) -> tuple[Edit, ...]:
        """Edits from ``slot: value`` lines."""
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
                if key.value == "method":
                    items = value.items if isinstance(value, SequenceNode) else (value,)
                    result.append(method_factor(", ".join(self.method(item) for item in items)))
                elif isinstance(value, MappingNode):
                    levels = tuple(Level(name.value, self.table(edits)) for name, edits in value.entries)
                    result.append(Factor(key.value, levels))
                else:
                    items = value.items if isinstance(value, SequenceNode) else (value,)
                    result.append(factor(key.content, [(item.span, self.expression(item)) for item in items], base))
            except SpecError as problem:
                self.problems += problem.problems
        return tuple(result)


def is_study(name: str) -> bool:
    """Whether a name is a YAML file with a ``study`` section. A file that is not valid YAML is none: its reader reports it.

    >>> is_study("poolformer_s12")
    False
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        return read_file(path).get("study") is not None
    except SpecError:
        return False
