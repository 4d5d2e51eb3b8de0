"""The language: the text of a spec file to a :class:`~metablock.language.spec.Spec`, and back. Imports no torch."""
