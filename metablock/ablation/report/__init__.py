"""The report of a study, finished or not: tables, figures and a page.

``analysis`` compares the variants and orders them; ``tables``, ``forest``, ``curves``, ``placement`` and ``probes`` show them;
``page`` puts everything together. All of it is made from :class:`~metablock.ablation.results.Results` alone.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import MetablockError
from ...files import replacing, write_whole
from ...language.format import show_spec
from ...language.uses import without_unused
from ..results import Results
from .analysis import Analysis, analyse
from .curves import against_cost, learning_curves
from .forest import forest
from .page import page, probe_page
from .placement import heat_maps
from .probes import pictures
from .remarks import probed, remarks
from .style import Picture, styled, to_png, to_svg
from .tables import cost_table, main_table, to_csv, to_markdown, to_tex
from .text import slugs

__all__ = ["analyse", "remarks", "write_report"]


def write_report(results: Results, folder: Path) -> list[Path]:
    """Writes the report of a study. It replaces an older one in the same folder.

    Args:
        results: of the study, finished or not.
        folder: for ``report.html``, ``probes.html`` (receptive fields and spectra), ``table.md``, ``table.tex``, ``results.csv``,
            ``specs/`` and ``figures/``.

    Returns:
        The files, the page first.

    Raises:
        MetablockError: the folder cannot be written to.

    >>> import tempfile
    >>> from metablock.ablation.plan import plan
    >>> from metablock.ablation.study import Study
    >>> from metablock.shape import Feature
    >>> study = Study("mixers", "poolformer_s12")
    >>> results = Results(study, plan(study, Feature("map", 1, (32, 32)), classes=10), runs=[])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in write_report(results, Path(folder))]
    ['report.html', 'table.md', 'table.tex', 'results.csv', 'base.yaml']
    """
    analysis = analyse(results)
    texts: dict[str, str] = {}
    drawn = [(picture, to_svg(picture) if picture.figure else "") for picture in figures(analysis)]
    seen = [(picture, to_svg(picture)) for picture in probe_figures(analysis)]
    specs = _specs(analysis)
    texts["report.html"] = page(analysis, drawn, {name: file for name, (file, _) in specs.items()})
    texts["table.md"] = to_markdown(main_table(analysis)) + "\n" + to_markdown(cost_table(analysis))
    texts["table.tex"] = to_tex(main_table(analysis))
    texts["results.csv"] = to_csv(analysis)
    texts |= dict(specs.values())
    if seen:
        texts["probes.html"] = probe_page(analysis, seen)
    texts |= {f"figures/{picture.name}.svg": svg for picture, svg in [*drawn, *seen] if svg}
    images = {f"figures/{picture.name}.png": to_png(picture) for picture, svg in [*drawn, *seen] if svg}
    try:
        for name in ("specs", "figures"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "this is not a path"
        raise MetablockError(f"{str(folder)[:200]}: cannot write there: {reason}", "name another folder with -o") from None
    for name, image in images.items():
        with replacing(folder / name) as file:
            file.write_bytes(image)
    for name, text in texts.items():
        write_whole(folder / name, text)
    return [folder / name for name in (*texts, *images)]


def figures(analysis: Analysis) -> list[Picture]:
    """The figures of a report. One that cannot be drawn yet says why in its caption."""
    with styled():
        return [forest(analysis), against_cost(analysis), learning_curves(analysis), *heat_maps(analysis)]


def probe_figures(analysis: Analysis) -> list[Picture]:
    """Receptive fields and spectra of the trained networks; none before a network is trained."""
    stages, _ = probed(analysis.results)
    return pictures(stages) if stages else []


def _specs(analysis: Analysis) -> dict[str, tuple[str, str]]:
    """File and text of each cell's resolved spec."""
    specs = {row.cell.name: row.cell.spec for row in analysis.rows if row.cell.spec is not None}
    return {name: (f"specs/{file}.yaml", show_spec(without_unused(specs[name]))) for name, file in slugs(specs).items()}
