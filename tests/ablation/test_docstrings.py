"""What others import from metablock.ablation has an example in its docstring."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

# What the command line, other rooms and users import.
PUBLIC = {
    "data": "load_data",
    "estimate": "seconds_per_step",
    "journal": "Journal",
    "matching": "cost_of match widths_of",
    "on_ray": "run_on_ray",
    "plan": "plan",
    "prepare": "enter prepare",
    "probe": "area from_json probe",
    "recipe": "Recipe parse_override recipe recipes",
    "record": "results",
    "report": "write_report",
    "report.probes": "table",
    "results": "Results",
    "run": "run",
    "search": "search",
    "statistics": "compare decide holm holm_alphas judge smallest_difference smallest_margin t_tests",
    "study": "Study edits_of open_factors parse_swap",
    "study_file": "is_study load_study load_study_text",
    "timing": "latency",
    "training": "Options train",
    "work": "work",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_what_others_import_has_an_example(module: str):
    room = importlib.import_module(f"metablock.ablation.{module}")
    for name in PUBLIC[module].split():
        assert ">>> " in getattr(room, name).__doc__, f"{module}.{name} shows no example"


def test_the_page_shows_python_that_runs():
    """Of the block that trains the imports, of the one on statistics everything."""
    page = (Path(__file__).parents[2] / "docs" / "ablation.md").read_text(encoding="utf-8")
    steps, verdict = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec("".join(line for line in steps.splitlines(keepends=True) if line.startswith("from ")), {})
    *lines, last = verdict.rstrip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    code, _, comment = last.partition("  # ")
    assert repr(eval(code, names)) == comment
