"""Writes starter specs: a small commented architecture, or a copy of an existing one under another name."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import MetablockError
from ..files import write_whole
from ..language.format import format_text
from ..language.spec import REVISIONS
from .lookup import open_spec, source_of

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Sections that describe the base alone.
_OWN = ("paper", "checkpoints", "facts")

STARTER = """\
# {name}: a small MetaFormer to begin with. The language: docs/language.md.
#   metablock check {file}          every mistake, with its place
#   metablock build {file}          parts, parameters, MACs, speed
#   metablock build {file} --set 'token = attention(dim // 32)'
metablock: {revision}
name: {name}
input: image(3, 224)  # channels and extents; signal(12, 5000) and volume(1, 32, 64, 64) work too
classes: 1000

let:               # names for expressions; each use builds anew, and each name can be swapped from outside
  norm: layer_norm(1e-6)
  token: dw(7)     # the token mixer: attention(dim // 32), pool(3), hilo(dim // 32), dynamic_conv(7) ...
  channel: mlp(4)  # the channel mixer
  block: res(norm >> token, scale=1e-5) >> res(norm >> channel, scale=1e-5)  # res(a): x + a(x)
  shrink: norm >> conv(dim, 2, stride=2)

stem: conv(dim[0], 4, stride=4) >> norm
stages:                 # columns, one entry a stage, or one for all; inside a stage `dim` is its own
  depth: [2, 2, 6, 2]
  dim:   [64, 128, 256, 512]
  drop:  ramp(0.1)      # stochastic depth, from 0 to this rate
  down:  [id, shrink, shrink, shrink]
  body:  depth * block  # n * a: n copies, each with weights of its own
head: norm >> global_pool >> linear(classes)

init: {{linear: trunc_normal(0.02), conv: trunc_normal(0.02)}}

variants:  # edits of the above; the first is the default
  small: {{}}
  large: {{depth: [3, 3, 12, 3], dim: [96, 192, 384, 768]}}
"""


def new(name: str, *, base: str | None = None, folder: str | Path = ".", force: bool = False) -> tuple[Path, str | None]:
    """Writes a spec that builds, ``NAME.yaml``.

    Args:
        name: the name of the architecture and its file: letters, digits and underscores, a letter first.
        base: a catalogue name or a file to copy: its text under the new name, with comments, without the paper and its figures.
            By default a small MetaFormer with remarks.
        folder: the folder of the file.
        force: whether to replace an existing file.

    Returns:
        The file, and the variant that ``base`` names, or None if that is the file's first.

    Raises:
        MetablockError: a bad name, an unknown base, an existing file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path, variant = new("my_net", base="swin_small", folder=folder)
    ...     path.name, variant, path.read_text().splitlines()[:2]
    ('my_net.yaml', 'swin_small_patch4_window7_224', ['metablock: 1', 'name: my_net'])
    """
    if not _NAME.fullmatch(name):
        hint = "letters, digits, underscores, a letter first: my_net"
        raise MetablockError(f"'{name}' is no name for an architecture", hint)
    path = Path(folder) / f"{name}.yaml"
    if path.exists() and not force:
        raise MetablockError(f"{path} exists", "choose another name, or --force replaces it")
    variant = None
    if base is None:
        text = STARTER.format(name=name, file=path.name, revision=REVISIONS[-1])
    else:
        spec, named = open_spec(base)
        variant = named if named and named != next(iter(spec.variants), None) else None
        text = renamed(source_of(base), name)
    write_whole(path, text)
    return path, variant


def renamed(text: str, name: str) -> str:
    """A spec's canonical text under another name, without the sections that describe the old one alone.

    >>> print(renamed("name: net\\npaper: {year: 2020}\\ninput: image(3, 32)\\nmodel: pw(8)\\n", "mine"), end="")
    metablock: 1
    name: mine
    input: image(3, 32)
    <BLANKLINE>
    model: pw(8)
    """
    text = re.sub(r"\A# yaml-language-server:.*\n", "", text)  # its path is that of the old place
    top, *sections = re.split(r"(?m)^(?=[A-Za-z_]+:)", text)
    copied = [top]
    for section in sections:
        if section.split(":", 1)[0] in _OWN:
            copied[-1] = re.sub(r"\n(#.*\n)+$", "\n", copied[-1])  # the remark above the section
        else:
            copied.append(re.sub(r"\Aname:.*", f"name: {name}", section))
    return format_text("".join(copied))
