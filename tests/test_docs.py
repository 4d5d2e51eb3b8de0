"""What the documentation quotes still stands where it says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import lark
import pytest
import torch
import typer

import metablock
from metablock.cli import app
from metablock.front import check
from metablock.language.format import format_text
from metablock.language.registry import OPERATORS
from metablock.language.resources import resource
from metablock.language.standard import standard
from metablock.lowering.example import feature_of, shape_of
from metablock.report import operator_layouts

ROOT = Path(__file__).resolve().parent.parent


def squeezed(text: str) -> str:
    """Without what aligns it, and without remarks."""
    return "\n".join(" ".join(line.split(" #")[0].split()) for line in text.splitlines() if line.strip())


@pytest.mark.parametrize("name", ["mobile_former", "hrnet"])
def test_streams(name: str) -> None:
    page = (ROOT / "docs" / "streams.md").read_text(encoding="utf-8")
    title = {"mobile_former": "## Mobile-Former", "hrnet": "## HRNet"}[name]
    section = next(part for part in re.split(r"(?m)^(?=## )", page) if part.startswith(title))
    pieces = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    file = squeezed((ROOT / "architectures" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert len(pieces) >= 5
    for piece in pieces:
        assert squeezed(piece) in file, piece


def specs(page: str) -> list[str]:
    """The blocks of a page that are whole specs."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in blocks if re.search(r"(?m)^name: ", block)]


def test_pages_with_whole_specs() -> None:
    pages = ["README.md", *(f"docs/{path.relative_to(ROOT / 'docs')}" for path in (ROOT / "docs").rglob("*.md"))]
    assert [page for page in pages if specs(page)] == ["README.md", "docs/language.md", "docs/layouts.md"], (
        "`test_whole_specs` builds them"
    )


@pytest.mark.parametrize(("page", "count"), [("README.md", 1), ("docs/language.md", 3), ("docs/layouts.md", 1)])
def test_whole_specs(page: str, count: int) -> None:
    """They check, and every variant is built and runs."""
    texts = specs(page)
    assert len(texts) == count
    for text in texts:
        spec = metablock.load_text(text, page)
        assert check(spec) == []
        for variant in [*spec.variants] or [None]:
            model = metablock.build(spec, variant=variant).eval()
            with torch.no_grad():
                assert model(*(torch.randn(feature.size(2)) for feature in model.inputs)).shape == (2, spec.classes)


def test_the_first_example_of_the_language_is_canonical() -> None:
    text = specs("docs/language.md")[0]
    assert format_text(text) == text


def test_the_table_of_words() -> None:
    """It names every option of `metablock build` and every argument of `metablock.build`, and no others."""
    page = (ROOT / "docs" / "words.md").read_text(encoding="utf-8").split("Verbs that")[0]
    rows = [re.split(r" *\| *", row)[1:-1] for row in page.splitlines() if row.startswith("| ")][1:]
    flags = {flag for row in rows for flag in re.findall(r"--[a-z-]+", row[0])}
    verb = typer.main.get_command(app).commands["build"]
    options = {flag for param in verb.params for flag in [*param.opts, *param.secondary_opts] if flag.startswith("--")}
    assert flags == options - {"--help"}
    arguments = {word for row in rows for word in re.findall(r"`([a-z_]+)(?:=[^`]*)?`", row[1])}
    assert arguments == set(inspect.signature(metablock.build).parameters)


