"""The report as one self-contained HTML file, for the screen and for paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..results import Run
from ..statistics import VERDICTS
from ..study import Study
from .analysis import METRIC, POINTS, Analysis, base_name, tolerance
from .remarks import probed, remarks
from .style import VERDICT_SIGN, Picture, inline
from .tables import Line, Table, cost_table, main_table, to_html
from .text import NAMES, NOTHING, html, number

_CSS = Path(__file__).with_name("page.css")


def page(analysis: Analysis, pictures: Sequence[tuple[Picture, str]], specs: Mapping[str, str]) -> str:
    """The HTML of the report.

    Args:
        analysis: what it shows.
        pictures: each with its SVG, which is empty if there is no figure.
        specs: file of each cell's resolved spec, relative to the page.
    """
    study = analysis.results.study
    parts = [
        f"<h1>{html(study.name)}</h1>",
        f'<p class="sub">{html(_subtitle(analysis))}</p>',
        _state(analysis),
        *(f"<p>{html(text)}</p>" for text in remarks(analysis.results)),
        _summary(analysis),
        "<h2>Results</h2>",
        to_html(main_table(analysis)),
        "<h2>Figures</h2>",
        *(_figure(picture, svg) for picture, svg in pictures),
        '<p>What each trained network sees and which frequencies it passes on: <a href="probes.html">probes.html</a>.</p>'
        if probed(analysis.results)[0]
        else "",
        "<h2>What was matched and what drifted</h2>",
        to_html(cost_table(analysis)),
        "<h2>What so many seeds can show</h2>",
        _sensitivity(analysis),
        "<h2>To do it again</h2>",
        *_again(analysis),
        "<h2>Networks</h2>",
        to_html(_networks(analysis, specs)),
        "<h2>Runs</h2>",
        to_html(_runs(analysis)),
    ]
    return _document(study.name, parts)


def probe_page(analysis: Analysis, pictures: Sequence[tuple[Picture, str]]) -> str:
    """The HTML of the page with receptive fields and spectra."""
    study = analysis.results.study
    parts = [
        f"<h1>{html(study.name)}: what the networks see</h1>",
        '<p class="sub">Measured on the trained networks of the first seed, on pictures of the validation set. '
        '<a href="report.html">The report</a></p>',
        *(_figure(picture, svg) for picture, svg in reversed(pictures)),
    ]
    return _document(f"{study.name}: probes", parts)


def _document(title: str, parts: Sequence[str]) -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{html(title)}</title><style>{_CSS.read_text(encoding='utf-8')}</style>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(filter(None, parts)) + "\n</body></html>\n"


def _subtitle(analysis: Analysis) -> str:
    study, data = analysis.results.study, analysis.results.data
    matched = "cost not matched" if study.match.by == "none" else f"{_match(study)} matched"
    cells = f"{len(analysis.rows)} cells, {len(study.seeds)} paired seeds"
    return f"An ablation of {base_name(study)} on {data.get('name', study.data)}: {cells}, {matched}."


def _match(study: Study) -> str:
    return study.match.by if study.match.by == "none" else f"{NAMES[study.match.by]} within {tolerance(study)}"


def _state(analysis: Analysis) -> str:
    if analysis.complete and not analysis.missing:
        return ""
    state = f"{analysis.done} of {analysis.planned} runs finished, {analysis.failed} failed."
    if not analysis.complete:
        state = f"This study is not finished: {state} Verdicts may change."
    return f'<div class="open"><p>{html(" ".join([state, *analysis.missing]))}</p></div>'


def _summary(analysis: Analysis) -> str:
    """The variants of each verdict, for those who read one paragraph."""
    listed = [
        (f"{VERDICT_SIGN[verdict]} {verdict}", [row.cell.name for row, one in analysis.compared if one.verdict == verdict])
        for verdict in VERDICTS
    ]
    listed.append(("✕ inapplicable", [row.cell.name for row in analysis.rows if row.cell.problem]))
    items = []
    for title, names in listed:
        if names:
            items.append(f"<dt>{title}</dt><dd>{', '.join(f'<code>{html(name)}</code>' for name in names)}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _figure(picture: Picture, svg: str) -> str:
    if not svg:
        return f'<p class="sub"><b>{html(picture.title)}.</b> {html(picture.caption)}</p>'
    drawn = inline(svg, picture.name, html(picture.title))
    return f"<figure>{drawn}<figcaption><b>{html(picture.title)}.</b> {html(picture.caption)}</figcaption></figure>"


def _sensitivity(analysis: Analysis) -> str:
    study = analysis.results.study
    if analysis.spread is None or analysis.smallest is None:
        return "<p>Nothing can be said before two seeds have finished in the base and in a variant.</p>"
    return (
        f"<p>The paired differences of this study have a standard deviation of {number(analysis.spread)} {POINTS} (the "
        f"middle one of its comparisons). With {len(study.seeds)} seeds and {len(analysis.compared)} comparisons, a true "
        f"difference of {number(analysis.smallest)} {POINTS} is found with a probability of 80 %; smaller ones often stay "
        "undecided.</p>"
        "<p>The tests assume that paired differences vary normally from seed to seed, and that a seed that failed in a variant "
        f"would have behaved as the others. The error rates are those of the whole study: at most {study.alpha:g} for calling "
        f"any variant better or worse that truly equals the base, and at most {study.alpha:g} for calling any variant equivalent "
        f"that truly differs by {analysis.margin:g} {POINTS} or more.</p>"
    )


def _again(analysis: Analysis) -> Iterable[str]:
    results, study = analysis.results, analysis.results.study
    yield f"<pre>{html(results.command or 'the command was not recorded')}</pre>"
    yield _facts(
        {
            "base": study.base + (f", variant {study.variant}" if study.variant else ""),
            "design": study.design,
            "match": _match(study),
            "seeds": ", ".join(map(str, study.seeds)),
            "alpha, margin": f"{study.alpha:g}, {analysis.margin:g} {POINTS}",
            "hardware": results.hardware or "not recorded",
            "latency measured on": results.device or "not measured",
            "threads": ", ".join(
                sorted({str(one["threads"]) for run in results.runs for one in run.conditions if "threads" in one})
            )
            or "not recorded",
        }
    )
    for title, values in (("Versions", results.versions), ("Data", results.data), (f"Recipe {study.recipe}", results.recipe)):
        yield f"<h3>{html(title)}</h3>{_facts(values)}" if values else f"<p>{html(title)}: not recorded.</p>"


def _facts(values: Mapping[str, Any]) -> str:
    return f"<dl>{''.join(f'<dt>{html(str(key))}</dt><dd>{html(str(value))}</dd>' for key, value in values.items())}</dl>"


def _networks(analysis: Analysis, specs: Mapping[str, str]) -> Table:
    lines = [Line([row.cell.name, specs.get(row.cell.name, NOTHING), row.cell.hash or NOTHING]) for row in analysis.rows]
    return Table("Resolved specs beside this page, and their hashes", ["variant", "file", "SHA-256"], [("", lines)])


def _runs(analysis: Analysis) -> Table:
    def line(cell: str, run: Run) -> Line:
        metric = NOTHING if run.metric is None else number(run.metric)
        values = [str(run.seed), run.status, metric, str(len(run.epochs)), f"{run.seconds:.0f}", run.device or NOTHING]
        return Line([cell, *values], [run.reason] if run.reason else [])

    lines = [line(row.cell.name, run) for row in analysis.rows for run in analysis.results.of(row.cell.name)]
    columns = ["variant", "seed", "status", f"{METRIC} (%)", "epochs", "time (s)", "device"]
    return Table(f"{len(lines)} runs" if lines else "No run has begun", columns, [("", lines)])
