"""A site with one share, and what is told of it when it is bad."""

from smbplan.spec.load import load_source
from smbplan.spec.problems import SpecError
from smbplan.spec.source import parse

HEAD = """version: 1
site: office
gateways:
  g: {permit: [guest, options]}
users:
  alice: {password: {env: A}}
groups:
  staff: {members: [alice]}
shares:
"""
PLACE, WHO = "storage: {directory: /srv/s}", "access: {write: [alice]}"


def problems(text: str) -> list[str]:
    try:
        load_source(parse(text, "site.yaml"))
    except SpecError as error:
        return [str(problem).removeprefix("site.yaml:") for problem in error.problems]
    return []


def share(extra: str, place: str = PLACE, who: str = WHO, key: str = "s") -> str:
    """Every key on a line of its own; `extra` stands in line 14."""
    rows = [f"  {key}:", "    gateway: g", f"    {place}", f"    {who}", f"    {extra}"]
    return HEAD + "".join(f"{row}\n" for row in rows if row.strip())
