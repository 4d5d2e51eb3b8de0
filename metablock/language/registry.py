"""The operators by name, their signatures, read from their source files, and their rules: without torch."""

from __future__ import annotations

import ast
import importlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]

# Leaf operators: name, file and class in metablock/operators. A `source` uses nothing of its input but the batch. Sorted.
# One that came after the first release is `later`: a number of a file may have its name.
_LEAVES = """
abs: elementwise.Abs later
above: elementwise.Above later
adaptive_avg_pool: adaptive_avg_pool.AdaptiveAvgPool
adaptive_max_pool: adaptive_max_pool.AdaptiveMaxPool
avg_pool: avg_pool.AvgPool
batch_norm: batch_norm.BatchNorm
below: elementwise.Below later
centre: losses.Centre later
channel_dropout: dropout.ChannelDropout later
clip: elementwise.Clip later
conv: conv.Conv
cos: elementwise.Cos later
crop: crop.Crop later
deconv: conv_transpose.ConvTranspose
deform_conv: deform_conv.DeformConv
dropout: dropout.Dropout
elu: activations.Elu
embedding: embedding.Embedding later
exp: elementwise.Exp later
fold: fold.Fold later
gelu: activations.Gelu
global_pool: global_pool.GlobalPool
grn: grn.GRN
group_norm: group_norm.GroupNorm
gru: recurrent.Gru later
hard_sigmoid: activations.HardSigmoid
hard_swish: activations.HardSwish
irfft: spectrum.Irfft later
knob: knob.Knob source
l2norm: l2_norm.L2Norm
layer_norm: layer_norm.LayerNorm
learned: learned.Learned source
linear: linear.Linear
log: activations.Log
lstm: recurrent.Lstm later
max_pool: max_pool.MaxPool
nmf: nmf.NMF later
pad: pad.Pad later
pick: pick.Pick later
position: position.Position
quick_gelu: activations.QuickGelu
random_features: random_features.RandomFeatures
relu: activations.Relu
relu6: activations.Relu6
resize: resize.Resize
rfft: spectrum.Rfft later
rms_norm: rms_norm.RmsNorm later
scalar: scalar.LearnedScalar source later
scale: scale.Scale
shuffle: shuffle.Shuffle
sigmoid: activations.Sigmoid
silu: activations.Silu
sin: elementwise.Sin later
softmax: softmax.Softmax
softplus: activations.Softplus
sqrt: elementwise.Sqrt later
standardize: standardize.Standardize later
star_relu: activations.StarRelu
std_conv: std_conv.StdConv
tanh: activations.Tanh
tile: tile.Tile later
times: times.Times
unfold: unfold.Unfold
unused: unused.Unused
upsample: upsample.Upsample
"""

# Composite operators: name, file and function in metablock/forms. `inline` ones add no level to parameter names. Sorted.
_FORMS = """
agent_bias: positions.agent_bias
argsort: order.argsort inline
attention: attention.attention
average: losses.average inline later
axial: rotary.axial inline later
batch_flip: batch.batch_flip inline later
binary_cross_entropy: losses.binary_cross_entropy inline later
cascade: lists.cascade inline
chunk: tokens.chunk inline
concat: lists.concat inline later
constant: residual.constant inline later
continuous_bias: positions.continuous_bias
coordinates: constants.coordinates inline later
cross_entropy: losses.cross_entropy inline later
deformable: deformable.deformable
dilated: windows.dilated inline
distill: losses.distill inline later
drop_path: residual.drop_path inline
each: lists.each inline
ema: averages.ema later
first: order.first inline
flatten: tokens.flatten inline
focal: losses.focal inline later
fourier: constants.fourier inline later
frozen: residual.frozen inline
grid: grids.grid inline later
hungarian: hungarian.hungarian inline later
info_nce: losses.info_nce inline later
inner: recurrence.inner inline later
join: tokens.join inline
keys_seen: attention_softmax.keys_seen inline
matmul: products.matmul inline later
maximum: elementwise.maximum inline later
mean: lists.mean inline
merge: windows.merge inline
minimum: elementwise.minimum inline later
mixture_conv: dynamic.mixture_conv
moving_bias: sampling.moving_bias later
near: neighbours.near inline
ones: tokens.ones inline source
outer: recurrence.outer inline later
pair_bias: positions.pair_bias
past: neighbours.past inline later
patches: tokens.patches inline
per_head: heads.per_head inline later
prefix: tokens.prefix inline
recurrence: recurrence.recurrence inline later
relative_bias: positions.relative_bias
relative_keys: relative_keys.relative_keys later
reorder: order.reorder inline
res: residual.res inline
rest: order.rest inline
resize_like: grids.resize_like later
restore: order.restore inline
route: route.route later
routed: routed.routed inline
sample: sampling.sample inline later
scan: recurrence.scan later
sine: constants.sine inline later
split: lists.split inline
spread: tokens.spread inline
steps: lists.steps inline
stop: residual.stop inline later
take: tokens.take inline
tied: tied.tied inline later
tokens: grids.tokens inline later
transpose: products.transpose inline later
transposed: residual.transposed inline
window: windows.window inline
windows: windows.windows inline
zeros: tokens.zeros inline source
"""


@dataclass(frozen=True)
class Param:
    """One argument of an operator: its name, the types it takes, its default (``...``: required)."""

    name: str
    types: tuple[str, ...]
    default: Any

    @property
    def required(self) -> bool:
        return self.default is ...

    @property
    def module(self) -> bool:
        """Whether the argument may be an expression that becomes a module."""
        return "Expr" in self.types or "Module" in self.types


