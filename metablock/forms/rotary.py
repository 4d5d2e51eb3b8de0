"""Rotary positions: angles for the tokens of queries and keys, by which attention rotates pairs of their channels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import error
from ..language.registry import OPERATORS
from ..lowering.arguments import Arg
from ..lowering.context import Rotary
from ..lowering.ir import InlineOp, ModuleNode, Step, Subgraph, Value, ValueTree, flat_values, free_values, inputs_of, single

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer

PAIRS = ("adjacent", "halves")
# Expressions that read no data of their input: layout casts, constants of its batch.
_CAST = re.compile(r"\{0\}(\.(movedim|flatten|unflatten)\(([^(){}]|\([^(){}]*\))*\))?")
_CONSTANT = re.compile(r"\{0\}\.new_(zeros|ones)\(\(\{0\}\.shape\[0\][\d, ]*\)\)")


def axial(
    t: Tracer,
    x: ValueTree,
    *,
    theta: float = 100.0,
    kind: str = "index",
    extent: int | list[int] | None = None,
    reverse: bool = False,
) -> ValueTree:
    """In ``rotary=`` of attention: axial rotary positions, angles ``p / theta ** (k / bands)`` of the tokens' coordinates ``p``.

    Each axis turns an equal share of the pairs of a head, ``bands = head_dim / (2 rank)`` of them. No parameters.

    Args:
        theta: the base of the frequencies.
        kind: of the coordinates, as :func:`coordinates` has them; all but ``"index"`` are multiplied by 2 pi.
        extent: extents that the indices are stretched to, ``p = i / n * extent``, one number or one an axis: the grid that the
            network was trained on first.
        reverse: whether the last axis comes first.

    Returns:
        ``head_dim / 2`` angles a token, the same for all heads.

    Raises:
        SpecError: outside ``rotary=`` of attention; axes that do not divide the pairs; another word for ``kind``; an extent of
            another number of axes, or beside another ``kind``.

    RoPE-ViT, Heo et al. 2024, Eq. 8 (arXiv 2403.13298): ``axial(reverse=true)``. EVA-02 (arXiv 2303.11331): ``axial(10000,
    extent=16)``. DINOv3 (arXiv 2508.10104): ``axial(kind="signed_centers")`` with ``pairs="halves"``. LLaMA, on a sequence:
    ``axial(10000)`` with ``pairs="halves"``.

    >>> shape_of("attention(4, rotary=axial)", "64x14x14")
    'tokens 14x14 x 64'
    """
    around = t.now.rotary
    if around is None:
        raise error("`axial` is not in the rotary positions of an attention", hint="write `attention(heads, rotary=axial)`")
    value = t.ir.cast(single(x), "grid")
    pairs, rank = around.head_dim // 2, value.feature.rank
    if pairs % rank:
        hint = f"heads of a multiple of {2 * rank} channels"
        raise error(f"{rank} axes do not divide the {pairs} pairs of channels of a head", hint=hint)
    options: dict[str, Any] = {"theta": theta, "kind": kind, "extent": extent, "reverse": reverse}
    return t.ir.call("waves.Axial", "axial", [value], out=pairs, **options)


def rotated(t: Tracer, rotary: Arg | None, values: list[Value], *, heads: int, head_dim: int, pairs: str) -> list[Value]:
    """Queries and keys, rotated by the angles that ``rotary`` gives for the tokens of each grid; prefix tokens are left alone.

    Args:
        rotary: this argument of attention; None: nothing is rotated.
        values: the queries, then keys: ``(b, N, heads * head_dim)``. Those on one grid have the same angles.
        heads, head_dim: of the queries.
        pairs: which channels rotate together, ``"adjacent"`` or ``"halves"``.

    Raises:
        SpecError: ``pairs`` without ``rotary``, or another word for it; an odd width of a head; ``rotary`` reads data of what
            arrives, or gives another shape.
    """
    if pairs not in PAIRS:
        raise error(f'unknown pairs "{pairs}"', hint='"adjacent" or "halves"')
    if rotary is None:
        if pairs != PAIRS[0]:
            raise error("`pairs=` without `rotary=`", hint="leave it out, or write `rotary=axial`")
        return values
    if head_dim % 2:
        raise error(
            f"rotary positions of heads of {head_dim} channels", rotary.span, "pairs are rotated: an even number of channels"
        )
    places: dict[tuple[object, ...], Value] = {}
    for value in values:
        places.setdefault((value.feature.grid, value.feature.around), value)
    with t.context.push(rotary=Rotary(heads, head_dim)):
        angles = _angles(t, rotary, list(places.values()), heads * head_dim)
    waves = [[t.ir.inline(f"{{0}}.{wave}()", [angle], angle.feature) for wave in ("cos", "sin")] for angle in angles]
    turns = dict(zip(places, waves, strict=True))
    return [
        _turned(t, rotary, value, turns[value.feature.grid, value.feature.around], heads, head_dim, pairs, "qk"[number > 0])
        for number, value in enumerate(values)
    ]


def _angles(t: Tracer, rotary: Arg, places: list[Value], width: int) -> list[Value]:
    """The angles for the tokens of each value that have a place.

    What enters `rotary` is of their shape, but only its extents count: it is one image, unless a wire from outside is read too.
    """
    tokens = [_placed(t, value) for value in places]
    enter = [t.ir.value(value.feature.with_(c=width)) for value in tokens]
    steps, begin = t.ir.steps, len(t.ir.steps)

    def angles_of(value: Value) -> Value:
        angles = single(t.apply(rotary, value))
        shape, wanted = angles.feature, value.feature
        if shape.layout not in ("map", "grid", "tokens") or shape.prefix or shape.grid != wanted.grid:
            raise error(
                f"`rotary=` gives {shape}, for {wanted}", rotary.span, "angles for each token that has a place on the grid"
            )
        return t.ir.cast(angles, "grid")

    result = t.ir.alike(enter, angles_of)
    subgraph, entered = t.now.draft.subgraph, {value.id for value in enter}
    if _reads_data(subgraph, steps[begin:], set(entered)):
        hint = "begin with `coordinates`, `axial` or a wire: `coordinates >> linear(c // 2, bias=false)`"
        raise error("`rotary=` reads what arrives: angles are computed from places", rotary.span, hint)
    computed = {value.id for step in steps[begin:] for value in flat_values(step.output)}
    read = {value.id for step in steps[begin:] for value in inputs_of(subgraph, step)} - computed
    template = "{0}[:1]" if read <= entered else "{0}"
    present = [InlineOp(template, (value,), one) for value, one in zip(tokens, enter, strict=True) if one.id in read]
    steps[begin:begin] = present
    return result


def _placed(t: Tracer, value: Value) -> Value:
    """The tokens of a value without its prefix, on their grid."""
    f = value.feature
    tokens = t.ir.take_tokens(value, f.prefix, f.n, grid=f.grid) if f.prefix else value
    return t.ir.cast(tokens, "grid")


def _reads_data(subgraph: Subgraph, steps: Iterable[Step], entered: set[int]) -> bool:
    """Whether a step computes with the data of the values with these ids, and not with their extents alone."""
    for step in steps:
        read = {value.id for value in step.inputs} & entered
        if isinstance(step, InlineOp):
            if read and _CAST.fullmatch(step.template):
                entered.update(value.id for value in flat_values(step.output))
            elif read and not _CONSTANT.fullmatch(step.template):
                return True
            continue
        child = None if step.root else subgraph.child(step.child)
        if isinstance(child, Subgraph):
            inside = entered
            if step.shared:  # its steps name the values of its first use
                inside = {own.id for own, value in zip(free_values(child), step.inputs, strict=True) if value.id in entered}
            if _reads_data(child, child.steps, inside):
                return True
        elif isinstance(child, ModuleNode) and read and not _is_source(child):
            return True
    return False


def _is_source(node: ModuleNode) -> bool:
    """Whether a module uses nothing of its input but extents."""
    return node.module.endswith(".waves") or (node.operator in OPERATORS and OPERATORS[node.operator].source)


def _turned(t: Tracer, rotary: Arg, value: Value, turn: list[Value], heads: int, head_dim: int, pairs: str, name: str) -> Value:
    """Queries or keys, rotated by the cosine and sine in ``turn``."""
    f, c = value.feature, turn[0].c
    if c == heads * head_dim // 2 != value.c // 2:
        hint = f"{head_dim // 2} channels, the same angles for all heads; or leave out `kv_heads=`"
        message = f"`rotary=` gives angles for each of {heads} heads, the keys have {value.c // head_dim}"
        raise error(message, rotary.span, hint)
    if c not in (head_dim // 2, value.c // 2):
        hint = f"{head_dim // 2} channels, one a pair of a head"
        if heads > 1:
            hint += f"; or {heads * head_dim // 2}, for each of {heads} heads its own"
        raise error(f"`rotary=` gives {turn[0].feature}", rotary.span, hint)
    value, *turn = t.ir.together(value, *turn)
    options = {"width": head_dim, "prefix": f.prefix, "halves": pairs == "halves"}
    return t.ir.call("rotate.Rotate", f"{name}_rotate", [value, *turn], value.feature, **options)
