"""Whatever a person types: a status from 0 to 2, no traceback, no word of a library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from odd import LIBRARY, said

VERBS = (
    "check",
    "build",
    "show",
    "fmt",
    "list",
    "table",
    "ops",
    "weights",
    "train",
    "probe",
    "report",
    "ablate",
    "search",
    "new",
)


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that a person may type where a file is expected."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    Path("latin.yaml").write_bytes("name: é\n".encode("latin-1"))
    Path("bom.yaml").write_bytes(b"\xef\xbb\xbfname: n\ninput: image(3, 8)\nmodel: conv(\n")
    Path("nul.yaml").write_bytes(b"name: \0\n")
    Path("surrogate.yaml").write_bytes(b"name: \xed\xa0\x80\n")
    Path("escape.yaml").write_text("name: \x1b[31m\u202e\n")
    Path("empty.yaml").write_text("")
    Path("list.yaml").write_text("[" * 1000)
    names = [
        "",
        " ",
        "-x",
        ".",
        "..",
        "folder",
        "loop",
        "loop/x",
        "/dev/null",
        "/dev/zero",
        "a\0b",
        "\udc80",
        "\u202e",
        "x" * 300,
    ]
    return [*names, "x" * 5000 + ".yaml", "\x1b[31m", "~", "*", *(path.name for path in Path().glob("*.yaml"))]


@pytest.mark.parametrize("verb", VERBS)
def test_names(verb: str, odd: list[str]) -> None:
    for name in odd:
        output = said(verb, name)
        assert "\x1b" not in output and "\u202e" not in output, (verb, name)


@pytest.mark.parametrize(
    "option", ["--input", "--classes", "--batch", "--seed", "--variant", "--edit", "--dtype", "--device", "-o", "--dynamic"]
)
def test_options_of_build(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text("name: n\ninput: image(3, 8)\nmodel: conv(4, 3) >> global_pool >> linear(classes)\n")
    for value in (
        "", " ", "0", "-1", "nan", "1e400", "3x²x32", "3x0x32", "-1x8x8", f"3x{10**20}x8", "3xx8", "x", "3x8x8x8x8x8", "٣x٨x٨", "a\0b",
        "x" * 300, str(10**20), "true", "cuda:99", "float", "int8", "folder/x.py", "x.unknown", ".py", "/dev/full/x.py", "\udc80.py",
    ):  # fmt: skip
        said("build", "./net.yaml", "--no-compile", "--device", "meta", option, value)


SHELLS = {
    "a full disk": "{} list > /dev/full",
    "a closed output": "{} list >&-",
    "a closed error": "{} check nofile.yaml 2>&-",
    "everything closed": "{} list <&- >&- 2>&-",
    "a pipe that ends": "{} list | head -1 > /dev/null; exit ${{PIPESTATUS[0]}}",
    "the C locale": "LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii {} list",
    "no home": "env -u HOME {} list",
    "no place for temporary files": "TMPDIR=/nowhere {} show resnet18",
    "a terminal of width 1": "COLUMNS=1 {} list",
    "a full disk for a spec": "{} show resnet18 > /dev/full",
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("name", SHELLS)
def test_streams(name: str, tmp_path: Path) -> None:
    command = SHELLS[name].format(f"{sys.executable} -m metablock")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode in (0, 1, 2), result
    assert not LIBRARY.search(result.stderr), result.stderr
    assert ("cannot be written: No space left on device" in result.stderr) == ("/dev/full" in command)
