"""Rules for initial weights: ``init: {linear: trunc_normal(0.02), head.linear.bias: torch}``, read and checked without torch.

A selector is a dotted path of slot names that ends in a slot, an operator or a parameter; parts in between may be left out. Of
the rules that select a parameter the one with the most parts wins, among equals the last. Numbers may be computed from
:data:`WORDS`: ``trunc_normal(0.02 / (2 * (layer + 1)) ** 0.5)``, ``normal((fan_in * layers) ** -0.5)``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from ..errors import Problem, error, suggest
from . import ast as e
from .arithmetic import calculate
from .budget import spend
from .printer import show
from .weight_rules.levels import NO_LEVEL, without_one

# The rule that keeps an operator's own initialisation.
KEEP = "torch"


@dataclass(frozen=True)
class RuleArgument:
    """One argument of a rule: its default (None: required), its least value, the words that may stand for it."""

    name: str
    default: float | str | None = None
    least: float | None = None
    above: float | None = None
    words: tuple[str, ...] = ()


_FANS = ("fan_in", "fan_out")
_TRUTH = ("false", "true")
_ORDERS = tuple(" ".join(order) for order in permutations(("axis", "wave", "band")))

# What each rule takes; `metablock.backend.init` says what it does.
SIGNATURES: Mapping[str, tuple[RuleArgument, ...]] = {
    "bilinear": (),
    "constant": (RuleArgument("value"), RuleArgument("then", 0.0), RuleArgument("after", 0.0, least=0.0)),
    "kaiming_normal": (RuleArgument("mode", "fan_in", words=_FANS),),
    "kaiming_uniform": (RuleArgument("a", 0.0),),
    "lecun_normal": (),
    "normal": (RuleArgument("std", 1.0, least=0.0, words=(*_FANS, "inputs")), RuleArgument("mean", 0.0)),
    "ones": (),
    "rope_mixed": (RuleArgument("head_dim", least=4), RuleArgument("theta", 10.0, least=1.0)),
    "sine": (
        RuleArgument("temperature", 10000.0, least=1.0),
        RuleArgument("order", _ORDERS[0], words=_ORDERS),
        RuleArgument("start", 0.0, least=0.0),
        RuleArgument("normalize", "false", words=_TRUTH),
        RuleArgument("reverse", "false", words=_TRUTH),
    ),
    "sinusoid": (),
    "softmax_rand": (),
    "trunc_normal": (RuleArgument("std", 1.0, above=0.0), RuleArgument("cut", 2.0, above=0.0)),
    "uniform": (RuleArgument("bound", 1.0, least=0.0, words=_FANS), RuleArgument("mean", 0.0)),
    "xavier_normal": (RuleArgument("gain", 1.0),),
    "xavier_uniform": (RuleArgument("gain", 1.0), RuleArgument("view", "kernel", words=("kernel", "matrix"))),
    "zeros": (),
}

# The numbers that an argument may be computed from: of the block, of the network, of the weight.
WORDS = ("layer", "layers", *_FANS)
# ... and with what.
_HINT = "write the number itself, or what it is by `layer`, `layers`, `fan_in`, `fan_out`"
_OPERATORS = ("+", "-", "*", "/", "**")


@dataclass(frozen=True)
class InitRule:
    """One line of `init:`: which parameters it selects, the rule's name, and its arguments as expressions of :data:`WORDS`."""

    selector: tuple[str, ...]
    name: str
    nodes: Mapping[str, e.Node] = field(default_factory=dict)

    def arguments(self, numbers: Mapping[str, int]) -> dict[str, float | str]:
        """The arguments by name where :data:`WORDS` are these numbers; one that is missing has no meaning there.

        Raises SpecError for a value that has no meaning there: no real number, below what the rule takes.
        """
        takes = {argument.name: argument for argument in SIGNATURES.get(self.name, ())}
        return {name: _value(node, takes[name], numbers) for name, node in self.nodes.items()}

    def reads(self, *words: str) -> bool:
        """Whether an argument is computed from one of these words.

        >>> from metablock.language.parser import expression
        >>> read_init_rules({"linear": expression("normal(1 / layers)")})[0].reads("layer", "layers")
        True
        """
        return any(isinstance(part, e.Name) and part.id in words for node in self.nodes.values() for part in e.walk(node))

    def fits(self, path: str, operator: str, parameter: str) -> bool | None:
        """Whether it selects a parameter: None if it does not, True if it names the parameter, False if it names its module.

        Args:
            path: of the module, ``stages.0.blocks.1.norm2``.
            operator: the module's operator.
            parameter: its name in the module.

        >>> rule = InitRule(("blocks", "norm"), "zeros")
        >>> rule.fits("stages.0.blocks.1.norm2", "layer_norm", "weight"), rule.fits("head.norm", "layer_norm", "weight")
        (False, None)
        """
        trail = _trail(path)
        *above, last = _with_numbers(self.selector)
        own = parameter.split(".")
        if last in (parameter, own[-1], bare_name(own[-1])) and _inside(above, [*trail, operator, *own[:-1]]):
            return True
        leaf = _with_numbers(path.split("."))[-1]
        places = {leaf, _bare(leaf), operator}
        if last in places and _inside(above, trail):
            return False
        if last in trail and len(trail) > 1 and _inside(above, trail[: trail.index(last)]):
            return False
        return None


