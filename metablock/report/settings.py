"""Who sets a name of a network: the library, the file, traits and variants, edits; each with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import Span
from ..language import ast as e
from ..language.call_checks import bound_by
from ..language.edits import edit_sets
from ..language.printer import show
from ..language.resources import Folder, folder
from ..language.spec import Edit, Spec
from ..language.standard import LIBRARY, standard
from .name_models import Setting

_SHIPPED: tuple[Folder, ...] = ("architectures", "grammars")


def settings(file: Spec, variant: str | None, edits: Sequence[Edit], name: str, *, bound: bool) -> Iterator[Setting]:
    """Who sets a name of a network, the first one first; the last one is what holds.

    Args:
        file: the spec with its variants.
        variant: the full name of the network's variant.
        edits: further edits.
        name: the name.
        bound: whether the name is a binding or column; else it is a section.

    >>> from metablock.catalogue.lookup import catalogue_file
    >>> [one.by for one in settings(catalogue_file("metaformer"), "caformer_s18", (), "token", bound=True)]
    ['the file', 'trait convformer', 'trait caformer']
    """
    if bound:
        for table, bindings in reversed({**file.binding_tables(), "standard": standard()}.items()):
            if name in bindings:
                by = "the standard library" if table == "standard" else "the file"
                yield _of_binding(by, bindings[name].header, bindings[name].body)
    elif name in file.sections:
        node = file.sections[name]
        yield Setting(by="the file", text=f"{name}: {show(node)}", place=place_of(node.span))
    elif name == "input":
        for node in file.inputs.values():
            yield Setting(by="the file", text=f"input: {show(node)}", place=place_of(node.span))
    for source in edit_sets(file, variant) if variant else ():
        by = f"{'variant' if source.name in file.variants else 'trait'} {source.name}"
        yield from (setting for edit in source.edits for setting in _of_edit(by, edit, name))
    yield from (setting for edit in edits for setting in _of_edit("an edit", edit, name))


def _of_edit(by: str, edit: Edit, name: str) -> Iterator[Setting]:
    if not isinstance(edit.value, e.Node):
        yield from (_of_binding(by, one.header, one.body) for one in bound_by(edit) if one.name == name)
        if name == edit.name:
            yield Setting(by=by, text=f"{name}: a table", place=place_of(edit.target.span or edit.span))
    elif edit.name == name:
        text = f"{show(edit.target)}: {show(edit.value)}"
        yield Setting(by=by, text=text, place=place_of(edit.target.span or edit.span))


def _of_binding(by: str, header: e.Header, body: e.Node) -> Setting:
    return Setting(by=by, text=f"{show(header)}: {show(body)}", place=place_of(header.span or body.span))


def place_of(span: Span | None) -> str | None:
    """A place as ``file:line``, an option of the command line by its name.

    Files that metablock ships are named by their folder: ``architectures/swin.yaml:18``.

    >>> from metablock.errors import Text
    >>> place_of(Span(Text("net.yaml", "name: net"), 0, 4)), place_of(None)
    ('net.yaml:1', None)
    """
    if span is None:
        return None
    name = span.text.name
    for shipped in _SHIPPED:
        name = name.replace(f"{folder(shipped)}/", f"{shipped}/") if name.startswith(str(folder(shipped))) else name
    name = f"grammars/{name}" if name == LIBRARY else name
    return name if name.startswith("--") else f"{name}:{span.text.place(span.start)[0]}"


__all__ = ["place_of", "settings"]
