"""The command line as an application: how bad input ends, and the options beside the verbs."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import MetablockError, MetablockWarning, printable
from .conversion import spare_conversion

BAD_INPUT = 2
FAULT = 1  # the status after an exception that nobody foresaw: the input is not to blame
TRACEBACK = "METABLOCK_TRACEBACK"
REPORT_TO = "https://github.com/metablock-nn/metablock/issues"
INTERRUPTED = 130  # the status after Ctrl-C
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Verbs(TyperGroup):
    """Prints the text of a MetablockError on standard error and ends with status 2, after Ctrl-C with 130; no traceback.

    An exception that nobody foresaw ends with a line that says so, and status 1; its traceback is shown where the environment
    has ``METABLOCK_TRACEBACK=1``.
    """

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            spare_conversion(*command.params, command.get_help_option(ctx))
        return command

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        spare_conversion(option)
        return option

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        spare_conversion(*self.params)
        with _faults():  # `--install-completion` writes to files while options are read
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _faults():
            with warnings.catch_warnings():
                warnings.simplefilter("always", MetablockWarning)
                warnings.showwarning = _show_warning(warnings.showwarning)
                result = super().invoke(ctx)
            sys.stdout.flush()  # a disk that is full shows here, where it can be said
            return result


@contextmanager
def _faults() -> Iterator[None]:
    """Ends what goes wrong inside with its text on standard error and a status."""
    try:
        yield
        return
    except MetablockError as wrong:
        typer.echo(str(wrong), err=True)
    except BrokenPipeError:
        raise  # typer ends in silence
    except KeyboardInterrupt:  # verbs that work for long say more (`stopping` of study_options.py)
        if first_process():
            typer.echo("stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except OSError as wrong:
        _say_what_failed(wrong)
    except RecursionError:
        deep = MetablockError("the spec is nested too deeply", "let its bindings use each other in fewer steps")
        typer.echo(str(deep), err=True)
    except MemoryError:
        say(str(MetablockError("there is not enough memory", "a smaller batch, input or network may fit")), err=True)
    except Exception as wrong:
        ways_to_end = type(wrong).__module__.partition(".")[0] in ("typer", "click")
        if ways_to_end or os.environ.get(TRACEBACK, "0") not in ("", "0"):
            raise
        say(str(_fault(wrong)), err=True)
        raise typer.Exit(FAULT) from None
    raise typer.Exit(BAD_INPUT)


def first_process() -> bool:
    """Whether this process prints: of the several that `torchrun` starts, one does."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str, *, err: bool = False) -> None:
    """Prints a line in which a person's words may stand (a file's name), on standard output or error."""
    typer.echo(printable(text), err=err)


def _fault(wrong: Exception) -> MetablockError:
    """What is said of an exception that nobody foresaw: its kind, and the first line of its text."""
    try:
        text = next(iter(str(wrong).strip().splitlines()), "")
    except Exception:  # an exception's text can fail, too
        text = ""
    kind = type(wrong).__name__
    hint = f"report it, with the command and the traceback that {TRACEBACK}=1 shows: {REPORT_TO}"
    return MetablockError(
        f"this is a fault of metablock: {kind}: {text}" if text else f"this is a fault of metablock: {kind}", hint
    )


def _show_warning(others: Callable[..., None]) -> Callable[..., None]:
    """Prints our warnings as a line on standard error; ``others`` prints the rest."""

    def show(message: Warning | str, category: type[Warning], *args: Any, **named: Any) -> None:
        if issubclass(category, MetablockWarning):
            say(f"warning: {message}", err=True)
        else:
            others(message, category, *args, **named)

    return show


def _say_what_failed(wrong: OSError) -> None:
    """Prints why a file, or the standard output, cannot be read or written."""
    reason = wrong.strerror or type(wrong).__name__
    if wrong.filename is None:
        silence(sys.stdout)
        text = MetablockError(f"the output cannot be written: {reason}", "send it elsewhere: metablock VERB > FILE")
    else:
        text = MetablockError(f"{wrong.filename!r}: {reason}", "check the path and its permissions")
    typer.echo(str(text), err=True)


def silence(stream: TextIO) -> None:
    """Sends what a stream still holds, and what is written to it later, nowhere: at its end Python would try again, and fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"metablock {__version__}")
        raise typer.Exit


@app.callback(epilog="metablock VERB --help has examples.")
def metablock(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Neural backbones, one YAML file a paper: check them, build them, swap their parts."""


def print_json(data: object) -> None:
    """Prints an answer for programs.

    >>> print_json([{"name": "resnet18"}])
    [
      {
        "name": "resnet18"
      }
    ]
    """
    import json

    typer.echo(json.dumps(data, indent=2))
