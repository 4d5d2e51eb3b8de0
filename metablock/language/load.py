"""Loads specs: a located YAML tree to a :class:`~metablock.language.spec.Spec`. Which sections exist, and what each holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import Problem, SpecError, Text, error, nearest, suggest
from . import ast as e
from .entries import EntryReader
from .parser import parse_target
from .spec import (
    CHECKPOINTS,
    EXPRESSIONS,
    RESERVED_SECTIONS,
    REVISIONS,
    UNSTATED,
    Binding,
    Edit,
    EditSet,
    Facts,
    Rule,
    Spec,
    WeightTable,
)
from .yaml import Mapping, Node, Scalar, Sequence, read, read_mended, read_text

SECTIONS = (
    "metablock", "name", "paper", "input", "classes", "let", "shared", "stem", "stages", "head", "model", "predict", "loss",
    "freeze", "init", "weights", "traits", "variants", "checkpoints", "facts",
)  # fmt: skip
PAPER = ("title", "venue", "year", "arxiv", "code", "authors", "note")
COUNTS = ("params", "trainable", "macs", "deployed")
FACTS = (
    "variant", "input", "params", "trainable", "macs", "deployed",
    "reported.params", "reported.macs", "reported.top1", "reported.ap", "reported.miou", "reported.bleu", "reported.loss",
)  # fmt: skip


def load_file(path: str | Path) -> Spec:
    """Reads one spec file.

    Raises:
        SpecError: the file cannot be read, or its form is wrong; with every problem. What the expressions say is left to
            :func:`~metablock.language.check.check_names`.

    >>> from metablock.language.resources import architectures
    >>> spec = load_file(architectures()["vit"])
    >>> spec.name, spec.paper["arxiv"]
    ('vit', '2010.11929')
    """
    return _load(read_text(path))


def load(root: Mapping) -> Spec:
    """A spec from its located tree. Raises SpecError with every problem of its form.

    >>> from metablock.language.yaml import read
    >>> load(read(Text("net.yaml", "name: net\\ninput: image(3, 32)\\nmodel: pw(8)\\n"))).name
    'net'
    """
    return _SpecLoader().spec(root)


def load_text(text: str, name: str = "<spec>") -> Spec:
    """Reads a spec from a string, which :func:`metablock.build` takes as it takes a file's name.

    Args:
        text: what a spec file would hold.
        name: what messages call it.

    Raises:
        SpecError: with every problem of the spec's form.

    >>> import metablock
    >>> spec = metablock.load_text("name: tiny\\ninput: image(3, 32)\\nmodel: conv(8, 3) >> global_pool >> linear(classes)\\n")
    >>> model = metablock.build(spec, classes=10)
    >>> sum(parameter.numel() for parameter in model.parameters())
    314
    """
    return _load(Text(name, text))


class IncompleteError(SpecError):
    """A file with mistakes of form. ``spec`` is what could be read of it, for further checks: what could not is
    :class:`~metablock.language.ast.Broken`, or among the words of ``spec.unread``."""

    def __init__(self, problems: Iterable[Problem], spec: Spec):
        super().__init__(problems)
        self.spec = spec

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Problem, ...]]]:
        return SpecError, (self.problems,)


def _load(text: Text) -> Spec:
    reading = read_mended(text)
    return _SpecLoader(reading.problems, reading.unread).spec(reading.root)


def load_bindings(content: str, name: str) -> dict[str, Binding]:
    """Reads a text that is one table of bindings, as the standard library is. Raises SpecError with every problem.

    >>> load_bindings("ffn(r=4): linear(r * c) >> gelu >> linear(c)\\n", "mine.yaml")["ffn"].params[0].name
    'r'
    """
    loader = _SpecLoader()
    table = loader.table(read(Text(name, content)))
    loader.done()
    return table


class _SpecLoader(EntryReader):
    """Reads the sections of a file."""

    # The whole file

    def spec(self, root: Mapping) -> Spec:
        revision = self.revision(root.get("metablock"))
        sections = self.sections(root)
        stages, stage_shared = self.stages(sections.get("stages"))
        spec = Spec(
            name=self.word(sections.get("name")) or "",
            paper=self.paper(sections.get("paper")),
            inputs=self.inputs(sections.get("input")),
            let=self.table(sections.get("let")),
            shared=self.table(sections.get("shared")),
            columns=stages,
            stage_shared=stage_shared,
            sections={k: self.expr(sections[k]) for k in EXPRESSIONS if k in sections and not self.reserved(k, sections[k])},
            freeze=() if self.reserved("freeze", sections.get("freeze")) else self.list(sections.get("freeze")),
            init=self.init(sections.get("init")),
            weights=self.weights(sections.get("weights")),
            traits=self.sets(sections.get("traits")),
            variants=self.sets(sections.get("variants")),
            checkpoints=self.table_of("checkpoints", ("variant", *CHECKPOINTS), sections.get("checkpoints")),
            facts=self.table_of("facts", FACTS, sections.get("facts")),
            revision=revision,
            unread=frozenset(self.lost),
            places={key.value: key.span for key, _ in root.entries},
        )
        for section in ("name", "input"):
            if section not in sections and not self.unread:
                self.wrong(f"the section '{section}' is missing", root.span.part(0, 1), _MISSING[section])
        whole = not self.problems and not self.unread
        if "model" not in sections and not stages and ("stages" not in sections or whole) and not self.unread:
            hint = "a network is its stages: depth, dim, body ..."
            self.wrong("there are neither `stages` nor a `model`", root.span.part(0, 1), hint)
        if self.problems:
            raise IncompleteError(self.problems, spec)
        return spec

    def sections(self, root: Mapping) -> dict[str, Node]:
        """The sections by name. What stands under a misspelt name is read as what it resembles, and is else unread."""
        sections = {key.value: node for key, node in reversed(root.entries) if key.value in SECTIONS}
        for key, node in root.entries:
            if key.value in SECTIONS:
                continue
            near = nearest(key.value, SECTIONS)
            hint = f"did you mean '{near}'?" if near is not None else "names of your own stand under `let`"
            self.wrong(f"unknown section '{key.value}'", key.span, hint)
            if near is None or near in sections:
                self.lose(node.span)
            else:
                sections[near] = node
        return sections

    # Sections

    def reserved(self, section: str, node: Node | None) -> bool:
        """Whether a section that nothing reads yet is empty: that it stands there is the mistake."""
        return section in RESERVED_SECTIONS and isinstance(node, Scalar) and not node.value

    def revision(self, node: Node | None) -> int:
        """The revision of the language that the file is written in. Raises SpecError for one that this version cannot read."""
        if node is None:
            return UNSTATED
        text = node.value if isinstance(node, Scalar) else ""
        if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
            self.wrong("the revision of the language is a whole number", node.span, f"write `metablock: {REVISIONS[-1]}`")
            return UNSTATED
        if int(text) not in REVISIONS:  # nothing else in the file can be judged
            hint = f"this version of metablock reads revision {', '.join(map(str, REVISIONS))}: upgrade it"
            raise error(f"this file is written in revision {text} of the language", node.span, hint)
        return int(text)

    def inputs(self, node: Node | None) -> dict[str, e.Node]:
        if node is None:
            return {}
        if isinstance(node, Mapping):
            return {key.value: self.expr(value) for key, value in node.entries}
        return {"input": self.expr(node)}

    def paper(self, node: Node | None) -> dict[str, str]:
        mapping = self.mapping(node, "`paper`")
        result: dict[str, str] = {}
        for key, value in mapping.entries if mapping else ():
            if key.value not in PAPER:
                hint = suggest(key.value, PAPER, f"known: {', '.join(PAPER)}")
                self.wrong(f"unknown key '{key.value}' in `paper`", key.span, hint)
            result[key.value] = self.word(value) or ""
        return result

    def stages(self, node: Node | None) -> tuple[dict[str, Binding], dict[str, Binding]]:
        if isinstance(node, Sequence):
            return self.rows(node), {}
        mapping = self.mapping(node, "`stages`")
        if mapping is None:
            return {}, {}
        shared = self.table(mapping.get("shared"))
        entries = tuple((key, value) for key, value in mapping.entries if key.value != "shared")
        return self.table(Mapping(mapping.span, entries, mapping.flow)), shared

    def rows(self, node: Sequence) -> dict[str, Binding]:
        """Columns from stages that are written as rows, one mapping per stage."""
        rows = [self.table(self.mapping(item, "a stage")) for item in node.items]
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns: dict[str, Binding] = {}
        for name in names:
            cells: list[e.Node] = []
            for row, item in zip(rows, node.items, strict=True):
                if name not in row and name not in ("down", "end"):
                    self.wrong(f"this stage has no '{name}', others have", item.span.part(0, 1), "every row has the same columns")
                cells.append(row[name].body if name in row else e.Name("id"))
            header = next(row[name].header for row in rows if name in row)
            columns[name] = Binding(header, e.List(tuple(cells), span=node.span))
        return columns

    def init(self, node: Node | None) -> dict[str, e.Node]:
        mapping = self.mapping(node, "`init`")
        return {key.value: self.expr(value) for key, value in (mapping.entries if mapping else ())}

    def weights(self, node: Node | None) -> dict[str, WeightTable]:
        result: dict[str, WeightTable] = {}
        starts: list[tuple[str, Node]] = []
        mapping = self.mapping(node, "`weights`")
        for key, value in mapping.entries if mapping else ():
            rules: list[Rule] = []
            of: str | None = None
            ignore: tuple[str, ...] = ()
            table = self.mapping(value, "a table of weight rules")
            for ours, theirs in table.entries if table else ():
                if ours.value == "of":
                    of = self.word(theirs)
                    starts.append((key.value, theirs))
                elif ours.value == "ignore":
                    ignore = self.words(theirs)
                else:
                    at = theirs.content if isinstance(theirs, Scalar) else None
                    rules.append(Rule(ours.value, self.word(theirs) or "", ours.span.to(theirs.span), ours.content, at))
            result[key.value] = WeightTable(key.value, of, tuple(rules), ignore, key.span)
        for name, theirs in starts:
            of = result[name].of
            if of is not None and (of not in result or of == name):
                hint = suggest(of, [other for other in result if other != name], "name another table of `weights`")
                self.wrong(f"weights '{name}' start from unknown '{of}'", theirs.span, hint)
        return result

    def sets(self, node: Node | None) -> dict[str, EditSet]:
        mapping = self.mapping(node, "a table of variants")
        return {key.value: self.edit_set(key, value) for key, value in (mapping.entries if mapping else ())}

    def edit_set(self, key: Scalar, node: Node) -> EditSet:
        of: tuple[str, ...] = ()
        edits: list[Edit] = []
        init: dict[str, e.Node] = {}
        mapping = self.mapping(node, f"'{key.value}'")
        for target, value in mapping.entries if mapping else ():
            if target.value == "of":
                of = self.words(value)
            elif target.value == "init":
                init = self.init(value)
            elif target.value in ("stages", "let", "shared", "input") and not isinstance(value, Scalar):
                table, shared = self.stages(value) if target.value == "stages" else (self.table(value), {})
                for binding in shared.values():
                    hint = "stand it in the file's own `stages`, and edit the module by its name"
                    self.wrong("a variant's `stages` have no `shared`", binding.header.span, hint)
                edits.append(Edit(e.Header(target.value, span=target.span), table, target.span))
            else:
                parsed = self.attempt(parse_target, target.content)
                if parsed is not None:
                    edits.append(Edit(parsed, self.expr(value), target.span))
                else:
                    self.lose(target.span.to(value.span))
        return EditSet(key.value, of, tuple(edits), key.span, init)

    def table_of(self, section: str, columns: tuple[str, ...], node: Node | None) -> Facts:
        if node is None:
            return Facts()
        if not isinstance(node, Sequence) or not node.items or not all(isinstance(row, Sequence) for row in node.items):
            hint = f"a list of rows `- [variant, {columns[2]}, ...]`, the first of them the header"
            self.wrong(f"`{section}` is a table", node.span.part(0, 1), hint)
            return Facts()
        lines = [row for row in node.items if isinstance(row, Sequence)]
        rows = [tuple(self.word(cell) or "" for cell in self.items(row)) for row in lines]
        header = rows[0]
        for at, (name, cell) in enumerate(zip(header, lines[0].items, strict=True)):
            if name not in columns:
                hint = suggest(name, columns, f"known: {', '.join(columns)}") or ""
                self.wrong(f"unknown column '{name}' in `{section}`", cell.span, hint)
            elif name in header[:at]:
                self.wrong(f"the column '{name}' stands twice in `{section}`", cell.span, "keep one of the two")
            elif not at and name != columns[0]:
                self.wrong(f"`{section}` begins with the column '{columns[0]}'", cell.span, "its rows are found by it")
        for at, (row, line) in enumerate(zip(rows, lines, strict=True)):
            if lines[0].comma or line.comma:
                pass  # it was one cell too many, or one too few: that is said
            elif len(row) != len(header):
                self.wrong(
                    f"{len(row)} cell{'s' * (len(row) != 1)} under a header of {len(header)}",
                    line.span,
                    "write `-` for what is not known",
                )
            elif at and row[0] in (other[0] for other in rows[:at]):
                self.wrong(f"`{section}` has two rows for '{row[0]}'", line.span, "keep one of the two")
            for name, text, cell in zip(header, row, line.items, strict=False) if at and header[0] == columns[0] else ():
                if name in COUNTS and text != "-" and not re.fullmatch("[0-9]{1,18}", text):
                    self.wrong(f"'{text}' is no count", cell.span, f"`{name}` is exact: a whole number, or `-`")
        return Facts(header, tuple(rows[1:]), tuple(tuple(cell.span for cell in line.items) for line in lines[1:]))


_MISSING = {
    "name": "write `name: my_network`",
    "input": "write `input: image(3, 224)`, `signal(12, 5000)`, `series(80, 400)` or `tokens(512, 1024)`",
}
