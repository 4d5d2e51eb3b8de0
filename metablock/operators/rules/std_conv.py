"""What is known of ``std_conv`` without torch."""

from __future__ import annotations

from .conv import ConvRule


class StdConvRule(ConvRule):
    """The rule of :class:`metablock.operators.std_conv.StdConv`: a convolution's."""
