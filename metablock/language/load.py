"""Loads specs: a located YAML tree to a :class:`~metablock.language.spec.Spec`. Which sections exist, and what each holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import Problem, SpecError, Text, error, nearest, suggest
from . import ast as e
from .fact_reader import FACTS, TableReader
from .parser import parse_target
from .spec import (
    CHECKPOINTS,
    EXPRESSIONS,
    REVISIONS,
    UNSTATED,
    Binding,
    Edit,
    EditSet,
    Hole,
    Rule,
    Spec,
    WeightTable,
)
from .yaml import Mapping, Node, Scalar, Sequence, read, read_mended, read_text

SECTIONS = (
    "metablock", "name", "paper", "input", "classes", "let", "shared", "stem", "stages", "head", "model", "predict", "loss",
    "freeze", "init", "weights", "traits", "variants", "method", "checkpoints", "facts",
)  # fmt: skip
METHOD_SECTIONS = (
    "metablock", "method", "name", "paper", "backbone", "input", "let", "shared", "model", "predict", "loss", "freeze", "init",
    "weights", "views", "recipe", "facts",
)  # fmt: skip
METHOD_FACTS = ("backbone", "input", "params", "trainable", "macs", "reported.top1")
# What may enter and leave a hole, and what messages call it.
KINDS = {
    "image": "what the data give",
    "map": "a map, or tokens on a grid",
    "tokens": "tokens",
    "vector": "a vector",
    "any": "anything",
}
_HOLE = re.compile(r"\s*(\w+)\s*->\s*(\w+)\s*")
PAPER = ("title", "venue", "year", "arxiv", "code", "authors", "note")


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
    return _read(root, SpecLoader(), MethodLoader())


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
    known = reading.problems, reading.unread
    return _read(reading.root, SpecLoader(*known), MethodLoader(*known))


def _read(root: Mapping, network: SpecLoader, method: MethodLoader) -> Spec:
    """The spec of a network's file, or of a method's, which begins with `method: NAME`."""
    return method.method(root) if isinstance(root.get("method"), Scalar) and root.get("name") is None else network.spec(root)


def load_bindings(content: str, name: str) -> dict[str, Binding]:
    """Reads a text that is one table of bindings, as the standard library is. Raises SpecError with every problem.

    >>> load_bindings("ffn(r=4): linear(r * c) >> gelu >> linear(c)\\n", "mine.yaml")["ffn"].params[0].name
    'r'
    """
    loader = SpecLoader()
    table = loader.table(read(Text(name, content)))
    loader.done()
    return table


class SpecLoader(TableReader):
    """Reads the sections of a file. ``known_sections`` are those that it may have."""

    known_sections: tuple[str, ...] = SECTIONS

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
            sections={k: self.expr(sections[k]) for k in EXPRESSIONS if k in sections},
            freeze=self.selectors(sections.get("freeze")),
            init=self.init(sections.get("init")),
            weights=self.weights(sections.get("weights")),
            traits=self.sets(sections.get("traits")),
            variants=self.sets(sections.get("variants")),
            checkpoints=self.table_of("checkpoints", ("variant", *CHECKPOINTS), sections.get("checkpoints")),
            facts=self.table_of("facts", FACTS, sections.get("facts")),
            method=self.around(sections.get("method")),
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
        sections = {key.value: node for key, node in reversed(root.entries) if key.value in self.known_sections}
        for key, node in root.entries:
            if key.value in self.known_sections:
                continue
            near = nearest(key.value, self.known_sections)
            hint = f"did you mean '{near}'?" if near is not None else "names of your own stand under `let`"
            self.wrong(f"unknown section '{key.value}'", key.span, hint)
            if near is None or near in sections:
                self.lose(node.span)
            else:
                sections[near] = node
        return sections

    # Sections

    def around(self, node: Node | None) -> Spec | None:
        """The method that trains the network."""
        mapping = self.mapping(node, "`method`")
        if mapping is None:
            return None
        loader = MethodLoader(self.problems, self.unread)
        try:
            return loader.method(mapping)
        except SpecError:
            self.problems = loader.problems
            return None

    def selectors(self, node: Node | None) -> tuple[str, ...]:
        """The dotted paths of `freeze`: one, or a list."""
        if node is None:
            return ()
        items = node.items if isinstance(node, Sequence) else (node,)
        paths = []
        for path, item in zip(self.words(node), items, strict=True):
            if item is None or re.fullmatch(r"[a-z_][a-z0-9_]*(\.[a-z0-9_]+)*", path, re.IGNORECASE):
                paths.append(path)
            else:
                self.wrong(f"'{path}' is no part of a network", item.span, "write names of slots: `freeze: [stem, head.norm]`")
        return tuple(paths)

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


_MISSING = {
    "name": "write `name: my_network`",
    "input": "write `input: image(3, 224)`, `signal(12, 5000)`, `series(80, 400)` or `tokens(512, 1024)`",
}


class MethodLoader(SpecLoader):
    """Reads the sections of a method's file."""

    known_sections = METHOD_SECTIONS

    def method(self, root: Mapping) -> Spec:
        """The method. Raises SpecError with every problem of the file's form."""
        revision = self.revision(root.get("metablock"))
        sections = self.sections(root)
        name = sections.get("method") or sections.get("name")
        spec = Spec(
            name=self.word(name) or "",
            paper=self.paper(sections.get("paper")),
            inputs=self.inputs(sections.get("input")),
            let=self.table(sections.get("let")),
            shared=self.table(sections.get("shared")),
            columns={},
            stage_shared={},
            sections={name: self.expr(sections[name]) for name in ("model", "predict", "loss") if name in sections},
            freeze=self.selectors(sections.get("freeze")),
            init=self.init(sections.get("init")),
            weights=self.weights(sections.get("weights")),
            facts=self.table_of("facts", METHOD_FACTS, sections.get("facts")),
            holes=self.holes(sections.get("backbone")),
            recipe=self.recipe(sections.get("recipe")),
            views={key: self.recipe(value) for key, value in self.entries(sections.get("views"), "`views`")},
            revision=revision,
            unread=frozenset(self.lost),
            places={key.value: key.span for key, _ in root.entries},
        )
        for section, hint in _LACKING.items():
            if section not in sections and not self.unread and (section != "method" or name is None):
                self.wrong(f"the section '{section}' is missing", root.span.part(0, 1), hint)
        self.done()
        return spec

    def holes(self, node: Node | None) -> dict[str, Hole]:
        """The section `backbone`."""
        result: dict[str, Hole] = {}
        mapping = self.mapping(node, "`backbone`")
        for key, value in mapping.entries if mapping else ():
            form = _HOLE.fullmatch(self.word(value) or "")
            strange = next((word for word in form.groups() if word not in KINDS), None) if form else None
            if form is None or strange is not None:
                message = f"'{strange}' is no kind of value" if strange else "this does not say what enters and what leaves"
                hint = suggest(strange or "", KINDS, f"write `{key.value}: map -> map`; kinds: {', '.join(KINDS)}")
                self.wrong(message, value.span, hint)
                continue
            result[key.value] = Hole(form[1], form[2], key.span)
        return result

    def recipe(self, node: Node | None) -> dict[str, str]:
        """Words and numbers, which the training reads."""
        return {key: self.word(value) or "" for key, value in self.entries(node, "`recipe`")}

    def entries(self, node: Node | None, what: str) -> list[tuple[str, Node]]:
        """The entries of a mapping."""
        mapping = self.mapping(node, what)
        return [(key.value, value) for key, value in (mapping.entries if mapping else ())]


_LACKING = {
    "method": "write `method: my_method`",
    "backbone": "what it takes of a backbone: `backbone: {encoder: image -> vector}`",
    "input": "what a step gets: `input: {image: view}`",
    "model": "what a step computes",
    "loss": "what it learns from: a stream over inputs and named outputs",
}