@dataclass(frozen=True)
class Schema:
    """An operator's signature. ``variadic`` is the name of the parameter that takes any number of positional modules, or None;
    ``context`` names what the compiler supplies (``c``, ``grid`` ...)."""

    params: tuple[Param, ...]
    variadic: str | None
    context: tuple[str, ...]
    doc: str

    def names(self) -> list[str]:
        return [param.name for param in self.params]


@dataclass(frozen=True)
class Operator:
    """An operator of the language. A ``leaf`` is a class that becomes a module; a composite operator is a function that wires its
    arguments with leaves.

    >>> conv = OPERATORS["conv"]
    >>> conv.leaf, conv.schema.names()[:3]
    (True, ['out', 'kernel', 'stride'])
    """

    name: str
    module: str
    attribute: str
    leaf: bool
    inline: bool = False
    source: bool = False
    later: bool = False
    declared: Schema | None = None  # the signature of a custom operator, which is not read from our files

    @cached_property
    def schema(self) -> Schema:
        return self.declared or _read_schema(self)

    def load(self) -> Any:
        """Imports the class or function; for a leaf that imports torch."""
        return getattr(importlib.import_module(self.module), self.attribute)

    def rule(self) -> Any:
        """What the compiler reads of a leaf (:mod:`metablock.operators.rules`), without torch; of a custom one its class."""
        return self.load() if rule_name(self.module) is None else rule_of(self.module, self.attribute)


def rule_of(module: str, attribute: str) -> Any:
    """The rule of a leaf's class. It imports torch where the class, of a custom operator, is its own rule.

    >>> rule_of("metablock.operators.conv", "Conv").takes
    ('map',)
    """
    name = rule_name(module)
    if name is not None and (_ROOT / f"{name.replace('.', '/')}.py").is_file():
        rule = getattr(importlib.import_module(name), f"{attribute}Rule", None)
        if rule is not None:
            return rule
    return getattr(importlib.import_module(module), attribute)


def rule_name(module: str) -> str | None:
    """The module with the rules of the operators in a module of ours; None for one of another package.

    >>> rule_name("metablock.operators.conv"), rule_name("my_package.mixers")
    ('metablock.operators.rules.conv', None)
    """
    package, _, file = module.rpartition(".")
    return f"{package}.rules.{file}" if package == "metablock.operators" else None


def _table() -> dict[str, Operator]:
    table: dict[str, Operator] = {}
    for lines, folder in ((_LEAVES, "operators"), (_FORMS, "forms")):
        for line in lines.strip().splitlines():
            name, target, *flags = line.replace(":", " ").split()
            file, attribute = target.split(".")
            table[name] = Operator(
                name,
                f"metablock.{folder}.{file}",
                attribute,
                folder == "operators",
                inline="inline" in flags,
                source="source" in flags,
                later="later" in flags,
            )
    return table


OPERATORS: dict[str, Operator] = _table()


def custom_operators() -> list[Operator]:
    """The operators that are not metablock's own, by name.

    >>> custom_operators()
    []
    """
    return [OPERATORS[name] for name in sorted(OPERATORS.keys() - _OWN)]


_OWN = frozenset(OPERATORS)


@cache
def _file(module: str) -> ast.Module:
    return ast.parse((_ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8"))


def definition(operator: Operator) -> ast.ClassDef | ast.FunctionDef | None:
    """The class or function of an operator in the syntax of its file; None for a custom operator.

    >>> node = definition(OPERATORS["conv"])
    >>> type(node).__name__, node.name
    ('ClassDef', 'Conv')
    """
    if operator.declared or not operator.module.startswith("metablock."):
        return None
    node = next(node for node in _file(operator.module).body if getattr(node, "name", None) == operator.attribute)
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    return node


def rule_definition(operator: Operator) -> ast.ClassDef | None:
    """The class of a leaf's rule in the syntax of its file; None for a custom operator.

    >>> rule_definition(OPERATORS["conv"]).name
    'ConvRule'
    """
    name = None if operator.declared or not operator.leaf else rule_name(operator.module)
    if name is None:
        return None
    nodes = (node for node in _file(name).body if isinstance(node, ast.ClassDef))
    return next((node for node in nodes if node.name == f"{operator.attribute}Rule"), None)


def _read_schema(operator: Operator) -> Schema:
    node = definition(operator)
    assert node is not None
    doc = ast.get_docstring(node) or ""
    if isinstance(node, ast.ClassDef):
        # A class that makes one of torch's modules has its signature in `__new__`.
        makers = ("__init__", "__new__")
        function = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name in makers), None)
        skip = 1
    else:
        assert isinstance(node, ast.FunctionDef)
        function, skip = node, 2
    if function is None:
        return Schema((), None, (), doc)
    signature = function.args
    params = [
        Param(arg.arg, tuple(_types(arg.annotation)), ... if default is None else ast.literal_eval(default))
        for arg, default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True)
    ]
    variadic = signature.vararg.arg if signature.vararg else None
    return Schema(tuple(params), variadic, tuple(arg.arg for arg in signature.args[skip:]), doc)


def _types(annotation: ast.expr | None) -> list[str]:
    if isinstance(annotation, ast.BinOp):
        return _types(annotation.left) + _types(annotation.right)
    return [ast.unparse(annotation)] if annotation is not None else []
