"""What other libraries' names are called here: torch's, torchvision's, timm's, Keras', einops', JAX's.

A row of the tables is the names, without case and underscores, then what this language has for them. Code stands in backquotes;
where a row has several answers, the first counts whose every operator and argument exists. A test lowers all code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from . import ast as e
from .parser import expression
from .registry import OPERATORS
from .standard import BUILTIN, NUMERIC, standard

_NONE = "the language has no such operator; one of your own is a plug-in: docs/plugins.md"
_LAYOUTS = "operators convert layouts themselves: docs/language.md, section 6"
_LATER = " ;; "

# What a name of another library stands behind in Python.
LIBRARIES = ("nn", "F", "torch", "timm", "keras", "tf", "jnp", "jax", "np", "einops", "flax")

_NAMES = f"""
# Wiring
identity: `id`
sequential, compose, chain: modules follow each other as `a >> b`
modulelist, repeat, nblocks: `n * a` repeats a module; each copy is built anew
moduledict, parallel, branches: `a || b` concatenates branches, `a + b` adds them
cat, concat, concatenate, hstack: channels are concatenated with `concat(a, b)`, tokens with `join(a, b)`
stack: `a || b` concatenates channels, `join(a, b)` tokens; a list of streams is `[a, b]`
add, addition, plus: `a + b`
subtract, sub: `a - b`
multiply, mul, prod: `a * b`
residual, shortcut, skip, skipconnection, resblock: `res(a)` adds what arrives
average: `mean(a, b)`
lambda, apply: an expression is a module of its own where it has a name under "let"
parameter, buffer, embedding, constant: `learned(n)` is a table of n learned tokens
clstoken, cls: `class_token`
where, select: `alternate(a, b)`, or an "if", which chooses when the network is built
unbind: `chunk(n)` gives n parts of the channels
gather, indexselect: `take(0)` takes one token, `pick([0, 2])` several, `reorder(linear(1) >> argsort)` orders them
stopgradient, detach: `a >> stop` has no gradient, `frozen(a)` is not trained
nograd: `frozen(a)` is not trained
topk: `top(2, by=linear(1))` takes the two best tokens
gridsample, remap, bilinearsample: `sample(coordinates + pw(2))`
checkpoint, remat: a training recipe decides that, not the network
einmix, einsum: products of two streams are `a * b`, of two matrices of tokens `a >> matmul(b >> transpose)`

# Layouts
rearrange, reshape, permute, transpose, view, swapaxes, moveaxis, movedim, channelslast, unsqueeze, squeeze, expand: {_LAYOUTS}
totokens, seq, sequence: `tokens`
tomap, togrid, unflatten, tokenstomap: `tokens >> grid(16, 16)`
flattenchannels: `flatten`
pixelunshuffle, spacetodepth: `unfold(2, 2)` moves a neighbourhood into channels, `fold(2)` moves it back
pixelshuffle, depthtospace: `fold(2)`
im2col: `unfold(3)`
centercrop, cropping, slice, narrow: `crop(8)` leaves the middle of a map, `crop(8, 3)` what begins at 3
roll, shift, cyclicshift: `window(4, a, shift=2)` moves the windows
flip, rot90, repeatinterleave: {_NONE}
expandasspatial, broadcast: sums and products spread vectors over maps by themselves: `id + global_pool`

# Arithmetic
clamp, hardtanh: `clip(0, 1)`
max, elementwisemax: `maximum(a, b)`
min, elementwisemin: `minimum(a, b)`
square, pow, power: `a ** 2`
pad: convolutions and pools pad, `conv(n, 3, padding=1)`; alone the language has no such operator
rotary: an argument: `attention(2, rotary=axial)`
rsqrt: `id ** -0.5`
reciprocal, inverse: `id ** -1`
neg, negative: `times(-1)`
bmm, dot: `a >> matmul(b >> transpose)`
normalize: `l2norm`
reducemean: `global_pool` of a map, `mean(a, b)` of branches
amax: `global_pool("max")`

