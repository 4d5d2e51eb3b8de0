"""The rules of a spec's `weights:` section: which key of a foreign checkpoint holds which of our parameters. Imports no torch.

A rule maps our parameter names to foreign ones: ``stages.{i}.blocks.{j}.norm1.*: network.{2 * i}.{j}.norm1.*``.

=====================  =============================================================================================
left: our names        ``{i}`` stands for a number, ``*`` (once) for any rest; ``**``, at the end, for a rest that the other
                       rules translate in turn: ``stages.{i}.blocks.{j}.**: layers.{i}.{j}.**``, ``norm1.*: ln_1.*``
right: their names     ``*`` is the same rest; ``{ }`` holds a whole number: ``+ - * // %`` on what the left side names,
                       ``layer(i, j)`` for block ``j`` of stage ``i`` counted from the network's first, ``layers`` for
                       the number of all blocks, ``stages`` for that of the stages; ``{*}`` for every number that the
                       checkpoint has there: these tensors are concatenated along the first axis, in their order
``a ++ b``             several tensors, concatenated along the first axis; steps behind it apply to the whole, steps in
                       parentheses to a part: ``(a | chunk(0, 3)) ++ (b | transpose) | flip``
``| chunk(k, n)``      part ``k`` of ``n`` equal parts of the first axis
``| rows(a, b)``       a range of the first axis; ``columns(a, b)`` of the second
``| transpose``        the last two axes exchanged
``| reshape(...)``     the same numbers in another shape, -1 for the extent that is left over; ``reshape`` alone: in our
                       shape (a table of another size, interpolated later: with our last extent)
``| permute(...)``     the axes in this order
``| pointwise``        the weight of a 1x1 convolution, for a linear layer; other tensors (its bias) are unchanged
``| flip``             the first axis backwards
``| ungroup(n, a, b)`` of ``n`` groups with ``a + b`` rows each, -1 for as many as there are: first the ``a`` rows of every
                       group, then the ``b`` rows (a projection that is packed head by head); any number of parts
``left if test``       the rule fits only where the test holds: comparisons of the numbers of the left side, ``layers``,
                       ``stages``, ``layer(i, j)``, of a column's entry ``dim[i]``, a binding, ``variant``; ``has("attn")``: the
                       block that holds the tensor (outside of blocks: ``stem``, ``head``) has this slot; ``and or not``
=====================  =============================================================================================

The first rule of a table that fits a name applies. ``of: other`` appends the rules of another table; ``ignore:`` lists foreign
keys without a use here (``*`` any number of times).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ...errors import Problem, SpecError
from ..budget import spend
from ..spec import Rule, Spec, WeightTable
from .levels import MOST, level_hint
from .network import NetworkFacts, blocks_in, names_in
from .reading import Reader, name_part
from .rule import REST, Fit, Joined, Key, ReadyRule, RuleStep

# The name of our own checkpoints, which need no rules.
OURS = "ours"


class Glob:
    """A name in which each `*` stands for one or more characters. Looks at each character of a key a few times, however many `*`.

    >>> Glob("a*b*").fits("a1b2"), Glob("a*b*").fits("ab2"), Glob("*.num").fits("x.num")
    (True, False, True)
    """

    def __init__(self, text: str):
        self.first, *self.rest = text.split("*")

    def fits(self, key: str) -> bool:
        """Whether it stands for a key."""
        if not self.rest:
            return key == self.first
        *middle, last = self.rest
        at = len(self.first)
        if not key.startswith(self.first):
            return False
        for piece in middle:
            at = key.find(piece, at + 1)
            if at < 0:
                return False
            at += len(piece)
        return len(key) - len(last) > at and key.endswith(last)


@dataclass(frozen=True)
class Rules:
    """The rules for one kind of checkpoint, those of the tables it starts from included."""

    rules: tuple[ReadyRule, ...]
    ignore: tuple[Glob, ...]

    def find(self, name: str, network: NetworkFacts) -> tuple[ReadyRule, Fit] | None:
        """The first rule that fits one of our names, and how. Raises SpecError for a test without a meaning in this network."""
        return self._find(name, network, name, set())

    def _find(self, name: str, network: NetworkFacts, whole: str, failed: set[str]) -> tuple[ReadyRule, Fit] | None:
        """As :meth:`find`, for a rest of a whole name. ``failed``: rests of this name that no rule fits."""
        if name in failed:
            return None
        for rule in self.rules:
            fit = rule.fit(name, network, whole)
            if fit is not None and not rule.deep:
                return rule, fit
            inner = self._find(fit.rest, network, whole, failed) if fit is not None else None
            if fit is not None and inner is not None:
                below, rest = inner
                return replace(below, source=_under(rule, fit, below, rest), through=(rule.text, *below.through)), rest
        failed.add(name)
        return None

    def dead_ends(self, names: Iterable[str], network: NetworkFacts) -> list[str]:
        """For names without a rule that a `**` rule fits: a sentence for each such rule, about the rest that none translates."""
        rests: dict[str, dict[str, None]] = {}
        for name in names:
            for rule in self.rules:
                fit = rule.fit(name, network) if rule.deep else None
                if fit is not None:
                    place = f"{rule.place}: " if rule.place else ""
                    rests.setdefault(f"{place}`{rule.text}` fits", {}).setdefault(fit.rest)
        lines = []
        for start, rest in rests.items():
            first, *others = rest
            more = f" (nor {len(others)} more)" if others else ""
            lines.append(f"{start}, and no rule fits its rest `{first}`{more}: end it with `*`, or add a rule for the rest")
        return lines

    def misses(self, names: Iterable[str], network: NetworkFacts) -> list[str]:
        """For names without a rule: a sentence for each rule that fits none of the network's names, but for one level."""
        rests = [*names, *network.names]
        seen = set(rests)
        for name in rests:  # grows
            fits = (rule.pattern.fullmatch(name) for rule in self.rules if rule.deep)
            more = [match[REST] for match in fits if match is not None and match[REST] not in seen]
            seen.update(more)
            rests += more
        lines = []
        for rule in [rule for rule in self.rules if not any(rule.pattern.fullmatch(name) for name in rests)][:MOST]:
            hint = level_hint(name_part(rule.text), rests)
            place = f"{rule.place}: " if rule.place else ""
            lines += [f"{place}`{rule.text}` fits nothing: {hint}"] if hint else []
        return lines

    def ignored(self, key: str) -> bool:
        """Whether the table's ``ignore`` lists this foreign key."""
        return any(glob.fits(key) for glob in self.ignore)


