"""The parser's tables are kept on disk: the same parser comes back, and a broken entry is made anew."""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from pathlib import Path

import lark
import pytest

from metablock import cache
from metablock.errors import SpecError
from metablock.language import parser
from metablock.language.parser import expression, parse_edit, whole


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    parser._parser.cache_clear()
    yield tmp_path / parser.KIND
    parser._parser.cache_clear()


def says() -> tuple[object, object, list[str]]:
    """A tree, an edit, and what is said of mistakes."""
    said = []
    for text in ("conv(8", "a >> || b", "x -> y = x", "a ! b", "3 4"):
        with pytest.raises(SpecError) as wrong:
            expression(text)
        said.append(str(wrong.value))
    return (
        expression("x -> a, b = x >> f(2, k=-3 ** i) return [a || b, *c]"),
        parse_edit(whole("stages[1:].token = id", "e")),
        said,
    )


def forget_how_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **options: object) -> None:
        raise AssertionError("the tables are known")

    monkeypatch.setattr(lark.Lark, "__init__", never)


def test_the_same_parser_comes_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = says()
    assert len(list(folder.iterdir())) == 1
    parser._parser.cache_clear()
    forget_how_to_build(monkeypatch)
    assert says() == built


@pytest.mark.parametrize("data", [b"", b"no tables", marshal.dumps([]), marshal.dumps({"data": {}, "memo": {1: 2}})])
def test_a_broken_entry_is_made_anew(data: bytes, folder: Path) -> None:
    built = says()
    (entry,) = folder.iterdir()
    cache.store(parser.KIND, entry.name, data)
    parser._parser.cache_clear()
    assert says() == built
    assert marshal.loads(cache.load(parser.KIND, entry.name) or b"")["memo"]
