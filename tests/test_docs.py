"""What the documentation quotes still stands where it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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


def test_links() -> None:
    """Every relative link of the README and the pages leads to a file."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
