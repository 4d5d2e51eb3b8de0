"""The command line. It reads options, asks :mod:`metablock.report`, and prints the answer; it decides nothing.

Bad input ends with status 2 and its text on standard error, Ctrl-C with 130, a reader that goes away with 1 and no words.
What a verb needs is imported when it runs: ``metablock check`` on a spec whose names are wrong brings neither torch nor pydantic.
"""

from . import looking as looking
from . import studies as studies
from . import tables as tables
from . import weights as weights
from .verbs import app

__all__ = ["app", "main"]


def main() -> None:
    """The console entry."""
    app(prog_name="metablock")
