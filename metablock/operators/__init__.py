"""Operators: the leaves of a network. One file, one class, one line in :mod:`metablock.language.registry`.

An operator is a plain ``nn.Module`` that is usable without the rest of metablock. What the compiler reads of it:

``takes``
    The layouts that ``forward`` accepts (see :class:`metablock.shape.Feature`), most wanted first. The compiler converts what
    arrives, so no operator permutes in and out for itself. Channels-last operators take ``("grid", "tokens", "vector")``,
    i.e. any ``(b, ..., c)``; elementwise ones take all four.
``__init__(self, <context>, *, <arguments>)``
    The keyword-only parameters, annotated, are the argument schema of the spec language, in positional order. Annotations
    are unions of ``int``, ``float``, ``bool``, ``str``, ``list[...]`` and ``None``. The positional parameters are supplied by the
    compiler from what arrives, by name: ``c``, ``grid``, ``rank``, ``prefix``, ``n``, ``layout``.
``shape(x, ..., *, <some of the arguments>) -> Feature``
    A static method, integers only, needed where the output's shape differs from the input's (after conversion to an accepted
    layout). It raises :func:`metablock.errors.error` when the shapes do not fit; the compiler adds the place.
``reset_parameters(self)``
    The default initialisation; ``__init__`` calls it. The builder seeds the generator by the operator's path.

A ``forward`` has no Python number that differs between blocks (a rate, an index): such a number would force one graph a block.
It lives in a non-persistent buffer.
"""
