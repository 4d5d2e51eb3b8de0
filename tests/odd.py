"""What every command must hold to, whatever a person types."""

from __future__ import annotations

import re

from typer.testing import CliRunner

from metablock.cli import app

LIBRARY = re.compile(
    r"fault of metablock|Traceback|RuntimeError|ValueError|TypeError|torch\.|sqlite3|SafetensorError|yaml\.|pydantic|lark|Errno|site-packages",
    re.I,
)


def said(*arguments: str) -> str:
    """What the command line prints for these arguments. Fails where it does not end as it should."""
    result = CliRunner().invoke(app, [*arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
    assert result.exit_code in (0, 1, 2), (arguments, result.output)
    assert not LIBRARY.search(result.output), (arguments, result.output)
    return result.output
