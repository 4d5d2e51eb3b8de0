"""Weights from checkpoints: ours, the official repository's or timm's, by the rules in a spec's `weights:` section.

A rule maps our parameter names to foreign ones: ``stages.{i}.blocks.{j}.norm1.*: network.{2 * i}.{j}.norm1.*``. ``{i}``
stands for a number, ``*`` for any
rest. On the right ``{ }`` holds an expression of these numbers (``layer(i, j)`` counts the blocks before), ``a ++ b``
concatenates along
the first axis, and a ``|`` leads to ``chunk(k, n)``, ``rows(from, to)``, ``transpose`` or ``reshape``. The first rule that
fits a name counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from . import expr as e
from .errors import MetablockError, Span, error
from .parser import expression
from .spec import Rule, Spec, WeightTable

State = Mapping[str, Tensor]
# Counters that batch norm keeps; they take no part in what a network computes.
_OPTIONAL = "num_batches_tracked"


@dataclass
class WeightReport:
    """What became of a checkpoint. ``source``: whose names it used. ``missing`` are our names, ``left`` theirs."""

    source: str
    used: dict[str, str] = field(default_factory=dict)
    reshaped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not (self.missing or self.left or self.wrong)

    def __str__(self) -> str:
        parts = [f"{len(self.used)} tensors by the names of '{self.source}'"]
        for label, names in (("reshaped", self.reshaped), ("missing", self.missing), ("left over", self.left), ("of another shape", self.wrong)):
            if names:
                parts.append(f"{len(names)} {label}: {', '.join(names[:4])}{' ...' if len(names) > 4 else ''}")
        return "; ".join(parts)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a ``.safetensors`` file, or from a ``.pth`` one, which may hold tensors only. Raises MetablockError."""
    path = Path(path)
    if not path.is_file():
        raise MetablockError(f"{path}: no such file\n  give a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        kind = "damaged, or not a safetensors file" if path.suffix == ".safetensors" else "damaged, or holds more than tensors"
        raise MetablockError(f"{path}: {kind} ({type(problem).__name__})\n  nothing was loaded") from None
    while isinstance(content, dict):
        inner = next((content[key] for key in ("state_dict_ema", "model_ema", "state_dict", "model") if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise MetablockError(f"{path}: holds no state dict\n  a mapping from names to tensors is expected")
    return {str(key): value for key, value in content.items()}


def load_weights(model: nn.Module, state: State, spec: Spec, source: str | None = None) -> WeightReport:
    """Fills a model from a state dict. Nothing is changed unless every name of both sides is accounted for.

    Args:
        model: built from ``spec``.
        state: names and tensors of a checkpoint.
        spec: has the rules.
        source: whose names are used (``ours`` or an entry of `weights:`); by default the one that fits best.

    Raises:
        MetablockError: when something is missing, left over or of another shape; the text lists it.
    """
    own = model.state_dict()
    names = [source] if source else ["ours", *spec.weights]
    for name in names:
        if name != "ours" and name not in spec.weights:
            raise MetablockError(f"'{spec.name}' has no weight rules '{name}'\n  there are: ours, {', '.join(spec.weights)}")
    attempts = [_match(own, state, spec, name) for name in names]
    values, report = min(attempts, key=lambda a: len(a[1].missing) + len(a[1].left) + len(a[1].wrong))
    if not report.complete:
        raise MetablockError(f"the weights do not fit '{spec.name}': {report}\n  nothing was loaded")
    model.load_state_dict(values, strict=False)
    return report


def _match(own: State, state: State, spec: Spec, source: str) -> tuple[dict[str, Tensor], WeightReport]:
    report, values = WeightReport(source), dict[str, Tensor]()
    table = None if source == "ours" else spec.weights[source]
    rules = [_Compiled(rule) for rule in _all_rules(spec, table)] if table else []
    before = _blocks(own)
    taken: set[str] = set()
    for name, parameter in own.items():
        value, keys = (state.get(name), [name]) if table is None else _find(name, rules, state, before)
        if value is None:
            if not name.endswith(_OPTIONAL):
                report.missing.append(name if table is None or keys else f"{name} (no rule)")
            continue
        taken.update(keys)
        if value.shape != parameter.shape:
            if [n for n in value.shape if n != 1] != [n for n in parameter.shape if n != 1]:
                report.wrong.append(f"{name} {tuple(parameter.shape)} from {' ++ '.join(keys)} {tuple(value.shape)}")
                continue
            value = value.reshape(parameter.shape)
            report.reshaped.append(name)
        values[name] = value
        report.used[name] = " ++ ".join(keys)
    ignore = [_pattern(p)[0] for p in _ignored(spec, table)]
    left = (key for key in state if key not in taken and not key.endswith(_OPTIONAL))
    report.left = [key for key in left if not any(p.fullmatch(key) for p in ignore)]
    return values, report


def _all_rules(spec: Spec, table: WeightTable | None) -> list[Rule]:
    return [*table.rules, *_all_rules(spec, spec.weights[table.of] if table.of else None)] if table else []


def _ignored(spec: Spec, table: WeightTable | None) -> list[str]:
    return [*table.ignore, *_ignored(spec, spec.weights[table.of] if table.of else None)] if table else []


def _blocks(own: State) -> list[int]:
    """How many blocks stand before each stage."""
    last: dict[int, int] = {}
    for name in own:
        found = re.match(r"stages\.(\d+)\.blocks\.(\d+)\.", name)
        if found:
            last[int(found[1])] = max(last.get(int(found[1]), -1), int(found[2]))
    before = [0]
    for stage in range(max(last, default=-1) + 1):
        before.append(before[-1] + last.get(stage, -1) + 1)
    return before


def _find(name: str, rules: list[_Compiled], state: State, before: list[int]) -> tuple[Tensor | None, list[str]]:
    for rule in rules:
        found = rule.pattern.fullmatch(name)
        if found:
            return rule.take(found, state, before)
    return None, []


def _pattern(text: str) -> tuple[re.Pattern[str], list[str]]:
    """``stages.{i}.norm.*`` as a regular expression; a name that stands twice must be the same number."""
    parts: list[str] = []
    names: list[str] = []
    for part in re.split(r"(\{\w+\}|\*)", text):
        if part == "*":
            parts.append("(.+)" if "(.+)" not in parts else ".+")
        elif re.fullmatch(r"\{\w+\}", part):
            name = part[1:-1]
            parts.append(f"(?P={name})" if name in names else rf"(?P<{name}>\d+)")
            names.append(name)
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts)), names


class _Compiled:
    """A rule ready to be applied."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self.pattern, self.names = _pattern(rule.ours)
        sources, *steps = [part.strip() for part in rule.theirs.split("|")]
        self.sources = [part.strip() for part in sources.split("++")]
        self.steps = [expression(step, "<weights>") for step in steps]

    def take(self, found: re.Match[str], state: State, before: list[int]) -> tuple[Tensor | None, list[str]]:
        numbers = {name: int(value) for name, value in found.groupdict().items()}
        rest = next((g for i, g in enumerate(found.groups(), 1) if i not in self.pattern.groupindex.values()), "")

        def fill(match: re.Match[str]) -> str:
            return str(_number(expression(match[1], "<weights>"), numbers, before, self.rule.span))

        keys = [re.sub(r"\{([^}]*)\}", fill, text).replace("*", rest) for text in self.sources]
        if any(key not in state for key in keys):
            return None, keys
        value = state[keys[0]] if len(keys) == 1 else torch.cat([state[key] for key in keys])
        for step in self.steps:
            value = self._apply(step, value, numbers, before)
        return value, keys

    def _apply(self, step: e.Node, value: Tensor, numbers: dict[str, int], before: list[int]) -> Tensor:
        name = step.func if isinstance(step, e.Call) else step
        args = [_number(a.value, numbers, before, self.rule.span) for a in step.args] if isinstance(step, e.Call) else []
        match name, args:
            case e.Name(id="chunk"), [k, n]:
                return value.chunk(n)[k]
            case e.Name(id="rows"), [start, stop]:
                return value[start:stop]
            case e.Name(id="columns"), [start, stop]:
                return value[:, start:stop]
            case e.Name(id="transpose"), []:
                return value.transpose(-1, -2)
            case e.Name(id="reshape"), [_, *_]:
                return value.reshape(args)
            case e.Name(id="permute"), [_, *_]:
                return value.permute(args)
        hint = "there are chunk(k, n), rows(from, to), columns(from, to), transpose, reshape(...), permute(...)"
        raise error("unknown step in a weight rule", self.rule.span, hint)


def _number(node: e.Node, numbers: dict[str, int], before: list[int], span: Span | None) -> int:
    match node:
        case e.Number(value=int(value)):
            return value
        case e.Name(id=name) if name in numbers:
            return numbers[name]
        case e.Negative(value=value):
            return -_number(value, numbers, before, span)
        case e.Binary(op=op, left=left, right=right) if op in ("+", "-", "*", "//", "%"):
            a, b = _number(left, numbers, before, span), _number(right, numbers, before, span)
            return {"+": a + b, "-": a - b, "*": a * b, "//": a // max(b, 1), "%": a % max(b, 1)}[op]
        case e.Call(func=e.Name(id="layer"), args=(stage, block)):
            return before[_number(stage.value, numbers, before, span)] + _number(block.value, numbers, before, span)
    raise error("a weight rule computes with whole numbers", span, "write `{i}`, `{2 * i + 1}`, `{layer(i, j)}`")