# Layers
dense, fc, fullyconnected, denselayer: `linear(n)`
conv1d, conv2d, conv3d, convolution, convolution2d: `conv(n, 3)`
pointwise, pointwiseconv, conv1x1: `pw(n)`
depthwise, depthwiseconv, depthwiseconv2d, dwconv, dwconv2d: `dw(3)`
separableconv2d, separableconv, dwsepconv: `dw(3) >> pw(n)`
convtranspose1d, convtranspose2d, convtranspose3d,
conv2dtranspose, transposedconv, deconvolution, upconv: `deconv(n, 2, stride=2)`
deformconv2d, dcn, dcnv2: `deform_conv(n, 3)`
convbnact, convnormact, convbn, convbnrelu, conv2dnormactivation, basicconv2d: `conv_bn(n, 3) >> relu`
stdconv2d, wsconv2d, scaledstdconv2d: `std_conv(n, 3)`
dynamicconv2d, condconv2d: `dynamic_conv(3)`
ffn, feedforward, mlpblock, positionwisefeedforward: `mlp(4)`
glu, geglu, gatedmlp, reglu: a gate is a product of two streams: `linear(n) * (linear(n) >> gelu)`
swiglu, swiglupacked, swigluffn: a gate is a product of two streams: `linear(n) * (linear(n) >> silu) >> linear(c)`
squeezeexcite, squeezeexcitation, semodule, selayer, seblock: `se(4)`
eca,
cbam, effectivese: `se(4)` is the gate that has a name here; others are products: `id * (global_pool >> linear(c) >> sigmoid)`
patchembed, patchembedding, patchify: `conv(n, 4, stride=4)`
patchmerging, downsample, downsampling: `conv(n, 2, stride=2)`; Swin's is `unfold(2, 2) >> layer_norm >> linear(n)`
hybridembed, stem: a file's section of this name: a chain such as `conv(n, 7, stride=2)`
posembed, positionalembedding, positionembedding, positionalencoding, absposembed: `position`
relpos, relposbias, relativepositionbias, relposbiastable: `attention(2, pos=relative_bias)`
rope, rotaryembedding, rotaryemb, ropemixed: rotary positions are an argument: `attention(2, rotary=axial)`
fourierembed: `fourier(4)`
sincosposembed, sincos, sinusoidal, positionalencodingsine: `sine(4)`
meshgrid, coordconv, addcoords: `coordinates`

# Attention
attn, atn, multiheadattention, mha, multiheadselfattention, selfattention, msa, mhsa, multiheaddotproductattention,
scaleddotproductattention, sdpa: `attention(2)`
crossattention, crossattn: `attention(2, over=a)` reads its keys from a
windowattention, windowedattention, wmsa: `window(4, attention(2))`
swmsa, shiftedwindowattention: `window(4, attention(2), shift=2)`
linearattention: `attention(2, feature=relu)`
causalattention, causalselfattention, maskedselfattention: `attention(2, over=past)`
dynamicfilter, dynamicfilterlayer, localfilter, lightconv, lightweightconv: `attention(2, over=near(3), logits=linear(18))`
neighborhoodattention, natten, neighborhoodattention2d: `attention(2, over=near(3))`
deformableattention, msdeformattn: `deformable(2)`
groupedqueryattention, gqa: `attention(4, kv_heads=2)`
multiqueryattention, mqa: `attention(4, kv_heads=1)`
channelattention, xca, crosscovarianceattention: `attention(2, over="channels")`
talkinghead, talkingheadattention: `attention(2, mix=linear(2))` ;; {_NONE}

# Norms
ln, layernorm2d, layernormchannelsfirst: `layer_norm`
bn, batchnorm1d, batchnorm2d, batchnorm3d, batchnormalization, syncbatchnorm, frozenbatchnorm2d: `batch_norm`
gn, groupnormalization: `group_norm(4)`
layernormalization: `layer_norm`
instancenorm, instancenorm1d, instancenorm2d, instancenorm3d, instancenormalization: `group_norm(c)`
localresponsenorm, lrn, weightnorm, spectralnorm: {_NONE}
rmsnorm, rmsnormalization, simplenorm: `l2norm >> times(c ** 0.5) >> scale(1)`
globalresponsenorm: `grn`
layerscale, gamma, scalelayer: `scale(1e-6)`
affine, affinetransform: `layer_norm` has its own; alone, `scale(1)`

# Activations
swish: `silu`
hswish: `hard_swish`
hsigmoid: `hard_sigmoid`
geluapprox, gelutanh, approxgelu, tanhgelu: `gelu("tanh")`
quickgeluactivation: `quick_gelu`
leakyrelu, prelu, rrelu, selu, celu, mish, hardmish, threshold, softsign, logsigmoid, hardshrink, maxout: {_NONE}
squaredrelu, sqrelu, relusquared: `relu ** 2`
logsoftmax: `softmax >> log`
activation, act, nonlinearity: an activation stands in the chain by its name: `relu`

