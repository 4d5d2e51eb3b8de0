"""The report of a study from made-up runs of real cells: what stands in it, that it is safe, and that its figures can be read."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from metablock.ablation.plan import Cell, plan
from metablock.ablation.report import analyse, figures, remarks, write_report
from metablock.ablation.report.analysis import notes
from metablock.ablation.report.curves import front
from metablock.ablation.report.style import inline, to_svg
from metablock.ablation.report.tables import main_table, to_markdown, to_tex
from metablock.ablation.report.text import html, markdown, number, probability, signed, slug, tex, unit
from metablock.ablation.results import Epoch, Results, Run
from metablock.ablation.statistics import compare
from metablock.ablation.study import Match
from metablock.ablation.study_file import load_study_text
from metablock.errors import MetablockError
from metablock.front import parse_input
from metablock.language.format import spec_hash
from metablock.language.load import load_text

BASE = """
name: tiny
input: image(1, 16)
classes: 10
let:
  norm: layer_norm(1e-6)
  shrink: conv(dim, 2, stride=2)
  block: res(norm >> token) >> res(norm >> mlp(2))
stem: conv(dim[0], 2, stride=2) >> norm
stages:
  depth: [1, 1]
  dim: [16, 32]
  token: dw(3)
  down: [id, shrink]
  body: depth * block
head: norm >> global_pool >> linear(classes)
"""
STUDY = """
study: mixers
base: ./tiny.yaml
factors:
  token: [pool(3), attention(5), dw(7), none]
  stages[*].token: [pool(3), id]
