"""Operators: the leaves of a network, a class each (activations share a file), with a line in :mod:`metablock.language.registry`.

An operator is usable without the rest of metablock. What torch has is torch's: the class of such an operator has the arguments of
the spec language, and calling it makes torch's own module, so that tools which look for ``nn.Linear`` find it. All others are
plain ``nn.Module`` classes. What the compiler needs before there is a module stands apart, in integers and without torch: the
class extends its rule, ``Conv`` in ``conv.py`` extends ``ConvRule`` in ``rules/conv.py`` (:mod:`metablock.operators.rules`); the
class of a custom operator is its own rule. A rule has:

``takes``
    The layouts that ``forward`` accepts (see :class:`metablock.shape.Feature`), the preferred one first. The compiler converts
    the input, so no operator permutes in and out for itself. Channels-last operators take ``("grid", "tokens", "vector")``,
    i.e. any ``(b, ..., c)``; elementwise ones take all four.
``shape(x, ..., *, <some of the arguments>) -> Feature``
    A static method on integers, needed where the output's shape differs from the input's (after conversion to an accepted
    layout). It raises :func:`metablock.errors.error` when the shapes do not fit; the compiler adds the place.
``tensors(<some of the context>, *, <some of the arguments>) -> TensorShapes``
    A static method: the sizes of the module's parameters, and the names of its buffers in the state dict. Needed where it
    has any. A custom operator has none: torch is asked for its module on ``meta``.
``along = True``
    ``forward`` works along sequences, ``(b, n, c)``, and returns its output and what the network leaves behind (the states of
    ``nn.LSTM``). The compiler takes a grid apart into sequences by the argument ``over`` (:mod:`metablock.lowering.sequences`).
``constant``
    What stands for it inside ``constant(a)``: a class with the same ``__init__``, ``"file.Class"``; empty where there is none.
    Without it the weights of its own class become buffers.

A class has:

``__init__(self, <context>, *, <arguments>)``, or ``__new__(cls, <context>, *, <arguments>)`` where it makes a module of torch's
    The keyword-only parameters, annotated, are the argument schema of the spec language, in positional order. Annotations
    are unions of ``int``, ``float``, ``bool``, ``str``, ``list[...]`` and ``None``. The compiler supplies the positional
    parameters from the input, by name: ``c``, ``grid``, ``rank``, ``prefix``, ``n``, ``layout``.
``roles``
    What its own parameters are, ``{"weight": "table"}``, by the name of a parameter or of a submodule
    (:mod:`metablock.backend.roles`). One called ``bias`` is a bias without being named. Weight decay goes by it.
``reset_parameters(self)``
    The default initialisation; ``__init__`` calls it. The builder seeds the generator by the operator's path.

A ``forward`` has no Python number that differs between blocks (a rate, an index): such a number would force one graph per block.
It lives in a non-persistent buffer. Nor does it compute with the sizes of its input in Python (loops, ``if``, ``range``):
``torch.fx`` could not trace it. Where that is necessary, a function of the module does it, declared by ``torch.fx.wrap``.

==================  =====================================  ================================================================
operator            torch's class                          differs
==================  =====================================  ================================================================
adaptive_avg_pool   ``AdaptiveAvgPool1d, 2d, 3d``          no
adaptive_max_pool   ``AdaptiveMaxPool1d, 2d, 3d``          no
avg_pool            ``AvgPool1d, 2d, 3d``                  ``"same"`` padding by the input's size: a subclass pads first
batch_norm          ``BatchNorm1d, 2d, 3d``                no; ``gamma`` is set when it is made
conv                ``Conv1d, 2d, 3d``                     ``"same"`` padding by the input's size: a subclass pads first
deconv              ``ConvTranspose1d, 2d, 3d``            no
dropout             ``Dropout``                            subclass with its own ``forward``: the rate is a buffer
elu                 ``ELU``                                no
embedding           ``Embedding``                          no
gelu                ``GELU``                               no
group_norm          ``GroupNorm``                          without bias: a subclass without the parameter, torch's forward
gru, lstm           ``GRU``, ``LSTM``                      no; a network goes on with the first of their results
hard_sigmoid        ``Hardsigmoid``                        no
hard_swish          ``Hardswish``                          no
layer_norm          ``LayerNorm``                          no; maps are brought into channels-last layout before it
linear              ``Linear``                             no
max_pool            ``MaxPool1d, 2d, 3d``                  ``"same"`` padding by the input's size: a subclass pads first
pad                 ``ConstantPad1d, 2d, 3d`` and others   no
relu, relu6         ``ReLU``, ``ReLU6``                    no
resize              ``Upsample``                           ``antialias``: a subclass passes it on
rms_norm            ``RMSNorm``                            no
shuffle             ``ChannelShuffle``                     channels last: a class of our own
sigmoid, silu       ``Sigmoid``, ``SiLU``                  no
softmax             ``Softmax``                            subclass with its own ``forward``: a temperature, parts
softplus, tanh      ``Softplus``, ``Tanh``                 no
std_conv            ``Conv1d, 2d, 3d``                     subclass with its own ``forward``: standardises the filters
upsample            ``Upsample``                           no
==================  =====================================  ================================================================

Torch has no class for the others, or one with another interface: ``global_pool`` gives a vector (``AdaptiveAvgPool2d(1)`` a
map), ``unfold`` keeps the grid (``Unfold`` flattens it), ``learned``, ``position`` and ``relative_bias`` hold tables in the
shapes of the papers' checkpoints and take no ids (``Embedding`` does), and the cores of attention have no projections
(``MultiheadAttention`` has).
"""
