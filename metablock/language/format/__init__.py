"""Prints a spec as text, in the canonical form of the files.

``load_text(show_spec(spec)) == spec``. The text has no comments; :func:`format_text` keeps those of a file, and the blank lines
between its entries. The canonical form fixes the order of sections and their groups, the spacing of expressions, which mappings
stand on one line (those that fit), the alignment of columns, quotes (only where YAML needs them), and the alignment of trailing
comments on adjacent lines. Aliases are written out, and stages that are rows become columns.

A resolved spec is printed without its ``variant``; a spec read from the text has none.

``parts.py`` turns a spec into a tree of parts, ``comments.py`` attaches a file's comments to them, ``lines.py`` lays them out.
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

__all__ = ["WIDTH", "format_text", "show_spec", "show_weights", "spec_hash"]


def show_spec(spec: Spec) -> str:
    """The canonical text of a spec, without comments.

    >>> from metablock.language.load import load_text
    >>> print(show_spec(load_text("name: net\\nmodel: conv( 8,3 )>>relu\\ninput: image(3,32)\\n")), end="")
    metablock: 1
    name: net
    input: image(3, 32)
    <BLANKLINE>
    model: conv(8, 3) >> relu
    """
    return laid_out(sections_of(spec))


def show_weights(spec: Spec) -> str:
    """The section `weights` of a spec, as text.

    >>> from metablock.language.load import load_text
    >>> net = "name: net\\ninput: image(3, 32)\\nmodel: pw(8)\\nweights: {timm: {conv.*: c.*, of: other}, other: {x.*: y.*}}\\n"
    >>> print(show_weights(load_text(net)).splitlines()[1])
      timm: {of: other, conv.*: c.*}
    """
    return laid_out({"weights": sections_of(spec)["weights"]})


def spec_hash(spec: Spec) -> str:
    """Identifies a network: the SHA-256 of its canonical text without revision, name, paper, facts, checkpoints and weight rules.

    >>> from metablock.language.load import load_text
    >>> net = "name: {}\\ninput: image(3, 32)\\nmodel: conv(8, 3)\\n"
    >>> spec_hash(load_text(net.format("a"))) == spec_hash(load_text(net.format("b")))
    True
    """
    sections = sections_of(spec.with_(name="", paper={}, facts=Facts(), checkpoints=Facts(), weights={}))
    del sections["metablock"]  # hashes in journals are older than this section
    return sha256(laid_out(sections).encode()).hexdigest()


def format_text(content: str, name: str = "<spec>") -> str:
    """A spec's text in canonical form, with its comments. A canonical text comes back unchanged.

    Args:
        content: the text of a spec file.
        name: what messages call it.

    Raises:
        SpecError: the text is no spec; with every problem of its form.
        MetablockError: the formatter would lose something.

    >>> print(format_text("input: image(3,32)\\nname: net   # mine\\nmodel: conv(8,3)\\n"), end="")
    metablock: 1
    name: net  # mine
    input: image(3, 32)
    <BLANKLINE>
    model: conv(8, 3)
    """
    return formatted(read(Text(name, content)))


def formatted(root: Mapping) -> str:
    """As :func:`format_text`, for a located tree.

    >>> formatted(read(Text("net.yaml", "name: net\\ninput: image(3,32)\\nmodel: pw(8)\\n")))[:23]
    'metablock: 1\\nname: net\\n'
    """
    spec = load(root)
    sections = sections_of(spec)
    comments = comments_of(root)
    attach(comments, sections, root)
    text = laid_out(sections)
    name = root.span.text.name
    again = read(Text(name, text))
    if load(again) != spec or _texts(comments_of(again)) != _texts(comments):  # the caller overwrites a person's file
        hint = "it stays as it is; please report it"
        raise MetablockError(f"{name}: this file cannot be formatted without a loss", hint)
    return text


def _texts(comments: list[Comment]) -> list[str]:
    return sorted(comment.text for comment in comments if comment.text)
