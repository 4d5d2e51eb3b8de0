"""Edits change a spec: those of its variants, of the command line, of studies and of Python, all in the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ..errors import MAX_PROBLEMS, MetablockError, Problem, SpecError, UnreadableError, error, suggest
from . import ast as e
from .budget import spend
from .choices import chosen as chosen_options
from .parser import parse_edit, whole
from .printer import show
from .spec import EXPRESSIONS, RUNNING, Binding, Edit, EditSet, Spec
from .standard import standard

# Columns that have a default and may be set where a file does not mention them.
OPTIONAL_COLUMNS = ("drop", "down", "end")
MAX_SETS = 100  # variants and traits that one variant may be made of


def parse_edits(texts: str | Edit | Iterable[str | Edit], name: str = "--edit") -> tuple[Edit, ...]:
    """Reads edits such as ``token = attention(8)``; those that are read already pass through.

    Args:
        texts: one edit each; a plain string is one edit.
        name: what messages call their texts.

    Raises:
        SpecError: with every problem of every text.
        MetablockError: something that is no edit.

    >>> [edit] = parse_edits(["stages[2:].token = dw(7)"])
    >>> edit.name, edit.value.func.id
    ('token', 'dw')
    """
    edits: list[Edit] = []
    problems: list[Problem] = []
    if isinstance(texts, (str, Edit)):
        texts = [texts]
    if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping)):
        raise MetablockError(f"{texts!r} is no list of edits", 'write them as texts: ["token = pool(3)"]')
    for text in texts:
        if isinstance(text, Edit):
            edits.append(text)
            continue
        if not isinstance(text, str):
            raise MetablockError(f"{text!r} is no edit", 'write it as a text: "token = pool(3)"')
        try:
            span = whole(text, name)
            target, value = parse_edit(span)
            edits.append(Edit(target, value, span))
        except SpecError as wrong:
            problems.extend(wrong.problems)
    if problems:
        raise SpecError(problems)
    return tuple(edits)


def resolve(spec: Spec, variant: str | None = None, edits: Sequence[Edit] = (), *, choose: bool = True) -> Spec:
    """The spec of one network, without variants and traits: those of the variant are applied, then ``edits``.

    Args:
        spec: a file's spec.
        variant: a variant's name, or an abbreviation that fits one; by default the first.
        edits: applied after the variant's own.
        choose: whether each open choice (``one_of``) gets its first option; otherwise it stays open.

    Raises:
        SpecError: an unknown variant, variants that start from each other, edits that name nothing; with every such edit.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: n\\ninput: image(3, 32)\\nmodel: pw(8)\\nvariants: {small: {}, large: {model: pw(16)}}\\n")
    >>> large = resolve(net, "large", parse_edits(["classes = 10"]))
    >>> large.variant, large.classes, large.sections["model"].args[0].value.value
    ('large', 10, 16)
    """
    wanted = variant
    if wanted is None:  # a resolved spec stays the variant that it is
        wanted = next(iter(spec.variants)) if spec.variants else spec.variant
    name = spec.variant_named(wanted) if wanted is not None else None
    if wanted is not None and name is None:
        if spec.variants or wanted != spec.variant:
            raise error(f"'{spec.name}' has no variant '{wanted}'", spec.place("variants"), spec.suggest_variant(wanted))
        name = wanted  # it is resolved already
    result = spec
    if name is not None and spec.variants:
        for source in edit_sets(spec, name):
            result = apply(result, source.edits)
            result = result.with_(init={**result.init, **source.init})
    result = apply(result, edits)
    result = chosen_options(result) if choose else result
    spend((len(spec.facts.rows) + len(spec.checkpoints.rows)) // 32)
    facts, checkpoints = spec.facts.only(name), spec.checkpoints.only(name)
    return result.with_(resolved=True, variant=name, variants={}, traits={}, facts=facts, checkpoints=checkpoints)


def edit_sets(spec: Spec, variant: str) -> list[EditSet]:
    """The traits and variants whose edits make up a variant of this full name, in the order they apply; itself last.

    Raises SpecError for an unknown one, and for variants that start from each other.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: n\\ninput: image(3, 8)\\nmodel: pw(8)\\nvariants: {a: {}, b: {of: a, model: pw(16)}}\\n")
    >>> [source.name for source in edit_sets(net, "b")]
    ['a', 'b']
    """
    return [spec.variants.get(part) or spec.traits[part] for part in _order(spec, variant, ())]


def _order(spec: Spec, name: str, above: tuple[str, ...]) -> list[str]:
    """The variants and traits whose edits make up this one, in the order they apply; itself last."""
    source = spec.variants.get(name) or spec.traits.get(name)
    if source is None:
        owner = spec.variants.get(above[-1]) or spec.traits.get(above[-1])
        place = owner.span if owner else None
        known = [other for other in (*spec.variants, *spec.traits) if other not in above]
        hint = f"`of:` names other variants or traits: {', '.join(known[:5])}{' ...' if len(known) > 5 else ''}"
        raise error(f"'{above[-1]}' starts from unknown '{name}'", place, suggest(name, known, hint))
    if name in above:
        raise error(f"variants start from each other: {' -> '.join([*above, name])}", source.span, "remove one `of:`")
    if len(above) >= MAX_SETS:
        raise error(f"'{name}' stands below more than {MAX_SETS} others", source.span, "start from fewer")
    parts: list[str] = []
    for base in source.of:
        parts += _order(spec, base, (*above, name))
        if len(parts) >= MAX_SETS:
            raise error(f"'{name}' is made of more than {MAX_SETS} variants and traits", source.span, "start from fewer")
    return [*parts, name]


def apply(spec: Spec, edits: Iterable[Edit]) -> Spec:
    """The spec with the edits applied, one after the other. Raises SpecError with every edit that names nothing.

    >>> from metablock.language.load import load_text
    >>> net = load_text("name: net\\ninput: image(3, 32)\\nlet: {act: relu}\\nmodel: pw(8) >> act\\n")
    >>> apply(net, parse_edits(["act = gelu"])).let["act"].body.id
    'gelu'
    """
    problems: list[Problem] = []
    for edit in edits:
        spend(2 + sum(map(len, spec.binding_tables().values())) // 64, edit.span)
        try:
            spec = _apply(spec, edit)
        except SpecError as wrong:
            problems.extend(wrong.problems)
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise SpecError(problems)
    return spec


def _apply(spec: Spec, edit: Edit) -> Spec:
    name, value = edit.name, edit.value
    if not isinstance(value, e.Node):
        if name == "stages":
            return spec.with_(columns=dict(value))
        if name == "input":
            return spec.with_(inputs={key: binding.body for key, binding in value.items()})
        if name == "shared":
            return spec.with_(shared={**spec.shared, **value})
        return spec.with_(let={**spec.let, **value})
    if isinstance(edit.target, e.StageTarget):
        return _apply_to_stages(spec, edit.target, value)
    if name in ("input", *EXPRESSIONS) and any(name in table for table in spec.binding_tables().values()):
        hint = "a binding or column with the name of a section cannot be edited: rename it"
        raise error(f"'{name}' is both a section and a binding of '{spec.name}'", edit.target.span, hint)
    if name == "input":
        return spec.with_(inputs={"input": value})
    if spec.method is not None and name in ("model", "predict", "loss", "freeze"):
        return spec.with_(method=_apply(spec.method, edit))
    if name == "freeze":
        parts = value.items if isinstance(value, e.List) else (value,)
        return spec.with_(freeze=tuple(show(part) for part in parts))
    if name in EXPRESSIONS:
        return spec.with_(sections={**spec.sections, name: value})
    for field, table in spec.binding_tables().items():
        if name in table:
            header = edit.target if edit.target.params else table[name].header
            return spec.with_(**{field: {**table, name: Binding(header, value)}})
    if name in standard():
        header = edit.target if edit.target.params else standard()[name].header
        return spec.with_(let={**spec.let, name: Binding(header, value)})
    if name in OPTIONAL_COLUMNS:
        return spec.with_(columns={**spec.columns, name: Binding(edit.target, value)})
    if spec.method is not None and any(name in table for table in (spec.method.let, spec.method.shared, spec.method.sections)):
        return spec.with_(method=_apply(spec.method, edit))
    raise _names_nothing(spec, edit.target)


def _names_nothing(spec: Spec, target: e.Header | e.StageTarget) -> SpecError:
    if target.name == "metablock":
        return error("the language's revision cannot be edited", target.span, "it stands once, at the top of the file")
    slots = [*spec.columns, *spec.let, *spec.shared, *spec.stage_shared, *OPTIONAL_COLUMNS]
    slots += [*spec.method.let, *spec.method.shared] if spec.method is not None else []
    slots += [*EXPRESSIONS, "input"] if isinstance(target, e.Header) else []
    hint = suggest(target.name, slots, f"slots of '{spec.name}': {', '.join([*spec.columns, *spec.let][:20])}")
    also = f", nor a binding of the method '{spec.method.name}'" if spec.method is not None else ""
    return error(f"'{target.name}' names no slot or column of '{spec.name}'{also}", target.span, hint)


def _apply_to_stages(spec: Spec, target: e.StageTarget, value: e.Node) -> Spec:
    count = stage_count(spec)
    bodies = [column.body for column in spec.columns.values()]
    unread = [body for body in bodies if isinstance(body, e.Broken)]
    if unread and not any(isinstance(body, e.List) for body in bodies):
        raise UnreadableError(unread[0].problems)  # the number of stages is unknown
    chosen = chosen_stages(target, count)
    column = spec.columns.get(target.name)
    let = dict(spec.let)
    if column is None:
        default = Binding(e.Header(target.name), e.Number(0) if target.name == "drop" else e.Name("id"))
        column = let.pop(target.name, None) or standard().get(target.name)
        if column is None and target.name in OPTIONAL_COLUMNS:
            column = default
        if column is None:
            raise _names_nothing(spec, target)
    spend((len(spec.columns) + count) // 16, target.span)
    entries = list(column.body.items) if isinstance(column.body, e.List) else [column.body] * count
    for stage in chosen:
        entries[stage] = value
    return spec.with_(
        let=let, columns={**spec.columns, target.name: Binding(column.header, e.List(tuple(entries), span=column.body.span))}
    )


def chosen_stages(target: e.StageTarget, count: int) -> list[int]:
    """The numbers of the stages that a target means, of so many. Raises SpecError if there is none.

    >>> chosen_stages(parse_edits(["stages[1:].token = id"])[0].target, 4)
    [1, 2, 3]
    """
    every = range(count)
    hint = f"stages are numbered 0 to {count - 1}" if count else "this network has no `stages`"
    if target.at is None:
        return list(every)
    if isinstance(target.at, e.Slice):
        chosen = list(every[slice(_integer(target.at.low), _integer(target.at.high))])
        if not chosen:
            raise error("this chooses no stage", target.at.span, hint)
        return chosen
    at = _integer(target.at)
    assert at is not None
    if not -count <= at < count:
        raise error(f"there is no stage {at}", target.at.span, hint)
    return [every[at]]


def _integer(node: e.Node | None) -> int | None:
    if node is None:
        return None
    if isinstance(node, e.Number) and isinstance(node.value, int):
        return node.value
    if isinstance(node, e.Negative) and isinstance(node.value, e.Number) and isinstance(node.value.value, int):
        return -node.value.value
    raise error("a stage is chosen by a whole number", node.span, "write `stages[2]`, `stages[1:]` or `stages[-1]`")


def stage_count(spec: Spec) -> int:
    """The number of stages: the length of the columns that are lists, 1 if none is, 0 without columns.

    Raises SpecError for columns of different lengths.

    >>> from metablock.language.load import load_text
    >>> stage_count(load_text("name: n\\ninput: image(3, 8)\\nstages: {depth: [2, 2, 6, 2], body: depth * pw(8)}\\n"))
    4
    """
    lengths = {name: len(b.body.items) for name, b in spec.columns.items() if isinstance(b.body, e.List)}
    usual = Counter(lengths.values()).most_common(1)
    count = usual[0][0] if usual else int(bool(spec.columns))
    first = next((name for name, length in lengths.items() if length == count), "")
    problems = []
    for name, length in lengths.items():
        if length != count:
            span = spec.columns[name].body.span or spec.columns[name].header.span
            problems.append(
                Problem(
                    f"column '{name}' has {length} entries, '{first}' has {count}",
                    span,
                    "one entry a stage, or one value for all",
                )
            )
    if problems:
        raise SpecError(problems)
    return count


__all__ = ["OPTIONAL_COLUMNS", "RUNNING", "apply", "chosen_stages", "edit_sets", "parse_edits", "resolve", "stage_count"]
