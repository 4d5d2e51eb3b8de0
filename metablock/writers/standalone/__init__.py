"""Standalone code: a built network as one readable file of plain PyTorch, equal to the bit.

The file is written from the module, not from its spec: from the text of each ``forward``, the names of the parts and the settings
of the leaves. So it includes every change since the network was built, such as merged parts.
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
    """Returns the text of a Python file with a class ``Model`` equivalent to this model.

    ``Model()`` needs only torch. Its state dict has the same keys and shapes. With the same state it computes the same numbers in
    eager mode, to the bit, in training and in evaluation.

    Args:
        model: from :func:`metablock.build`.

    Raises:
        MetablockError: the model, or one of its parts, was not built by metablock.

    >>> import metablock
    >>> from metablock.language.load import load_text
    >>> model = metablock.build(load_text("name: net\\ninput: image(3, 8)\\nmodel: conv(4, 3) >> relu"))
    >>> print(standalone(model).rpartition("\\n\\n\\n")[2], end="")
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.relu = nn.ReLU()
    <BLANKLINE>
        def forward(self, x):
            return self.relu(self.conv(x))
    """
    if not isinstance(model, Block) or model.ir is None:
        raise MetablockError(f"a {type(model).__name__} is no network of metablock", "give what metablock.build returns")
    tree = read(model)
    pieces = embedded(tree.operators())
    body = [*pieces.texts, *write_classes(tree, reserved=pieces.names)]
    code = "\n\n\n".join("\n".join(wrapped(line)) for line in body)
    gap = [""] * (2 if code.startswith(("class", "def")) else 1)
    return "\n".join([*header(model), "", *imports(code, pieces.imports), *gap, code]) + "\n"


__all__ = ["standalone"]
