"""Attention whose matrix is seen: mixed between the heads, without a softmax, or between channels instead of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import error
from ..lowering.arguments import Arg
from ..lowering.ir import Value, single
from .attention_softmax import bias_of, keep_of, keys_and_values, row_shape, shifted_mask
from .attention_sources import KeySource

if TYPE_CHECKING:
    from ..lowering.tracer import Tracer


@dataclass(frozen=True)
class Matrix:
    """The arguments of attention that need its matrix.

    Attributes:
        mix, mix_after: applied to the logits and to the weights.
        norm: what makes weights of logits: ``softmax`` or ``none``.
        over: what the matrix is between: ``tokens`` or ``channels``.
    """

    mix: Arg | None = None
    mix_after: Arg | None = None
    norm: str = "softmax"
    over: str = "tokens"

    @property
    def plain(self) -> bool:
        """Whether none of them is there: a fused kernel computes the attention."""
        return self == Matrix()

    @property
    def name(self) -> str:
        """What a message calls the argument that is there."""
        return "mix=" if self.mix is not None else "mix_after=" if self.mix_after is not None else f'norm="{self.norm}"'


def attend_by_matrix(
    t: Tracer,
    queries: Value,
    sources: list[KeySource],
    matrix: Matrix,
    pos: Arg | None,
    mask: Arg | None,
    *,
    heads: int,
    scale: float,
    drop: float,
    row: int | None = None,
    plain: Value | None = None,
) -> list[Value]:
    """``mix_after(softmax(mix(scale * q k' + pos))) v`` in each head: leaves for the logits, for the weights and for the sum.

    Masks come after ``mix``: a key that is masked has no weight. Without a softmax, and with nothing that needs the matrix, the
    product is ``scale * q (k' v)``.

    Args:
        queries: ``(b, N, heads * d)``.
        sources: the keys and values, with as many heads.
        matrix: what is done with the matrix.
        pos, mask: these arguments of attention.
        heads, scale, drop: the number of heads, the factor on the logits, the dropout rate of the weights.
        row: number of a query whose weights are returned too, on the grid of the keys.
        plain: the queries before ``query`` and ``scale``, for ``pos``.

    Returns:
        The output with the extents of the queries and the width of the values; then the weights, if there is a ``row``.

    Raises:
        SpecError: keys that differ from query to query; a bias, mask or mixed matrix of another shape.
    """
    queries, *rest = t.ir.together(queries, *[value for source in sources for value in (source.keys, source.values)])
    for source, keys, values in zip(sources, rest[::2], rest[1::2], strict=True):
        source.keys, source.values = keys, values
    if matrix.over == "channels":
        return [_channels(t, queries, sources[0], matrix, heads=heads, scale=scale, drop=drop)]
    selects = next((source.selects for source in sources if source.selects), None)
    if selects is not None:
        hint = f"leave out `{matrix.name}`, or `{selects}`"
        raise error(f"`{matrix.name}` of `{selects}` keys: each query has keys of its own, there is no matrix", hint=hint)
    bias, keep = bias_of(t, pos, heads, queries, sources, plain), keep_of(t, mask, sources)
    shifted = shifted_mask(t, queries, sources)
    keys, values = keys_and_values(t, sources)
    shape = queries.feature.with_(c=values.c)
    mixed = matrix.mix is not None or matrix.mix_after is not None
    masks = [value for value in (shifted, keep) if value is not None]
    causal = sources[0].past is not None
    if matrix.norm == "none" and not (mixed or masks or causal or bias is not None or row is not None or drop):
        return [t.ir.call("attend_matrix.AttendProduct", "attend", [queries, keys, values], shape, heads=heads, scale=scale)]
    between = queries.feature.with_(layout="map", c=heads, grid=(queries.feature.n, keys.feature.n), prefix=0, of=None)
    inputs = [queries, keys, *([] if bias is None else [bias])]
    logits = t.ir.call("attend_matrix.Logits", "logits", inputs, between, heads=heads, scale=scale)
    weights = _weights(
        t,
        logits,
        matrix,
        masks,
        heads,
        {"windowed": shifted is not None, "masked": keep is not None} | ({"causal": True} if causal else {}),
    )
    result = [t.ir.call("attend_matrix.WeightedSum", "attend", [weights, values, queries], shape, drop=drop)]
    if row is not None:
        template = f"{{0}}[:, :, {row}].mean(1).unsqueeze(-1).unflatten(1, {{1}}.shape[1:-1])"
        result.append(t.ir.inline(template, [weights, keys], row_shape(queries, keys, row)))
    return result


def _channels(t: Tracer, queries: Value, source: KeySource, matrix: Matrix, *, heads: int, scale: float, drop: float) -> Value:
    """``softmax(scale * q' k) v`` in each head: every channel attends to the channels of its head."""
    keys, values = source.keys, source.values
    if keys.feature.n != queries.feature.n:
        hint = "`q=` and `k=` must have the same extents"
        raise error(f'{queries.feature.n} queries meet {keys.feature.n} keys, `over="channels"` compares channels', hint=hint)
    if values.c != keys.c:
        hint = "the matrix is one of the channels of q and k: leave out `value_dim=`, or end `v=` in their width"
        raise error(f'values are {values.c} wide, keys {keys.c}, beside `over="channels"`', hint=hint)
    d = keys.c // heads
    between = queries.feature.with_(layout="map", c=heads, grid=(d, d), prefix=0, of=None)
    options = {"heads": heads, "scale": scale, "over": "channels"}
    logits = t.ir.call("attend_matrix.Logits", "logits", [queries, keys], between, **options)
    weights = _weights(t, logits, matrix, [], heads, {})
    shape = values.feature.with_(c=heads * d)
    return t.ir.call("attend_matrix.WeightedSum", "attend", [weights, values, values], shape, drop=drop, over="channels")


def _weights(t: Tracer, logits: Value, matrix: Matrix, masks: list[Value], heads: int, options: dict[str, bool]) -> Value:
    """The weights: the logits mixed, normalised and mixed again."""
    logits = _mixed(t, matrix.mix, logits, "mix", None if matrix.mix_after is not None else heads)
    if masks or matrix.norm != "none" or "causal" in options:
        logits = t.ir.call("attend_matrix.Weights", "weights", [logits, *masks], logits.feature, norm=matrix.norm, **options)
    return _mixed(t, matrix.mix_after, logits, "mix_after", heads)


def _mixed(t: Tracer, arg: Arg | None, matrix: Value, name: str, heads: int | None) -> Value:
    """The matrix after a module. Raises SpecError if that changes its extents, or does not leave so many ``heads``."""
    if arg is None:
        return matrix
    result = t.ir.cast(single(t.apply(arg, matrix)), "map")
    f = result.feature
    if f.grid != matrix.feature.grid:
        raise error(f"`{name}=` makes {f} of {matrix.feature}", arg.span, "it must keep the queries and the keys")
    if heads is not None and f.c != heads:
        raise error(f"`{name}=` gives {f.c} heads, the values have {heads}", arg.span, f"end it in {heads} channels")
    return result
