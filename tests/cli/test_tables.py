"""``metablock table`` and ``metablock ops``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch

import metablock
from metablock.api import example
from metablock.report.table import SURVEY, difference

DOCS = Path(__file__).parents[2] / "docs"


def test_rows_in_four_forms(run) -> None:
    words = ("table", "resnet50", "swin_tiny", "poolformer_s12")
    text = run(*words).stdout.splitlines()
    assert text[2].split()[:4] == ["resnet50", "3x224x224", "25.6M", "4.09G"]
    md = run(*words, "--as", "md").stdout.splitlines()
    assert md[1].startswith("| --- | --- | ---: |")
    assert len(md) == 5
    tex = run(*words, "--as", "tex").stdout
    assert tex.startswith(r"\begin{tabular}{llrrrr")
    assert r"swin\_tiny & 3x224x224 & 28.3M & 4.49G" in tex
    rows = list(csv.DictReader(io.StringIO(run(*words, "--as", "csv").stdout)))
    assert [int(row["parameters"]) for row in rows] == [25557032, 28288354, 11915176]
    assert [row["name"] for row in json.loads(run(*words, "--json").stdout)] == list(words[1:])


def test_a_file_of_ones_own(run, tiny) -> None:
    (row,) = json.loads(run("table", tiny, "--json").stdout)
    assert (row["parameters"], row["variant"]) == (20352, "tiny_a")
    assert row["throughput"] is None


def test_measured(run, tiny) -> None:
    result = run("table", tiny, "--measure", "--batch", "2")
    assert result.exit_code == 0
    head, _, line, about = result.stdout.splitlines()
    assert "images/s" in head
    assert float(line.split()[head.split().index("images/s") - head.split().count("printed")]) > 0
    assert about.endswith("float32, batches of 2, eager")


def test_the_survey_is_what_the_docs_show(run) -> None:
    result = run("table", "--survey", "--as", "md")
    assert result.exit_code == 0
    assert result.stdout.strip() == "\n".join(
        line for line in (DOCS / "table.md").read_text().splitlines() if line.startswith("|")
    )
    rows = json.loads(run("table", "--survey", "--json").stdout)
    assert [row["name"] for row in rows] == [label for label, _ in SURVEY]


@pytest.mark.parametrize(
    ("ours", "printed", "note"),
    [
        (4_494_566_656, "4.5G", None),
        (4_594_566_656, "4.5G", "MACs 2.1 % above the printed 4.5G"),
        (3_894_566_656, "4.5G", "MACs 13 % below the printed 4.5G"),
        (28_499_999, "28M", None),
        (28_499_999, None, None),
        (28_499_999, "about 28M", None),
        (950, "1k", None),
    ],
)
def test_differences(ours: int, printed: str | None, note: str | None) -> None:
    assert difference("MACs", ours, printed) == note


def test_operators(run) -> None:
    rows = json.loads(run("ops", "resnet18", "--json").stdout)
    convolution = next(row for row in rows if row["operator"] == "aten.convolution.default")
    assert convolution["calls"] == sum(convolution["counts"]) == 20
    assert convolution["shapes"][0] == "1x3x224x224 64x3x7x7 -> 1x64x112x112"
    text = run("ops", "resnet18", "--batch", "4", "--shapes").stdout
    assert "4x3x224x224 64x3x7x7 -> 4x64x112x112" in text
    assert "and 10 more" not in text
    assert "and 10 more" in run("ops", "resnet18").stdout


def test_operators_are_those_that_run() -> None:
    """The operators recorded on meta are those that the CPU runs."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from metablock.report.ops import operators_of
    from metablock.report.options import BuildOptions

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.add(str(func))
            return func(*args, **(kwargs or {}))

    names: set[str] = set()
    model = metablock.build("mobilenetv2_035").eval()
    x = example(model)
    with torch.no_grad(), Names():
        model(*x)
    assert {row.operator for row in operators_of(BuildOptions("mobilenetv2_035"))} == names


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["table"], "no network is named\n  metablock table resnet50 swin_tiny, or --survey"),
        (["table", "resnet5"], "unknown architecture 'resnet5'\n  did you mean 'resnet50'?"),
        (["table", "resnet50", "--measure", "--device", "meta"], "nothing runs on 'meta'"),
        (["table", "resnet50", "--device", "cuda:9"], "there is no device 'cuda:9' here"),
        (["ops", "resnet5"], "did you mean 'resnet50'?"),
        (["ops", "resnet50", "--edit", "tokn = pool"], "tokn"),
    ],
)
def test_bad_input(run, words: list[str], says: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
