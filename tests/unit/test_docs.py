"""docs/ is true: reference pages are fresh, and every YAML example is a valid definition."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from smbplan.cli.main import app
from smbplan.report.reference import PAGES
from smbplan.spec.load import load_source
from smbplan.spec.source import parse

ROOT = Path(__file__).parents[2]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", PAGES)
def test_reference_pages_are_fresh(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run `make docs`"


def test_yaml_examples_are_valid() -> None:
    blocks = [
        (path.name, block) for path in TEXTS for block in re.findall(r"```yaml\n(.*?)```", path.read_text(), re.S)
    ]
    assert len(blocks) >= 2
    for name, block in blocks:
        text = block if "version:" in block else f"version: 1\nsite: doc\n{block}"
        assert load_source(parse(text, name)).site.shares


def test_links_lead_somewhere() -> None:
    for path in TEXTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"`{name}" in text, name