def read_init_rules(rules: Mapping[str, e.Node]) -> tuple[InitRule, ...]:
    """The rules of a spec's `init:`, in order. Raises SpecError for a rule that does not exist, or one with wrong arguments.

    >>> from metablock.language.parser import expression
    >>> read_init_rules({"head.linear": expression("trunc_normal(0.02, cut=3)")})[0].arguments({})
    {'std': 0.02, 'cut': 3}
    """
    return tuple(_rule(tuple(selector.split(".")), node) for selector, node in rules.items())


class InitRuleUse:
    """The rules of `init:` sections, and which of them select a parameter of the modules that were seen.

    >>> from metablock.language.parser import expression
    >>> use = InitRuleUse()
    >>> use.see({"linear": expression("zeros"), "liner": expression("ones")}, "head.linear", "linear", ["weight", "bias"])
    >>> [(problem.message, problem.hint) for problem in use.problems()]
    [("'liner' in `init` selects no parameter of any network of this file", "did you mean 'linear'?")]
    """

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[str, InitRule, e.Node]] = {}
        self._seen: set[int] = set()
        self._words: dict[str, None] = {}
        self._places: dict[tuple[str, str], tuple[str, ...]] = {}  # parameters, by path with all numbers 0, and operator

    def see(self, rules: Mapping[str, e.Node], path: str, operator: str, parameters: Collection[str]) -> None:
        """Notes a module of a network with these rules; ``path``, ``operator`` and parameters as for :meth:`InitRule.fits`."""
        if not rules:
            return
        for selector, node in rules.items():
            if id(node) not in self._seen:
                self._seen.add(id(node))
                self._waiting[id(node)] = selector, InitRule(tuple(selector.split(".")), ""), node
        waiting = [key for key in map(id, rules.values()) if key in self._waiting]
        if waiting:
            spend(1 + len(waiting) * len(parameters))
            self._places.setdefault((re.sub(r"(?<=\.)\d+(?=\.|$)", "0", path), operator), tuple(parameters))
            self._words |= dict.fromkeys([*_trail(path), operator, *(part for name in parameters for part in name.split("."))])
        for key in waiting:
            _, rule, _ = self._waiting[key]
            if any(rule.fits(path, operator, parameter) is not None for parameter in parameters):
                del self._waiting[key]

    def problems(self) -> list[Problem]:
        """A problem for each rule that selects nothing."""
        problems = []
        for selector, rule, node in self._waiting.values():
            strange = next((part for part in rule.selector if part not in self._words), None)
            hint = "its parts exist, but not inside each other in this order, on a module with parameters"
            shorter = next((parts for parts in without_one(rule.selector) if self._fits(parts)), None)
            if shorter is not None:
                hint = f"did you mean `{'.'.join(shorter)}`? {NO_LEVEL}"
            elif strange is not None:
                hint = suggest(strange, self._words, "name a slot, an operator or a parameter, or take the rule out") or ""
            message = f"'{selector}' in `init` selects no parameter of any network of this file"
            problems.append(Problem(message, node.span, hint))
        return problems

    def _fits(self, selector: Sequence[str]) -> bool:
        """Whether a selector selects a parameter of some module that was seen."""
        rule = InitRule(tuple(selector), "")
        places = self._places.items()
        return any(rule.fits(path, operator, name) is not None for (path, operator), names in places for name in names)