# Pooling and sizes
globalaveragepooling1d, globalaveragepooling2d, globalaveragepooling3d, globalavgpool,
globalavgpool2d, gap, avgpoolglobal, selectadaptivepool2d: `global_pool`
globalmaxpooling2d, globalmaxpool, globalmaxpool2d, gmp: `global_pool("max")`
adaptiveavgpool1d, adaptiveavgpool2d, adaptiveavgpool3d: `adaptive_avg_pool(7)`, or `global_pool` for one value a channel
adaptivemaxpool1d, adaptivemaxpool2d, adaptivemaxpool3d: `adaptive_max_pool(7)`
avgpool1d, avgpool2d, avgpool3d, averagepooling, averagepooling2d: `avg_pool(2, stride=2)`
maxpool1d, maxpool2d, maxpool3d, maxpooling, maxpooling2d: `max_pool(2, stride=2)`
lppool2d, blurpool, blurpool2d: {_NONE}
interpolate, upsampling2d, upsample2d,
upsamplingnearest2d, upsamplingbilinear2d, resizing, imageresize: `upsample(2)`; `resize(32)` to a size
zeropad2d, zeropadding2d, reflectionpad2d, constantpad2d, padding: `pad(1)` ;; convolutions and pools pad: `conv(n, 3, padding=1)`

# Regularisation
dropout1d, dropout2d, dropout3d, spatialdropout2d, alphadropout, dropblock, dropblock2d: `dropout(0.1)`
stochasticdepth, dropconnect: `drop_path(0.1)`, or a number in the column "drop"

