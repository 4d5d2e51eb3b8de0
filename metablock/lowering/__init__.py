"""Lowering: from a :class:`~metablock.language.spec.Spec` to a typed IR (:mod:`metablock.lowering.ir`). Imports no torch."""
