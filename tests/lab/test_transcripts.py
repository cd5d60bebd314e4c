"""The transcripts in README.md are what smbplan prints, and the examples in docs/ are definitions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab.site import Site

pytestmark = pytest.mark.lab
README = (Path(__file__).parents[2] / "README.md").read_text()
MINUTES = """
  minutes:
    gateway: files
    storage: {directory: /srv/minutes}
    access: {write: ["@office"], read: ["@engineers"]}
"""


def transcript(name: str) -> list[str]:
    match = re.search(rf"<!-- transcript: {name} -->\n```\n\$ [^\n]*\n(.*?)```", README, re.S)
    assert match
    return [line for line in match[1].splitlines() if line and line != "…"]


def said(site: Site, *words: str) -> list[str]:
    done = subprocess.run([sys.executable, "-m", "smbplan", *words], capture_output=True, text=True, check=True)
    return [line for line in (done.stdout + done.stderr).splitlines() if line]


def test_transcripts_are_true(site: Site) -> None:
    site.applied()
    site.edit("shares.yaml", "keep: 48", "keep: 96")
    site.edit("shares.yaml", "comment: Accounting", "comment: Accounting\n    max_connections: 20")
    shares = site.folder / "shares.yaml"
    shares.write_text(shares.read_text() + MINUTES)
    assert said(site, "plan", str(site.folder)) == transcript("plan")

    def without_run(lines: list[str]) -> set[str]:
        return {re.sub(r"Run \S+", "Run …", line) for line in lines}

    applied = said(site, "apply", str(site.folder), "--yes")
    assert without_run(applied) >= without_run(transcript("apply"))