seeds: 4
margin: 0.01
"""
SHIFTS = {"token = pool(3)": 4.0, "token = none": -6.0, "token = dw(7)": 0.0}
HOSTILE = "loss is NaN <b>&\"'</b> | 100% of $x_1$ \\end{table} {#a} ~^ [x]*"
BAD, LOST = "token = attention(5)", "token = none"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A finished study: one cell is better, one worse and not matched, one equivalent, one cannot be built, one run failed."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(BASE, encoding="utf-8")
    study = load_study_text(STUDY, folder=folder)
    cells = []
    for cell in plan(study, parse_input("1x16x16"), 10):
        off = cell.name == LOST
        cells.append(cell if cell.base or cell.problem else replace(cell, off=off, residual=-0.083 if off else 0.004))
    study = replace(study, match=Match("macs"))
    rng = np.random.default_rng(0)
    common, runs = rng.normal(0, 1, 4), []
    for cell in cells:
        for seed in study.seeds if not cell.problem else ():
            metric = 90 + common[seed] + SHIFTS.get(cell.name, 0.3) + (0 if cell.base else rng.normal(0, 0.15))
            epochs = tuple(Epoch(e, 2 / e, 2.1 / e, metric - 40 * math.exp(-e / 2), 1e-3, 1.0) for e in range(1, 11))
            if (cell.name, seed) == (LOST, 3):
                runs.append(Run(cell.name, seed, "failed", None, HOSTILE, epochs[:2], 3.0, "cpu"))
            else:
                runs.append(Run(cell.name, seed, "done", metric, "", epochs, 10.0, "cpu"))
    return Results(
        study,
        cells,
        runs,
        {cell.name: 1.0 + i / 7 for i, cell in enumerate(cells) if not cell.problem},
        device="one core of a CPU",
        command="metablock ablate tiny.yaml --swap 'token = pool(3)' --seeds 4",
        versions={"metablock": "0.1.0", "torch": "2.x"},
        hardware="two cores, 8 GiB",
        data={"name": "digits", "fingerprint": "ab12cd34"},
        recipe={"epochs": 10, "lr": 0.001},
    )


@pytest.fixture(scope="module")
def report(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    files = write_report(results, folder)
    assert files[0] == folder / "report.html" and all(path.stat().st_size for path in files)
    assert {path for path in folder.rglob("*") if path.is_file()} == set(files)
    return folder


def read(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


# What is compared


def test_rows_are_compared_as_the_statistics_say(results: Results):
    analysis = analyse(results)
    assert analysis.margin == 1.0  # of 100
    rows = {row.cell.name: row for row in analysis.rows}
    verdicts = {name: row.comparison.verdict for name, row in rows.items() if row.comparison}
    assert verdicts["token = pool(3)"] == "better" and verdicts[LOST] == "worse" and verdicts["token = dw(7)"] == "equivalent"
    assert rows[BAD].comparison is None and BAD not in verdicts
    direct = compare(rows["base"].metrics, rows[LOST].metrics, 1.0)
    assert direct.n == 3 and rows[LOST].comparison.paired == direct
    assert list(analysis.groups) == ["", "token", "token in a stage"]
    assert (analysis.done, analysis.failed, analysis.complete) == (31, 1, True)


def test_a_grid_is_grouped_by_its_first_factor(results: Results):
    cell = replace(results.cells[1], name="a = 1, b = 2", levels=(("a", "1"), ("b", "2")))
    groups = analyse(replace(results, cells=[results.cells[0], cell], runs=[])).groups
    assert groups["a = 1"][0].label == "b = 2"


def test_every_row_says_what_is_wrong_with_it(results: Results):
    analysis = analyse(results)
    said = {row.cell.name: "; ".join(notes(analysis, row)) for row in analysis.rows}
    assert "inapplicable: 5 heads do not divide" in said[BAD]
    assert "not matched: −8.3 % MACs, tolerance ±5 %" in said[LOST] and "seed 3 failed: loss is NaN" in said[LOST]
    assert said["base"] == ""


# Files


def test_the_tables_hold_every_cell_and_its_reason(report: Path):
    for name in ("table.md", "table.tex", "report.html"):
        text = read(report, name)
        for words in (
            "pool(3)",
            "attention(5)",
            "5 heads do not divide",
            "seed 3 failed",
            "better",
            "worse",
            "equivalent",
            "inapplicable",
        ):
            assert words in text, (name, words)
        assert "Holm for" in text and "paired t test" in text and "one core of a CPU" in text
    assert "not matched: −8.3 % MACs" in read(report, "table.md")
    assert "\\toprule" in read(report, "table.tex") and "\\bottomrule" in read(report, "table.tex")


def test_the_page_says_how_to_do_it_again(report: Path, results: Results):
    page = read(report, "report.html")
    for words in ("--swap", "two cores, 8 GiB", "ab12cd34", "torch", "lr", "What was matched and what drifted", "0.001"):
        assert words in page
    assert all(cell.hash in page for cell in results.cells)


def test_the_csv_has_a_row_a_run(report: Path, results: Results):
    rows = list(csv.DictReader(read(report, "results.csv").splitlines()))
    assert len(rows) == len(results.runs) + 1  # and the cell that cannot be built
    lost = next(row for row in rows if row["status"] == "failed")
    assert lost["reason"] == HOSTILE and lost["difference_points"] == "" and lost["within_tolerance"] == "False"
    row = next(row for row in rows if row["cell"] == LOST and row["seed"] == "0")
    assert float(row["difference_points"]) == pytest.approx(float(row["top1_percent"]) - float(row["base_top1_percent"]))
    assert next(row for row in rows if row["cell"] == BAD)["status"] == "inapplicable"
    assert {row["stage"] for row in rows} == {"", "0", "1"}


def test_the_specs_beside_it_are_those_networks(report: Path, results: Results):
    hashes = {spec_hash(load_text(path.read_text(encoding="utf-8"))) for path in (report / "specs").iterdir()}
    assert hashes == {cell.hash for cell in results.cells if cell.hash}
    page = read(report, "report.html")
    assert all(f"specs/{path.name}" in page for path in (report / "specs").iterdir())


class _Tags(HTMLParser):
    """Whether tags are closed, and what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for key, value in attrs:
            self.ids += [value] * (key == "id")
            self.references += [value] * (key in ("src", "href", "xlink:href"))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere(report: Path):
    page = read(report, "report.html")
    tags = _Tags()
    tags.feed(page)
    assert not tags.open and page.count("<svg ") == 4
    assert len(tags.ids) == len(set(tags.ids))
    assert all(reference.startswith(("#", "data:image/png;")) for reference in tags.references)
    assert {reference[1:] for reference in tags.references if reference[0] == "#"} | set(
        re.findall(r"url\(#([^)]+)\)", page)
    ) <= set(tags.ids)
    assert not re.search(r"@import|<script|<link|url\((?!#)", page)


