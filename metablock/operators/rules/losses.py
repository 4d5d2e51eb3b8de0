"""What is known of ``losses`` without torch."""

from __future__ import annotations

from ...shape import Feature
from . import LeafRule, TensorShapes

_NUMBER = Feature("vector", 1)


class CrossEntropyRule(LeafRule):
    """The rule of :class:`metablock.operators.losses.CrossEntropy`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, target: Feature, where: Feature | None = None) -> Feature:
        return _NUMBER


class BinaryCrossEntropyRule(LeafRule):
    """The rule of :class:`metablock.operators.losses.BinaryCrossEntropy`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, target: Feature) -> Feature:
        return _NUMBER


class FocalLossRule(LeafRule):
    """The rule of :class:`metablock.operators.losses.FocalLoss`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, target: Feature) -> Feature:
        return _NUMBER


class DistillationLossRule(LeafRule):
    """The rule of :class:`metablock.operators.losses.DistillationLoss`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, teacher: Feature) -> Feature:
        return _NUMBER


class InfoNceRule(LeafRule):
    """The rule of :class:`metablock.operators.losses.InfoNce`."""

    takes = ("vector",)

    @staticmethod
    def shape(x: Feature, keys: Feature) -> Feature:
        return _NUMBER


class AverageLossRule(LeafRule):
    """The rule of :class:`metablock.operators.losses.AverageLoss`."""

    takes = ("grid", "tokens", "vector")

    @staticmethod
    def shape(x: Feature, weight: Feature | None = None) -> Feature:
        return _NUMBER


class CentreRule(LeafRule):
    """The rule of :class:`metablock.operators.losses.Centre`."""

    takes = ("vector",)

    @staticmethod
    def tensors() -> TensorShapes:
        return TensorShapes(buffers=("mean",))
