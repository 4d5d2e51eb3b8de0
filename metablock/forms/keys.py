"""The keys of attention, from one source or several, and what is added to their logits."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg, members
from ..lowering.emitter import Near, Pair, Routed
from ..lowering.ir import Value, ValueTree
from ..shape import Feature

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

_MEMBERS = "one a member of `over=`: `pos=[a, none]`"


@dataclass
class KeySource:
    """Where some of the keys come from, and what they and their values are.

    ``near``: each query has its own few of them; ``extra`` are weights of theirs outside the softmax. ``number``: which member of
    ``over=`` this is. ``routed``: each region has its own.
    """

    source: Value
    keys: Value
    values: Value
    near: Near | None = None
    number: int = 0
    extra: Value | None = None
    routed: Routed | None = None

    @property
    def count(self) -> int:
        """How many keys a query sees."""
        if self.routed is not None:
            return self.routed.top * prod(self.routed.size)
        return prod(self.near.size) if self.near else self.keys.feature.n


def attend(
    t: Tracer,
    queries: Value,
    parts: list[KeySource],
    pos: Arg | None,
    mask: Arg | None,
    *,
    heads: int,
    scale: float,
    drop: float,
    row: int | None = None,
) -> list[Value]:
    """Queries on all keys at once: leaves ``attend``, and those of ``pos`` and of shifted windows.

    With ``row`` also the weights of that query, on the keys' grid.
    """
    queries, *rest = t.together(queries, *[wire for part in parts for wire in (part.keys, part.values)])
    for part, keys, values in zip(parts, rest[::2], rest[1::2], strict=True):
        part.keys, part.values = keys, values
    if any(part.routed for part in parts):
        return [_routed(t, queries, parts, {"pos": pos, "mask": mask, "row": row}, heads=heads, scale=scale, drop=drop)]
    bias = _bias(t, pos, heads, queries, parts)
    keep = _keep(t, mask, parts)
    shifted = _shifted(t, queries, parts)
    inputs = [queries]
    neighbours = parts[0].near
    if neighbours is not None:
        inputs += [parts[0].keys, parts[0].values]
    far = [part for part in parts if part.near is None]
    if far:
        inputs += [union(t, [part.keys for part in far]), union(t, [part.values for part in far])]
    extra = None if parts[0].extra is None else t.together(parts[0].extra, queries)[0]
    inputs += [wire for wire in (bias, shifted, keep, extra) if wire is not None]
    shape = queries.feature.with_(c=parts[0].values.c)
    given = {"heads": heads, "scale": scale, "drop": drop, "biased": bias is not None}
    if neighbours is None:
        further = () if row is None else (_row(queries, inputs[1], row),)
        return t.leaf_of_several("attend.Attend", "attend", inputs, shape, further, masked=keep is not None, row=row, **given)
    if row is not None:
        raise error("`row=` of neighbours: each query has keys of its own", hint="leave out `near(...)`, or `row=`")
    options = {"size": list(neighbours.size), "border": neighbours.border, "dilation": neighbours.dilation}
    options |= {"far": bool(far), "extra": extra is not None}
    return [t.leaf("attend_near.AttendNear", "attend", inputs, shape, **options, **given)]


def _routed(t: Tracer, queries: Value, parts: list[KeySource], given: dict[str, object], **options: float) -> Value:
    """Regions on the regions that they choose: the leaf ``attend``."""
    if len(parts) > 1:
        raise error("`routed` keys in a union", hint="they stand alone: `over=routed(4)`")
    for name in (name for name, value in given.items() if value is not None):
        raise error(f"`{name}=` of `routed` keys: each region has keys of its own", hint=f"leave out `{name}=`, or `routed`")
    if _shifted(t, queries, parts) is not None:
        raise error("`routed` keys in a shifted window have no mask", hint="shift by 0, or attend outside")
    (part,) = parts
    assert part.routed is not None
    shape = queries.feature.with_(c=part.values.c)
    regions, inputs = list(part.routed.regions), [queries, part.keys, part.values]
    return t.leaf("attend_routed.AttendRouted", "attend", inputs, shape, regions=regions, top=part.routed.top, **options)


def _row(queries: Value, keys: Value, row: int) -> Feature:
    """One channel, a token a key."""
    n = queries.feature.n
    if not -n <= row < n:
        raise error(f"row {row} of {n} queries", hint="they are numbered from 0, prefix tokens first")
    return keys.feature.with_(c=1)


def weigh(t: Tracer, extra: Arg, parts: list[KeySource], queries: Value, heads: int) -> None:
    """Weights of neighbours that the queries give as they are, outside the softmax."""
    for arg, part in zip(_each(t, extra, parts, "extra"), parts, strict=True):
        value = None if arg is None else t.apply(arg, queries)
        if arg is None or value is None:
            continue
        if part.near is None:
            hint = "`over=near(3)`; `none` for other members of a list"
            raise error("`extra=` are weights of neighbours, these keys are none", arg.span, hint)
        wire = t.to(t.single(value), "grid")
        wanted = queries.feature.with_(c=heads * part.count)
        if wire.feature != wanted:
            hint = f"a channel for each of {heads} heads and {part.count} neighbours"
            raise error(f"`extra=` gives {wire.feature}, the weights are {wanted}", arg.span, hint)
        part.extra = wire


def keys_seen(t: Tracer, x: ValueTree) -> ValueTree:
    """In ``scale=`` of attention: how many keys a query sees, those that ``mask=`` leaves out included; one channel.

    ``keys_seen >> log`` keeps the entropy of the weights where there are more keys (TransNeXt, arXiv 2311.17132).
    """
    if t.seen is None:
        raise error("`keys_seen` is not in the scale of an attention", hint="write `attention(heads, scale=keys_seen >> log)`")
    near, f = t.seen.near, t.seen.queries.feature
    if near is None or near.border != "mask":
        far = t.seen.far + (prod(near.size) if near is not None else 0)
        shape = f.with_(layout="tokens", c=1, grid=(1,), prefix=0)
        return t.leaf("keys_seen.KeysSeen", "keys_seen", [t.seen.queries], shape, grid=(), far=far)
    given = {"size": list(near.size), "dilation": near.dilation, "far": t.seen.far}
    return t.leaf("keys_seen.KeysSeen", "keys_seen", [t.seen.queries], f.with_(c=1), grid=f.grid, **given)


def union(t: Tracer, wires: list[Value]) -> Value:
    """Tokens one after the other."""
    if len(wires) == 1:
        return wires[0]
    if any(wire.c != wires[0].c for wire in wires):
        widths = " and ".join(str(wire.c) for wire in wires)
        raise error(f"the members of `over=` have values of {widths} channels", hint="project them to one width")
    tokens = [t.to(wire, "tokens") for wire in wires]
    total = sum(wire.feature.n for wire in tokens)
    names = ", ".join(f"{{{i}}}" for i in range(len(tokens)))
    return t.do(f"torch.cat([{names}], dim=1)", tokens, tokens[0].feature.with_(prefix=0, grid=(total,)))


def _each(t: Tracer, arg: Arg | None, parts: list[KeySource], name: str) -> list[Arg | None]:
    """An argument for each part."""
    if arg is None:
        return [None] * len(parts)
    given = members(t, arg)
    if given is None and len(parts) == 1:
        return [arg]
    if given is None:
        raise error(f"`{name}=` is one for {len(parts)} members of `over=`", arg.span, _MEMBERS.replace("pos", name))
    if len(given) <= max(part.number for part in parts):
        raise error(f"`{name}=` has {len(given)} entries, `over=` more", arg.span, _MEMBERS.replace("pos", name))
    return [given[part.number] for part in parts]


def _bias(t: Tracer, pos: Arg | None, heads: int, queries: Value, parts: list[KeySource]) -> Value | None:
    given = zip(_each(t, pos, parts, "pos"), parts, strict=True)
    biases = [_one_bias(t, arg, Pair(heads, queries, part.keys, part.near), part.count) for arg, part in given]
    present = [bias for bias in biases if bias is not None]
    if len(parts) == 1 or not present:
        return biases[0]
    n, total = queries.feature.n, sum(part.count for part in parts)
    at = iter(range(len(present)))
    zeros = [f"{{0}}.new_zeros(({heads}, {n}, {part.count}))" for part in parts]
    texts = [zero if bias is None else f"{{{next(at)}}}" for bias, zero in zip(biases, zeros, strict=True)]
    return t.do(f"torch.cat([{', '.join(texts)}], dim=-1)", present, present[0].feature.with_(grid=(n, total)))


def _one_bias(t: Tracer, pos: Arg | None, pair: Pair, count: int) -> Value | None:
    if pos is None:
        return None
    kept, t.pair = t.pair, pair
    try:
        bias = t.apply(pos, pair.queries)
    finally:
        t.pair = kept
    if bias is None:
        return None
    wire = t.single(bias)
    if wire.feature.layout != "table" or wire.feature.grid != (pair.queries.feature.n, count):
        raise error(f"`pos=` gives {wire.feature}", pos.span, "it takes a position bias: `relative_bias`, `agent_bias` ...")
    return wire


def _keep(t: Tracer, mask: Arg | None, parts: list[KeySource]) -> Value | None:
    """Which keys take part: one channel, a token a key."""
    given = [_one_keep(t, arg, part) for arg, part in zip(_each(t, mask, parts, "mask"), parts, strict=True)]
    if len(parts) == 1 or not any(given):
        return given[0]
    texts: list[str] = []
    wires: list[Value] = []
    for wire, part in zip(given, parts, strict=True):
        source = t.to(part.keys, "tokens") if wire is None else t.to(wire, "tokens")
        texts.append(f"{{{len(wires)}}}" if wire is not None else f"torch.ones_like({{{len(wires)}}}[..., :1])")
        wires.append(source)
    shape = wires[0].feature.with_(c=1, prefix=0, grid=(sum(part.count for part in parts),))
    return t.do(f"torch.cat([{', '.join(texts)}], dim=1)", wires, shape)


def _one_keep(t: Tracer, mask: Arg | None, part: KeySource) -> Value | None:
    value = None if mask is None else t.apply(mask, part.source)
    if mask is None or value is None:
        return None
    if part.near is not None:
        raise error("`mask=` does not reach a neighbourhood", mask.span, "its border is `near(n, border=...)`'s own")
    wire = t.to(t.single(value), "grid", "tokens")
    f = part.keys.feature
    if wire.c != 1 or wire.feature.n != f.n or len(wire.feature.around) > len(f.around):
        hint = "one channel, and a token for each key, prefix tokens included: `join(ones(1, 1), mask)`"
        raise error(f"`mask=` gives {wire.feature}, the keys are {f}", mask.span, hint)
    return t.together(wire, part.keys)[0]


def _shifted(t: Tracer, queries: Value, parts: list[KeySource]) -> Value | None:
    """The mask of shifted windows, where queries and keys both are the tokens of a window."""
    q = queries.feature
    if t.mask is None or q.grid != t.mask.size or all(part.keys.feature.grid != q.grid for part in parts):
        return None
    if len(parts) > 1 or parts[0].near is not None:
        hint = "shift by 0, or attend outside"
        raise error("a union of keys, or neighbours, in a shifted window have no mask", hint=hint)
    if q.prefix or parts[0].keys.feature.prefix:
        raise error("prefix tokens in a shifted window have no place in its mask", hint="shift by 0, or join them outside")
    count = prod(t.mask.grid) // prod(t.mask.size)
    shape = q.with_(layout="table", c=count, grid=(q.n, q.n))
    given = {"size": list(t.mask.size), "shift": list(t.mask.shift)}
    return t.leaf("window_mask.WindowMask", "mask", [], shape, grid=t.mask.grid, **given)