def test_nothing_is_taken_for_markup(results: Results, report: Path, tmp_path: Path):
    page = read(report, "report.html")
    assert "<b>&" not in page and html(HOSTILE) in page
    assert tex(HOSTILE) in read(report, "table.tex") and markdown(HOSTILE) in read(report, "table.md")
    table = main_table(analyse(replace(results, study=replace(results.study, name="</title><script>| $ & %"))))
    lines = to_markdown(table).splitlines()
    pipes = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")}
    assert len(pipes) == 1
    text = re.sub(r"\\[{}]", "", to_tex(table))
    assert text.count("{") == text.count("}") and "$" not in text.replace("\\$", "")


def test_a_figure_is_the_same_on_any_day(results: Results):
    first, second = ([to_svg(picture) for picture in figures(analyse(results))] for _ in range(2))
    assert first == second and not any("<dc:date>" in svg for svg in first)


def test_a_folder_that_cannot_be_written_is_said(results: Results, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MetablockError, match="cannot write there"):
        write_report(replace(results, runs=[]), tmp_path / "file")


# In mid-study


def test_before_any_run_the_report_says_what_is_missing(results: Results, tmp_path: Path):
    write_report(replace(results, runs=[], latency={}, versions={}, data={}, recipe={}, command="", device=""), tmp_path)
    page = read(tmp_path, "report.html")
    for words in (
        "not finished",
        "0 of 32 runs",
        "No run of the base",
        "No differences yet",
        "No epoch has finished",
        "not recorded",
    ):
        assert words in page
    assert "<svg" not in page and not list((tmp_path / "figures").iterdir())
    assert len(list((tmp_path / "specs").iterdir())) == 8
    assert read(tmp_path, "results.csv").count("pending") == 32


def test_in_the_middle_of_a_study_nothing_is_decided_early(results: Results):
    runs = [run for run in results.runs if run.seed == 0 or (run.seed == 1 and run.cell in ("base", LOST))]
    analysis = analyse(replace(results, runs=[*runs, Run("token = dw(7)", 1, "running", epochs=results.runs[0].epochs[:3])]))
    rows = {row.cell.name: row for row in analysis.rows}
    assert not analysis.complete and any("token = dw(7) (1 of 4)" in said for said in analysis.missing)
    assert rows["token = pool(3)"].comparison.verdict == "undecided" and "one pair" in "".join(
        notes(analysis, rows["token = pool(3)"])
    )
    assert rows[LOST].comparison.interval is not None
    assert len(analysis.compared) == 7  # all of them count in the correction
    table = main_table(analysis)
    assert "Unfinished: 10 of 32 runs" in table.caption and any("stopped when" in said for said in table.foot)
    assert all(picture.figure is not None for picture in figures(analysis))


# Figures


def texts(figure) -> list:
    """Everything that is written in a figure; ticks beyond the ends of an axis exist, but are not drawn."""
    drawn = list(figure.texts)
    for axes in figure.axes:
        drawn += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            drawn += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            drawn += [
                tick.label2 for tick in axis.get_major_ticks() if tick.label2.get_visible() and low <= tick.get_loc() <= high
            ]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    drawn += [text for legend in legends if legend is not None for text in legend.get_texts()]
    return [text for text in drawn if text.get_text() and text.get_visible()]