def _under(rule: ReadyRule, fit: Fit, below: ReadyRule, rest: Fit) -> Joined:
    """What a rule for the rest reads, with the beginning that a `**` rule gives to its names."""
    (start,) = rule.keys
    return below.source.renamed(lambda key: Key((start.fill(replace(fit, rest=key.fill(rest))),)))


def check_rules(spec: Spec) -> list[Problem]:
    """Every problem of the rules' form, each at its place.

    >>> from metablock.language.load import load_text
    >>> net = "name: n\\ninput: image(3, 32)\\nmodel: pw(8)\\nweights: {timm: {conv.*: 'c.* | chnk(0, 3)'}}\\n"
    >>> [(problem.message, problem.hint) for problem in check_rules(load_text(net))]
    [("unknown step 'chnk' in a weight rule", "did you mean 'chunk'?")]
    """
    problems: list[Problem] = []
    known = names_in(spec)
    for name, table in spec.weights.items():
        if name == OURS:
            problems.append(
                Problem(f"'{OURS}' are our own names, they need no rules", table.span, "name the table after whose names it has")
            )
        problems += _cycle(spec, name)
        ready: list[tuple[Rule, ReadyRule]] = []
        for rule in table.rules:
            reader = Reader(rule, known)
            read = reader.read()
            problems += reader.problems
            if read is not None:
                problems += _shadowed(rule, ready)
                ready.append((rule, read))
        problems += [problem for pattern in table.ignore for problem in _ignore(pattern, table)[1]]
    return problems


def read_rules(spec: Spec, source: str) -> Rules:
    """The rules of one table and of those it starts from. Raises SpecError with every problem.

    >>> from metablock.language.load import load_text
    >>> net = "name: n\\ninput: image(3, 32)\\nmodel: pw(8)\\nweights: {timm: {'blocks.{i}.conv.*': 'layers.{2 * i}.c.*'}}\\n"
    >>> rule, fit = read_rules(load_text(net), "timm").find("blocks.3.conv.weight", NetworkFacts((4,)))
    >>> rule.keys[0].fill(fit)
    'layers.6.c.weight'
    """
    problems = _cycle(spec, source)
    rules: list[ReadyRule] = []
    ignore: list[Glob] = []
    for table in _chain(spec, source):
        for rule in table.rules:
            reader = Reader(rule)
            read = reader.read()
            problems += reader.problems
            rules += [read] if read is not None else []
        for text in table.ignore:
            pattern, wrong = _ignore(text, table)
            problems += wrong
            ignore.append(pattern)
    if problems:
        raise SpecError(problems)
    return Rules(tuple(rules), tuple(ignore))


def _chain(spec: Spec, source: str) -> Iterator[WeightTable]:
    """A table, then the tables that it starts from."""
    seen: set[str] = set()
    name: str | None = source
    while name is not None and name in spec.weights and name not in seen:
        seen.add(name)
        yield spec.weights[name]
        name = spec.weights[name].of


def _cycle(spec: Spec, source: str) -> list[Problem]:
    names = [table.name for table in _chain(spec, source)]
    spend(len(names) // 4)
    first = spec.weights[names[-1]].of
    if first != source:  # each table in the circle reports it; one that only leads there does not
        return []
    return [
        Problem(
            f"weight rules start from each other: {' -> '.join([*names, source])}", spec.weights[source].span, "remove one `of:`"
        )
    ]


def _shadowed(rule: Rule, above: list[tuple[Rule, ReadyRule]]) -> list[Problem]:
    """A problem if a rule above fits every name that this one does.

    The sample is a name whose numbers and rest only captures can match: a rule that fits it fits all those names.
    """
    spend(len(above), rule.span)
    sample = re.sub(r"\{[^{}]*\}", lambda match: str(10**9 + match.start()), name_part(rule.ours)).replace("*", "\0.\0")
    for other, ready in above:
        if not ready.deep and ready.test is None and ready.pattern.fullmatch(sample):
            return [
                Problem(
                    f"this rule is never reached: '{other.ours}' above fits the same names",
                    rule.span,
                    "put the more specific rule first",
                )
            ]
    return []


def _ignore(text: str, table: WeightTable) -> tuple[Glob, list[Problem]]:
    problems = []
    if "{" in text or "}" in text or not text:
        problems.append(
            Problem(
                f"'{text}' in `ignore` is no foreign name", table.span, "write a key of the checkpoint, `*` for any part of it"
            )
        )
    return Glob(text), problems


__all__ = [
    "OURS",
    "Fit",
    "Joined",
    "Key",
    "NetworkFacts",
    "ReadyRule",
    "RuleStep",
    "Rules",
    "blocks_in",
    "check_rules",
    "read_rules",
]
