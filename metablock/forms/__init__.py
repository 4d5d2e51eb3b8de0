"""Composite operators, or forms: operators whose arguments are expressions. A file has one family, each form is one function.

``form(t, x, *, ...)`` gets the tracer and the value (or list of values) that enters, and returns a value, a list, or None if the
result is absent. Its keyword-only parameters are its arguments in a spec. An ``Expr`` or a ``Module`` is an expression, which
``t.apply(arg, value)`` lowers; a ``Lazy`` is a number that the form evaluates itself. The default of an ``Expr`` is text in the
language. A form emits leaf operators and short expressions on tensors into the open subgraph: the arithmetic is in the leaves.

Why not classes that take modules: an expression may read values of the stream around it (``over=z``), and parameter names come
from the text. Both come by themselves if a form writes into the open subgraph; both need special cases if modules call modules.

In the examples, ``shape_of`` (:mod:`metablock.lowering.example`) prints the output shape for an input that is a map,
``64x14x14``, or has another layout, ``tokens 1 + 14x14 x 64``. Everything runs on integers: no tensor is allocated.
"""