def test_links() -> None:
    """Every relative link of the README and the pages leads to a file."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_promise_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) >= 25
    for row in rows:
        names = re.findall(r"`((?:[\w/]+\.py)?::test_\w+)`", row.split(" | ")[1])
        assert names, row
        file = ""
        for name in names:
            file = name.split("::")[0] or file
            assert f"def {name.split('::')[1]}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), name


def test_the_table_of_layouts_is_what_the_operators_do() -> None:
    """Every operator has a row, with what it takes and gives; the page has the table as it is generated."""
    assert all(takes and gives for _, takes, gives, _ in operator_layouts.table())
    page = (ROOT / "docs" / "layouts.md").read_text(encoding="utf-8")
    assert page[page.index("| operator |") :] == operator_layouts.markdown(), "append `operator_layouts.markdown()` to the page"


def language_chapter(number: int) -> str:
    page = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    return next(part for part in re.split(r"(?m)^(?=## )", page) if part.startswith(f"## {number}. "))


def table_rows(text: str) -> list[list[str]]:
    """The rows of the tables of a text, without their heads; `\\|` is a bar inside a cell."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


RECIPES = [(title, code.strip("`")) for title, code in table_rows(language_chapter(12))]


def test_forty_recipes() -> None:
    assert len(RECIPES) >= 40
    assert len({title for title, _ in RECIPES}) == len({code for _, code in RECIPES}) == len(RECIPES)


@pytest.mark.parametrize(("title", "code"), RECIPES, ids=[title for title, _ in RECIPES])
def test_recipes(title: str, code: str) -> None:
    """Each has a shape, and is a network that builds without a warning, and runs to this shape."""
    tokens = re.search(r"\((tokens [^()]*)\)$", title)
    feature = feature_of(tokens[1] if tokens else "64x14x14")
    start = f"join(learned({feature.prefix}), id) >> " if feature.prefix else ""
    text = f"name: recipe\ninput: image(64, 14)\nlet:\n  recipe: |\n    {code}\nmodel: {start}recipe\n"
    spec = metablock.load_text(text, "recipe")
    assert check(spec) == []
    model = metablock.build(spec).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 64, 14, 14))
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    features = [feature_of(shape) for shape in re.findall(SHAPE, shape_of(code, str(feature)))]
    assert len(outputs) == len(features)
    for output, feature in zip(outputs, features, strict=True):
        if feature.layout in ("map", "vector"):
            assert list(output.shape) == [2, feature.c, *feature.grid]
        else:  # on their grid, or in a row
            assert list(output.flatten(1, -2).shape) == [2, feature.n, feature.c]


SHAPE = r"map \d+ x [\dx]+|tokens [\dx+ ]+ x \d+|vector of \d+"


def test_names_of_parameters() -> None:
    """The slots of the table have the modules that it names."""
    rows = table_rows(language_chapter(3))
    assert len(rows) >= 5
    for slot, names in rows:
        code = slot.strip("`").removeprefix("channel: ")
        lets = {"norm": "layer_norm", "token": "attention(2)"}
        used = "".join(f"  {name}: {text}\n" for name, text in lets.items() if re.search(rf"\b{name}\b", code))
        text = f"name: names\ninput: image(8, 4)\nlet:\n{used}  channel: |\n    {code}\nmodel: channel >> relu\n"
        model = metablock.build(metablock.load_text(text, "names"))
        modules = dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters())
        assert [*modules] == re.findall(r"`([^`]+)`", names), slot


def test_the_size_of_the_language() -> None:
    grammar = resource("block.lark")
    rules = re.findall(r"(?m)^\??_?[a-z]\w*:", grammar)
    parser = lark.Lark(grammar, parser="lalr", start=["value", "header", "test"])
    tokens = [terminal for terminal in parser.terminals if terminal.name not in parser.ignore_tokens]
    page = " ".join((ROOT / "docs" / "language.md").read_text(encoding="utf-8").split("```")[0].split())
    assert f"a grammar of {len(rules)} rules, {len(tokens)} tokens" in page
    assert f"with {len(OPERATORS)} operators, {len(standard())} standard bindings" in page


def test_every_argument_of_attention_is_in_the_table() -> None:
    cells = " ".join(row[0] for row in table_rows(language_chapter(7)))
    assert set(re.findall(r"\w+", cells)) == {*OPERATORS["attention"].schema.names()} - {"heads"}
