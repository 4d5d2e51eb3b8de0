"""Which layouts an operator takes and gives, and what becomes of the grid: found by running its shape rules on samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import MetablockError
from ..language.registry import OPERATORS, Operator, Param
from ..lowering.example import feature_of, result_of
from ..lowering.ir import flat_values
from ..shape import Feature

# What arrives, by the word for it. The extents divide by all sizes that the calls below have.
_SAMPLES = {
    "map": "64x28x14",
    "grid": "tokens 28x14 x 64",
    "sequence": "tokens 392 x 64",
    "prefix tokens": "tokens 1 + 28x14 x 64",
    "vector": "vector of 64",
}

# The values of arguments that have no default, by their names.
_VALUES = {
    "factor": 2,
    "groups": 4,
    "heads": 4,
    "i": 0,
    "kernel": 3,
    "n": 4,
    "out": 64,
    "parts": 4,
    "rate": 0.5,
    "size": 7,
    "than": 0.5,
    "stride": 2,
    "value": 0.5,
}

# Calls for which these values do not do: by the words for what is special about a call.
_CALLS: dict[str, dict[str, str]] = {
    "argsort": {"": "linear(1) >> argsort"},
    "average": {"": 'average(over="all")'},
    "binary_cross_entropy": {"": 'binary_cross_entropy(target=sigmoid, over="all")'},
    "clip": {"": "clip(0, 1)"},
    "cross_entropy": {"": 'cross_entropy(target=softmax, over="all")'},
    "dilated": {"": "dilated(2, id)"},
    "distill": {"": 'distill(teacher=id, over="all")'},
    "each": {"": "[id, id] >> each(id)"},
    "focal": {"": 'focal(target=sigmoid, over="all")'},
    "fold": {"": "fold(2)"},
    "grid": {"": "grid(14, 28)"},
    "irfft": {"": "irfft(26)"},
    "join": {"": "join(learned(1), id)", "`prefix=`": "join(id, prefix=0)"},
    "matmul": {"": "matmul(transpose)"},
    "merge": {"": "windows(7) >> merge"},
    "pick": {"": "pick([0, 2, 4])"},
    "reorder": {"": "reorder(linear(1) >> argsort)"},
    "restore": {"": "x -> order = x >> linear(1) >> argsort return x >> reorder(order) >> restore(order)"},
    "resize_like": {"": "resize_like(avg_pool(2, stride=2))"},
    "route": {"": "route(1, [id, id])"},
    "sample": {"": "sample(coordinates)", "a map": "sample(pw(2))"},
    "split": {"": "split(id, id)"},
}

# Where none of the samples fits.
_IDS = {"ids": "392 ids of 64"}

# What needs a module that is built once, or data that no sample has.
_AFTER = {
    "ema": ("what the module takes", "what the module gives", ""),
    "hungarian": ("map, grid, sequence", "three numbers", "drops the grid"),
    "tied": ("map, grid, sequence, prefix tokens, vector", "grid, sequence, prefix tokens, vector", "keeps the grid"),
}

# Operators that stand in an argument of `attention`, and what they give there.
_INSIDE = {
    "axial": ("rotary", "angles of each token"),
    "agent_bias": ("pos", "a bias for every head, query and key"),
    "continuous_bias": ("pos", "a bias for every head, query and key"),
    "keys_seen": ("scale", "one number for each query"),
    "moving_bias": ("pos", "a bias for every head, query and key"),
    "near": ("over", "the neighbours of each query"),
    "past": ("over", "each query, and what stands before it"),
    "pair_bias": ("pos", "a bias for every head, query and key"),
    "relative_bias": ("pos", "a bias for every head, query and key"),
    "relative_keys": ("pos", "a bias for every head, query and key"),
    "routed": ("over", "the regions that match each query's"),
}


def layouts_of(operator: Operator) -> tuple[str, str]:
    """The layouts that an operator takes, and the ones that it gives.

    Args:
        operator: an operator of the language, or of a plug-in.

    Returns:
        Two lines: what may arrive (a map, a grid or a sequence becomes another one where the operator needs it); and what comes
        out, with what becomes of the grid. Where no sample call fits, both are as far as the operator's class says.

    >>> layouts_of(OPERATORS["conv"])
    ('map, grid, sequence', 'map; keeps the grid, changes it with `stride=`')
    >>> layouts_of(OPERATORS["linear"])
    ('map, grid, sequence, prefix tokens, vector', 'grid, sequence, prefix tokens, vector; keeps the grid')
    >>> layouts_of(OPERATORS["relu"])
    ('map, grid, sequence, prefix tokens, vector', 'what arrives; keeps the grid')
    """
    takes, gives, grid = row(operator)
    return takes, f"{gives}; {grid}" if grid else gives


def row(operator: Operator) -> tuple[str, str, str]:
    """What an operator takes, what it gives, and what becomes of the grid, which may be nothing to say.

    >>> row(OPERATORS["first"])
    ('map, grid, sequence', 'sequence', 'drops the grid')
    """
    if operator.name in _INSIDE:
        argument, result = _INSIDE[operator.name]
        return f"`attention({argument}=)`", result, ""
    if operator.name in _AFTER:
        return _AFTER[operator.name]
    results = [(label, results) for label, call in _calls(operator).items() if (results := _run(call))]
    if not results:
        return ", ".join(operator.rule().takes) if operator.leaf else "", "", ""
    takes, gives = dict[str, None](), dict[str, None]()
    for _, by_sample in results:
        takes |= dict.fromkeys(by_sample)
        gives |= dict.fromkeys(_kind(features) for _, features in by_sample.values())
    same = all(_kind(out) == sample for _, by_sample in results for sample, (_, out) in by_sample.items())
    lists = all(_kind(out) == f"list of {sample}" for _, by_sample in results for sample, (_, out) in by_sample.items())
    words = "what arrives" if same else "a list of what arrives" if lists else ", ".join(gives)
    outputs = {tuple(out) for _, by_sample in results for _, out in by_sample.values()}
    source = len(takes) == len(_SAMPLES) and len(outputs) == 1  # nothing of the output depends on what arrives
    return ", ".join(takes), words, "it has no grid" if source else ", ".join(_grids(results))


def table() -> list[tuple[str, str, str, str]]:
    """The table of ``docs/layouts.md``: name, takes, gives, grid, for every operator of the language.

    >>> [row for row in table() if row[0] == "take"]
    [('take', 'map, grid, sequence, prefix tokens', 'vector', 'drops the grid')]
    """
    own = sorted(name for name, operator in OPERATORS.items() if operator.declared is None)
    return [(name, *row(OPERATORS[name])) for name in own]


def markdown() -> str:
    """The table of ``docs/layouts.md``.

    >>> print(markdown().splitlines()[0])
    | operator | takes | gives | the grid |
    """
    lines = ["| operator | takes | gives | the grid |", "|---|---|---|---|"]
    for name, takes, gives, grid in table():
        every = "anything" if takes == ", ".join(_SAMPLES) else takes
        lines.append(f"| `{name}` | {every} | {gives} | {grid.replace(' the grid', '').replace('it has no grid', 'has none')} |")
    return "\n".join(lines) + "\n"


def _calls(operator: Operator) -> dict[str, str]:
    """Calls of an operator, by what is special about them."""
    if operator.name in _CALLS:
        return _CALLS[operator.name]
    required = [param for param in operator.schema.params if param.required]
    values = {param.name: _value(param) for param in required}
    calls = {"": _call(operator, values)}
    names = operator.schema.names()
    if "stride" in names and "stride" not in values:
        calls["`stride=`"] = _call(operator, {**values, "stride": "2"})
    return calls


def _value(param: Param) -> str:
    """The text of an argument that has no default."""
    return "id" if param.module else str(_VALUES.get(param.name, 1))


def _call(operator: Operator, values: dict[str, str]) -> str:
    arguments = ["id"] if operator.schema.variadic else []
    arguments += [f"{name}={value}" for name, value in values.items()]
    return f"{operator.name}({', '.join(arguments)})" if arguments else operator.name


def _run(call: str) -> dict[str, tuple[Feature, list[Feature]]]:
    """What a call gives for each sample that it takes, with the sample."""
    return _on(_SAMPLES, call) or _on(_IDS, call)


def _on(samples: Mapping[str, str], call: str) -> dict[str, tuple[Feature, list[Feature]]]:
    """What a call gives for each of some samples that it takes."""
    results = {}
    for kind, text in samples.items():
        sample = feature_of(text)
        try:
            output = [value.feature for value in flat_values(result_of(call, sample))]
        except MetablockError:
            continue
        if output:
            results[kind] = sample, output
    return results


def _kind(features: list[Feature]) -> str:
    """The word for what comes out."""
    if len(features) > 1:
        return f"list of {', '.join(dict.fromkeys(_kind([feature]) for feature in features))}"
    [feature] = features
    if feature.layout == "tokens" and feature.prefix:
        return "prefix tokens"
    if feature.layout in ("grid", "tokens"):
        return "grid" if feature.rank > 1 else "sequence"
    return feature.layout


def _grids(results: list[tuple[str, dict[str, tuple[Feature, list[Feature]]]]]) -> Iterator[str]:
    """What becomes of a grid of two axes, call by call; a call says only what the first does not."""
    said = set[str]()
    for label, by_sample in results:
        verbs = dict.fromkeys(_verb(sample, features) for sample, features in by_sample.values())
        for verb in filter(None, verbs):
            if verb not in said:
                said.add(verb)
                noun = "it" if len(said) > 1 else "the grid"
                yield f"{verb.replace('the grid', noun)} with {label}" if label else verb.replace("the grid", noun)


def _verb(sample: Feature, features: list[Feature]) -> str:
    """What becomes of the grid of one sample; nothing where there is none before and after."""
    grids = [feature.grid for feature in features]
    if sample.rank < 2:
        return "gives a sequence one" if any(len(grid) > 1 for grid in grids) else ""
    if all(grid == sample.grid for grid in grids):
        return "keeps the grid"
    return "changes the grid" if any(len(grid) == sample.rank for grid in grids) else "drops the grid"