# Recurrences
rnn, lstmcell, grucell, rnncell, simplernn: `lstm(n)`, `gru(n)`
mamba, ssm, s4, selectivescan, rwkv: a state-space mixer is written: examples/recurrent_mixer.yaml
"""

# Arguments: what an operator calls them. Words in backquotes are candidates, in this order: the first that the operator takes.
_LEAVE_OUT = "leave it out: the width that arrives is known"
_ARGUMENTS = f"""
inchannels, infeatures, inplanes, inchans, indim, cin, inputdim, inputsize, inch, features, numfeatures, numchannels,
normalizedshape: {_LEAVE_OUT}
embeddim, dmodel, hiddensize, embeddims, channels: `out` ;; `n` ;; {_LEAVE_OUT}
outchannels, outfeatures, outplanes, outchans, outdim, cout, filters, units, outputdim, planes, outch, width, n: `out` ;; `n`
out: `n`
numclasses, nbclasses: `out` ;; `n`
kernelsize, ksize, windowsize, kernelshape, k, kernel, kernels: `kernel` ;; `k` ;; `size`
k: `kernel` ;; `n`
size, outputsize: `size` ;; `kernel` ;; `k`
strides, windowstrides: `stride`
pad, pads: `padding`
paddingmode: padding is with zeros
dilationrate, dilations, rate, kerneldilation: `dilation` ;; `rate`
numgroups, featuregroupcount, cardinality, g: `groups`
usebias, qkvbias, convbias, withbias: `bias`
numheads, nheads, nhead, head, h: `heads`
dimhead, dimheads, headdims, keydim, dk, dimkey, qkdim: `head_dim`
dv, vdim, valuedims: `value_dim`
mlpratio, expansion, expansionratio, expandratio, hiddenratio, ratio: `r` ;; `ratio`
hiddenfeatures, hiddendim, intermediatesize, hiddenchannels, mlpdim, dimfeedforward: `r` ;; {_LEAVE_OUT}
reduction, rdratio, reductionratio, squeezefactor: `r`
activation, actlayer, actfn, activationlayer, nonlinearity: `act` ;; an activation stands behind it in the chain: `a >> relu`
gatelayer, scaleactivation: `gate`
normlayer, norm: a norm stands before or behind it in the chain: `layer_norm >> a`
p, prob, droprate, dropprob, dropout, drop, rate, keepprob, attndrop, projdrop, droppath: `rate` ;; `drop`
eps, epsilon, layernormeps, varianceepsilon: `eps`
initvalues, initvalue, layerscaleinitvalue, gammainit, init: `init` ;; `gamma` ;; rules for initial values stand under "init"
gamma, beta: `init` ;; `gamma`
elementwiseaffine, scale, center, usescale: `affine` ;; `scale` ;; `bias`
affine, trackrunningstats: leave it out; the norm that has the switch is `layer_norm(affine=false)`
qkscale, scalefactor: `scale` ;; `factor`
factor: `factor` ;; `size`
inplace: leave it out: the compiled code decides
dim, dims, axis, axes, keepdim,
keepdims, dataformat, channelslast, layout, batchfirst: leave it out: operators work on channels or on the grid by themselves
name, dtype, device, trainable, training: leave it out; a name is given under "let", dtype and device when the network is built
kerneldim: `kernel`
alignedcorners: `align_corners`
ceilmode: `ceil`
countincludepad: `count_padding`
interpolation, resample: `mode`
shiftsize, shifts: `shift`
temp, tau: `temperature`
x, input, inputs: leave it out: data flows with `a >> b`
query: `q` ;; `over`
key, keys, context, memory: `k` ;; `kv` ;; `over`
value, values: `v`
attnmask, maskattention: `mask`
causal, iscausal: keys up to the query are a source: `over=past`
relpos, posbias, attnbias: `pos`
rope, rotarydim: `rotary`
numkvheads, nkvheads, kvhead: `kv_heads`
"""


def plain(name: str) -> str:
    """A name without case and underscores: what the tables are looked up by.

    >>> plain("Layer_Norm")
    'layernorm'
    """
    return name.lower().replace("_", "")


def _read(table: str) -> Mapping[str, tuple[str, ...]]:
    result: dict[str, tuple[str, ...]] = {}
    text = re.sub(r",\n(?=\w)", ", ", table)
    for line in text.splitlines():
        if line and not line.startswith("#"):
            names, _, answer = line.partition(": ")
            for name in names.split(","):
                result.setdefault(plain(name.strip()), tuple(answer.split(_LATER)))
    return result


@cache
def names() -> Mapping[str, tuple[str, ...]]:
    """The answers for every name of another library, the first of which that can be written counts."""
    return _read(_NAMES)


@cache
def arguments() -> Mapping[str, tuple[str, ...]]:
    """The answers for the name of every argument in other libraries."""
    return _read(_ARGUMENTS)


def code(answer: str) -> list[str]:
    """The code in an answer.

    >>> code("channels are concatenated with `a || b`, tokens with `join(a, b)`")
    ['a || b', 'join(a, b)']
    """
    return re.findall("`([^`]+)`", answer)


def called_here(name: str) -> str | None:
    """What a name of another library is called here, as a hint, or None.

    >>> called_here("Swish"), called_here("Dense")
    ("did you mean 'silu'?", 'here it is `linear(n)`')
    """
    answer = _answer(names().get(plain(name), ()))
    if answer is None:
        return None
    if re.fullmatch(r"`\w+`", answer):
        return f"did you mean '{answer[1:-1]}'?"
    return f"here it is {answer}" if re.fullmatch("`[^`]+`", answer) else answer


def argument_here(name: str, takes: Sequence[str]) -> str | None:
    """What an argument of another library is called here, as a hint; ``takes`` are the arguments that the operator has.

    >>> argument_here("kernel_size", ["out", "kernel"]), argument_here("in_channels", ["out", "kernel"])
    ("did you mean 'kernel'?", 'leave it out: the width that arrives is known')
    """
    for answer in arguments().get(plain(name), ()):
        word = re.fullmatch(r"`(\w+)`", answer)
        if word is None:
            return answer
        if word[1] in takes:
            return f"did you mean '{word[1]}'?"
    return None


def operators_for(name: str) -> set[str]:
    """The operators that the answer for another library's name uses.

    >>> operators_for("Swish"), sorted(operators_for("SWMSA"))
    ({'silu'}, ['attention', 'window'])
    """
    answer = _answer(names().get(plain(name), ()))
    nodes = (node for text in code(answer or "") for node in e.walk(expression(text)))
    return {node.id for node in nodes if isinstance(node, e.Name) and len(node.id) > 1}


def _answer(answers: Iterable[str]) -> str | None:
    """The first answer whose code can be written."""
    return next((answer for answer in answers if all(map(can_be_written, code(answer)))), None)


def can_be_written(text: str) -> bool:
    """Whether all names, and the arguments of all operators, of a piece of code exist.

    >>> can_be_written("linear(n)"), can_be_written("linear(units=n)"), can_be_written("dense(n)")
    (True, False, False)
    """
    for part in e.walk(expression(text)):
        if isinstance(part, e.Call) and isinstance(part.func, e.Name) and part.func.id in OPERATORS:
            takes = OPERATORS[part.func.id].schema.names()
            if any(argument.name is not None and argument.name not in takes for argument in part.args):
                return False
        if isinstance(part, e.Call) and isinstance(part.func, e.Name) and part.func.id in set(BUILTIN) - OPERATORS.keys():
            return False
        if isinstance(part, e.Name) and not (len(part.id) == 1 or part.id in OPERATORS or part.id in _known()):
            return False
    return True


@cache
def _known() -> frozenset[str]:
    return frozenset((*standard(), *BUILTIN, *NUMERIC))
