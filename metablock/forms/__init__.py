"""Forms: operators whose arguments are expressions. One file a family, one function a form, one line in the registry.

A form wires its arguments with leaves and a few expressions on tensors; the arithmetic is in the leaves. ``form(t, x, *, ...)``
is called with the tracer and the value that arrives; its keyword-only parameters are the argument schema. ``Expr`` is an
expression (an :class:`~metablock.lowering.arguments.Arg`, applied with ``t.apply(arg, value)``), ``Lazy`` a number that the form
evaluates. The default of an ``Expr`` is written in the language.

Why not classes that take modules: an expression may read wires from around it (``over=z``), and the names of parameters come from
the text. Both are plain when the form writes into the open level, and need special cases when a module calls modules.
"""
