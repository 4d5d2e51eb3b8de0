"""A spec as text, in the canonical form of the files.

``load_text(show_spec(spec)) == spec``, but for comments; :func:`format_text` keeps those, and the blank lines between entries.
What is canonical: the order of the sections and their groups, a blank's place in expressions, which maps stand in one line (those
that fit into it), columns below each other, quotes only where YAML asks for them, trailing comments of adjacent lines in one
column. Aliases are written out, stages that are rows become columns.

Also for resolved specs, whose ``variant`` is a note for people: it is not printed, and a text that is read again has none.

``parts.py`` turns a spec into the tree of what is written, ``comments.py`` hangs the comments of a file into it, ``lines.py``
lays it out.
"""

from __future__ import annotations

from hashlib import sha256

from ...errors import MetablockError, Text
from ..load import load
from ..spec import Facts, Spec
from ..yaml import Mapping, read
from .comments import Comment, attach, comments_of
from .lines import WIDTH, laid_out
from .parts import sections_of

__all__ = ["WIDTH", "format_text", "show_spec", "spec_hash"]


def show_spec(spec: Spec) -> str:
    """The text of a spec."""
    return laid_out(sections_of(spec))


def spec_hash(spec: Spec) -> str:
    """What identifies the network: the SHA-256 of its text without revision, name, paper, facts and weight tables.

    >>> from metablock.language.load import load_text
    >>> net = "name: {}\\ninput: image(3, 32)\\nmodel: conv(8, 3)\\n"
    >>> spec_hash(load_text(net.format("a"))) == spec_hash(load_text(net.format("b")))
    True
    """
    sections = sections_of(spec.with_(name="", paper={}, facts=Facts(), checkpoints=Facts(), weights={}))
    del sections["metablock"]  # journals hold hashes that were made before files stated it
    return sha256(laid_out(sections).encode()).hexdigest()


def format_text(content: str, name: str = "<spec>") -> str:
    """A spec's text in canonical form, its comments kept; a text that is in it already comes back as it is.

    Args:
        content: the text of a spec file.
        name: what messages call it.

    Raises:
        SpecError: the text is no spec, with every problem of its form.
    """
    return formatted(read(Text(name, content)))


def formatted(root: Mapping) -> str:
    """The same for a text that is read. Raises SpecError."""
    spec = load(root)
    sections = sections_of(spec)
    comments = comments_of(root)
    attach(comments, sections, root)
    text = laid_out(sections)
    name = root.span.text.name
    again = read(Text(name, text))
    if load(again) != spec or _texts(comments_of(again)) != _texts(comments):  # nobody's file is written over on trust
        raise MetablockError(f"{name}: this file cannot be formatted without a loss\n  it stays as it is; please report it")
    return text


def _texts(comments: list[Comment]) -> list[str]:
    return sorted(comment.text for comment in comments if comment.text)
