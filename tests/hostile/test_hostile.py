"""A stranger's file ends in a network or in a message with a place, within a second and 200 MB, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile.neighbours import neighbours

HERE = Path(__file__).parent
CORPUS = {path.name: path.read_text() for path in sorted(HERE.glob("corpus/*.yaml"))}
CASES = CORPUS | neighbours()
# A verb takes about a second of this machine's time at most; other machines are slower, and busy.
SECONDS, MEMORY = 5.0, 200 << 20

Answer = dict[str, object]


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(HERE / "server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def ask(server: subprocess.Popen[str], text: str) -> Answer:
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(text) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of a process are read from /proc")
@pytest.mark.parametrize("name", CASES)
def test_ends(server: subprocess.Popen[str], name: str) -> None:
    answer = ask(server, CASES[name])
    assert answer["end"] in ("valid", "refused"), answer["text"]
    assert not answer.get("lacking"), "a message without a place or a hint"
    assert max(answer["verbs"].values()) < SECONDS
    assert answer["memory"] < MEMORY
    assert name not in CORPUS or answer["end"] == "refused"


def test_the_limits_are_real(server: subprocess.Popen[str]) -> None:
    """The server reports a process that its limits killed, and one that raises something else than a message."""
    assert ask(server, "!hang")["end"] == "killed"
    assert ask(server, "!allocate")["end"] == "traceback"
