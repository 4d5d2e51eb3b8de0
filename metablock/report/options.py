"""Which network a verb is asked for: a source and the changes to it. Imports no torch itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..front import Front, front, resolved, warn_of_doubts
from ..language.spec import Spec
from .check import named_source


@dataclass(frozen=True)
class BuildOptions:
    """A network as the command line names it, in the words of :func:`metablock.build`.

    Attributes:
        source: a catalogue name, a path, or ``-`` for the spec on standard input.
        variant: one of the file's variants; None: the one that the name means, or the first.
        edits: changes, applied in order after the variant's.
        classes: replaces the spec's number of classes.
        input: replaces the spec's input size: ``"3x256x192"``.
        large: lifts the caps on sizes, repeats and costs.
        method: a method that trains the network, by name or path.

    >>> BuildOptions("resnet18", classes=10).changes
    ('classes = 10',)
    """

    source: str
    variant: str | None = None
    edits: Sequence[str] = ()
    classes: int | None = None
    input: str | None = None
    large: bool = False
    method: str | None = None

    @property
    def changes(self) -> tuple[str, ...]:
        """Everything that differs from the variant as its file states it, as edits."""
        more = [f"classes = {self.classes}"] if self.classes is not None else []
        more += [f"input = {self.input}"] if self.input is not None else []
        return (*self.edits, *more)

    def arguments(self) -> dict[str, Any]:
        """What is changed in the source, by the arguments of :func:`metablock.front.resolved`."""
        names = ("variant", "edits", "classes", "input", "method")
        return {name: getattr(self, name) for name in names}


def lowered(options: BuildOptions) -> Front:
    """The resolved spec of a network and its typed IR; of a method what it trains, not what it predicts.

    Raises:
        MetablockError: an unknown name, a bad option; its subclass SpecError holds every problem of the spec.

    >>> spec, ir = lowered(BuildOptions("resnet18", classes=10))
    >>> str(ir.output.feature)
    'vector of 10'
    """
    network = front(named_source(options.source), large=options.large, **options.arguments())
    warn_of_doubts(network.ir)
    if network.spec.method is not None:
        return Front(network.spec, replace(network.ir, prediction=None, prediction_steps=[]))
    return network


def resolved_spec(options: BuildOptions) -> Spec:
    """The resolved spec of a network; its shapes are not inferred.

    Raises:
        MetablockError: as :func:`lowered` does, except for wrong shapes.

    >>> resolved_spec(BuildOptions("swin_tiny")).variant
    'swin_tiny_patch4_window7_224'
    """
    return resolved(named_source(options.source), **options.arguments())