@pytest.mark.parametrize("long", [False, True])
def test_all_words_stand_within_their_figure_and_not_on_each_other(results: Results, long: bool):
    if long:
        cells = [
            replace(cell, levels=tuple((a, f"{b} with a very long name, {'x' * 60}") for a, b in cell.levels))
            for cell in results.cells
        ]
        results = replace(results, cells=cells, study=replace(results.study, factors=()))
    for picture in figures(analyse(results)):
        figure = picture.figure
        figure.canvas.draw()
        page, boxes = figure.bbox, [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
        assert len(boxes) > 8
        for name, box in boxes:
            assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, (picture.name, name)
        for i, (name, box) in enumerate(boxes):
            for other, beside in boxes[:i]:
                assert not box.padded(-1.5).overlaps(beside.padded(-1.5)), (picture.name, name, other)


def test_axes_carry_units(results: Results):
    labels = {p.name: " ".join(t.get_text() for t in texts(p.figure)) for p in figures(analyse(results))}
    assert "(points)" in labels["differences"] and "margin ±1 points" in labels["differences"]
    assert "MACs (M)" in labels["cost"] and "latency (ms)" in labels["cost"] and "top-1 (%)" in labels["cost"]
    assert "validation top-1 (%)" in labels["curves"] and "epoch" in labels["curves"]
    assert "Δ top-1 (points)" in labels["placement-1"] and "stage" in labels["placement-1"]


def test_a_sweep_marks_what_was_the_same_network_and_what_does_not_fit(results: Results):
    cells = [cell for cell in results.cells if cell.name != "token in a stage = stage 0: id"]
    cells = [replace(c, spec=None, cost=None, hash="", problem="no") if c.name.endswith("stage 1: id") else c for c in cells]
    picture = figures(analyse(replace(results, cells=cells)))[-1]
    said = [text.get_text() for text in picture.figure.axes[0].texts]
    assert "≡" in said and "inapplicable" in said and len(said) == 4


def test_many_variants_are_not_all_named(results: Results):
    proto = results.cells[1]
    cells = [results.cells[0], *(replace(proto, name=f"n = {i}", levels=(("n", str(i)),)) for i in range(30))]
    runs = [Run(cell.name, 0, "done", 50.0 + i) for i, cell in enumerate(cells)]
    picture = figures(analyse(replace(results, cells=cells, runs=runs, latency={})))[1]
    assert 2 <= len(picture.figure.legends[0].get_texts()) < 10


def test_the_pareto_front():
    assert front([(1, 5), (2, 4), (2, 7), (3, 7), (4, 9), (1, 5)]) == [0, 2, 4]
    assert front([]) == []


def test_names_in_an_svg_are_its_own():
    svg = '<?xml?><svg width="1"><g id="a"/><use xlink:href="#a" clip-path="url(#a)"/></svg>'
    assert (
        inline(svg, "x", "t")
        == '<svg role="img" aria-label="t" width="1"><g id="x-a"/><use xlink:href="#x-a" clip-path="url(#x-a)"/></svg>'
    )


# Words and numbers


def test_numbers_as_papers_write_them():
    assert (signed(1.234), signed(-0.5), signed(-0.001), number(-2.0)) == ("+1.23", "−0.50", "0.00", "−2.00")
    assert (probability(0.0004), probability(0.0213), probability(None)) == ("<0.001", "0.021", "–")
    column = unit([12_345_678, 1_800_000_000, None])
    assert (column.prefix, column.show(12_345_678), column.show(None)) == ("M", "12.3", "–")
    assert unit([]).show(0) == "0" and unit([51]).show(51) == "51"


def test_escapes():
    assert tex("a--b---c – 5% [x]") == "a-{}-b-{}-{}-c \\textendash{} 5\\% {[}x{]}"
    assert markdown("a|b\n<c>*") == "a\\|b &lt;c&gt;\\*"
    assert html("<a href='x'>") == "&lt;a href=&#x27;x&#x27;&gt;"
    assert slug("token = Attention(dim // 32)") == "token-attention-dim-32" and slug("∅") == "cell"


def test_conditions_that_differ_and_probes_that_are_missing(tmp_path: Path):
    """What may change numbers, and what is not there, is said in the page and in `remarks`, which the command line prints."""
    study = load_study_text("study: s\nbase: resnet18\nseeds: 2\nfactors: {norm: [id]}\n")
    cell = Cell("base", (), load_text(BASE), "hash", None)
    conditions = [{"device": "a CPU", "torch": torch} for torch in ("2.11", "2.12")]
    runs = [Run("base", seed, "done", 50.0, conditions=(conditions[seed],)) for seed in (0, 1)]
    others = ("3 runs of another recipe are kept in the journal: lr 0.1 there, 0.2 here",)
    for probes, reason in (
        ({}, "they are not in the journal"),
        ({"base": '{"problem": "it takes no single picture"}'}, "it takes no single picture"),
        ({"base": "[{]"}, "what was stored cannot be read"),
    ):
        results = Results(study, [cell], runs, probes=probes, others=others)
        said = remarks(results)
        assert said[0].startswith("The finished runs differ in torch: 2.11 (1 run), 2.12 (1 run).")
        assert said[1] == f"No receptive fields and spectra of base: {reason}."
        assert said[2] == "3 runs of another recipe are kept in the journal: lr 0.1 there, 0.2 here."
        assert len(said) == 3
    write_report(results, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert all(html(text) in page for text in said)
    assert not (tmp_path / "probes.html").exists()
    assert "differ in torch" in (tmp_path / "table.md").read_text()
