"""A built network as one file of plain PyTorch: readable, without metablock, equal to the bit.

The file is written from the module itself, not from its spec: from the text of each ``forward``, the names of its parts and the
settings of its leaves. So whatever has become of a network since it was built (parts merged for deployment, say) is in it.
"""

from __future__ import annotations

from ...backend.block import Block
from ...errors import MetablockError
from .classes import write_classes
from .header import header
from .leaves import read
from .operators import embedded, imports
from .text import wrapped


def standalone(model: Block) -> str:
    """The text of a Python file with a class ``Model`` that does what this model does.

    ``Model()`` needs torch alone. Its state dict has the same keys and shapes, and with the same state it gives the same
    numbers, to the bit, in training and in evaluation, in eager mode.

    Args:
        model: from :func:`metablock.build`.

    Raises:
        MetablockError: a part is not one that metablock made.
    """
    if not isinstance(model, Block) or model.ir is None:
        raise MetablockError(f"a {type(model).__name__} is no network of metablock\n  give what metablock.build returns")
    tree = read(model)
    pieces = embedded(tree.operators())
    body = [*pieces.texts, *write_classes(tree, reserved=pieces.names)]
    code = "\n\n\n".join("\n".join(wrapped(line)) for line in body)
    gap = [""] * (2 if code.startswith(("class", "def")) else 1)
    return "\n".join([*header(model), "", *imports(code, pieces.imports), *gap, code]) + "\n"


__all__ = ["standalone"]