def _rule(selector: tuple[str, ...], node: e.Node) -> InitRule:
    name = node.func if isinstance(node, e.Call) else node
    if not isinstance(name, e.Name):
        raise error(f"'{show(node)}' is no initialisation", node.span, "write `trunc_normal(0.02)`, `zeros`, `torch` ...")
    args = node.args if isinstance(node, e.Call) else ()
    if name.id != KEEP and name.id not in SIGNATURES:
        known = f"known: {', '.join(SIGNATURES)}"
        raise error(f"unknown initialisation '{name.id}'", name.span, suggest(name.id, [*SIGNATURES, KEEP], known))
    takes = SIGNATURES.get(name.id, ())
    usage = f"it is {name.id}({', '.join(argument.name for argument in takes)})"
    nodes: dict[str, e.Node] = {}
    for position, argument in enumerate(args):
        if argument.name is None and position >= len(takes):
            count = "no arguments" if not takes else f"{len(takes)} argument{'s' if len(takes) > 1 else ''}"
            raise error(f"'{name.id}' takes {count}", argument.span, usage)
        parameter = argument.name or takes[position].name
        if parameter not in [known.name for known in takes]:
            hint = suggest(parameter, [known.name for known in takes], usage)
            raise error(f"'{name.id}' has no argument '{parameter}'", argument.span, hint)
        if parameter in nodes:
            raise error(f"argument '{parameter}' is given twice", argument.span, "remove one of them")
        _check(argument.value)
        nodes[parameter] = argument.value
    for lacking in takes:
        if lacking.default is None and lacking.name not in nodes:
            raise error(f"'{name.id}' needs the argument '{lacking.name}'", node.span, usage)
    rule = InitRule(selector, name.id, nodes)
    if not rule.reads(*WORDS):
        rule.arguments({})
    return rule


def _check(node: e.Node) -> None:
    """Numbers, their words and arithmetic; or a single word."""
    if isinstance(node, (e.Name, e.String)):
        return
    match node:
        case e.Number():
            return
        case e.Negative(value=value):
            _numeric(value)
        case e.Binary(op=op, left=left, right=right) if op in _OPERATORS:
            _numeric(left)
            _numeric(right)
        case _:
            raise error("an initialisation takes numbers", node.span, _HINT)


def _numeric(node: e.Node) -> None:
    if isinstance(node, e.String) or (isinstance(node, e.Name) and node.id not in WORDS):
        raise error("an initialisation takes numbers", node.span, _HINT)
    _check(node)


def _value(node: e.Node, argument: RuleArgument, numbers: Mapping[str, int]) -> float | str:
    word = node.value if isinstance(node, e.String) else None
    if isinstance(node, e.Name) and node.id not in ("layer", "layers"):
        word = node.id
    if word is not None:
        if word in argument.words:
            return word
        known = f"known: {', '.join(argument.words)}" if argument.words else "write a number"
        raise error(f'unknown {argument.name} "{word}"', node.span, suggest(word, argument.words, known))
    if argument.words and isinstance(argument.default, str):
        raise error(f"`{argument.name}` is a word", node.span, f"known: {', '.join(argument.words)}")
    value = _number(node, numbers)
    if argument.least is not None and value < argument.least:
        raise error(f"`{argument.name}` is {value:g}", node.span, f"write a number from {argument.least:g}")
    if argument.above is not None and value <= argument.above:
        raise error(f"`{argument.name}` is {value:g}", node.span, f"write a number above {argument.above:g}")
    return value


def _number(node: e.Node, numbers: Mapping[str, int]) -> float:
    match node:
        case e.Number(value=value):
            return value
        case e.Negative(value=inner):
            return -_number(inner, numbers)
        case e.Binary(op=op, left=left, right=right):
            try:
                return float(calculate(op, _number(left, numbers), _number(right, numbers)))
            except ArithmeticError:
                where = f"in block {numbers.get('layer', 0)}"
                raise error(f"'{show(node)}' is no number {where}", node.span, "`layer` counts from 0") from None
        case e.Name(id=word) if word in numbers:
            return numbers[word]
    raise error(
        f"`{show(node)}` of a parameter with one axis", node.span, "it counts the inputs or outputs of a matrix or a kernel"
    )


def _trail(path: str) -> list[str]:
    """The names that a selector may call a path's parts by: a part with or without the number at its end, `norm2`, `norm`.

    A number belongs to what it counts: `stages.0` is one name beside `stages`.
    """
    return [name for part in _with_numbers(path.split(".")) for name in dict.fromkeys((_bare(part), part))]


def _with_numbers(parts: Sequence[str]) -> list[str]:
    """The parts of a path, a number with the part that it counts: ``stages``, ``stages.0``, ``blocks``, ``blocks.1``."""
    return [f"{parts[i - 1]}.{part}" if i and part.isdigit() else part for i, part in enumerate(parts)]


def _bare(name: str) -> str:
    return re.sub(r"(?<=[a-z_])\d+$", "", name)


def bare_name(parameter: str) -> str:
    """A parameter's name without the layer and direction that torch's recurrent layers put behind it.

    >>> bare_name("weight_ih_l0_reverse"), bare_name("weight")
    ('weight_ih', 'weight')
    """
    return re.sub(r"_l\d+(_reverse)?$", "", parameter)


def _inside(parts: Sequence[str], trail: Sequence[str]) -> bool:
    """Whether the parts stand in the trail, in this order."""
    rest = iter(trail)
    return all(part in rest for part in parts)
