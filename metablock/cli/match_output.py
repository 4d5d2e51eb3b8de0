"""The text of ``weights match``: YAML to paste, and comments on what is proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer

from ..report.weights import RulesProposal
from ..weights.folding import fold
from .names_output import wrapped

_WIDTH, _SHOWN = 80, 12


def proposal_text(proposal: RulesProposal) -> None:
    """Prints the section `weights`, then, as comments of YAML, what is proved, what is not, and what has no partner."""
    typer.echo(proposal.yaml, nl=False)
    for remark in _remarks(proposal):
        for line in wrapped(remark, _WIDTH, "# ", "#   "):
            typer.echo(line)


def _remarks(proposal: RulesProposal) -> Iterator[str]:
    once = "each of theirs is used once"
    if proposal.shared:
        once = f"of theirs {len(proposal.shared)} fill several of ours ({_some(list(proposal.shared))}), the others one"
    rest = f", {len(proposal.unused)} there are not used ({_some(proposal.unused)})" if proposal.unused else ""
    if proposal.complete:
        filled = f"{proposal.used} of {proposal.ours} tensors, by shape"
        yield f"proved: a new '{proposal.network}' takes the checkpoint; {filled}; {once}{rest}"
    else:
        yield f"not complete: {proposal.used} of {proposal.ours} tensors of '{proposal.network}' are matched"
    for names, text in (
        (proposal.by_order, "not decided by shapes or names, but by the order alone"),
        (proposal.by_names, "assigned by names, against the order"),
        (proposal.by_count, "assigned by likeness of names, since the numbers of such tensors differ"),
        (proposal.missing, "ours without partner"),
        (proposal.left, "theirs without partner"),
    ):
        if names:
            yield f"{len(names)} {text}: {_some(names)}"
    if proposal.sorted:
        yield "the file is sorted by name: it does not hold the order of registration, which a .pth file does"
    if proposal.fits_already and proposal.fits_already != proposal.names:
        yield f"the names of '{proposal.fits_already}' take this checkpoint as well"
    yield "not proved: that outputs agree. Compare them with those of the code that the checkpoint is from"


def _some(names: Sequence[str]) -> str:
    folded = fold(names)
    return ", ".join(folded[:_SHOWN]) + (f", and {len(folded) - _SHOWN} more kinds" if len(folded) > _SHOWN else "")
