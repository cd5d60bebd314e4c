"""smb.conf as text: parsing, commenting sections out and in again, and the one line that is ours."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smbplan.drivers.agent import core, files, sections
from smbplan.drivers.agent.core import SMB_CONF
from smbplan.drivers.agent.files import BLOCK_BEGIN, BLOCK_END, parse
from smbplan.drivers.agent.sections import PARKED

FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
NAMES = ["Docs", "docs ", "two words", "x", "printers", "a]b"]
ROWS = st.sampled_from(
    [
        *(f"[{name}]" for name in NAMES), "[global]", " [ GLOBAL ] ", "\t[docs]", "[unclosed", "[x] trailing",
        "   path = /srv/docs", "comment=ä = b", "continued = one \\", "# comment", "; [docs]", "#[docs]", "", "  ",
        "no parameter", "read only = yes\r", "[docs]\r", "\t", "# ends with \\", "\x0bpath = x", "name = \u2028",
        "browseable = no", "WORKGROUP = office", "\x85", "smbplan = # no mark",
    ]
)  # fmt: skip
TEXTS = st.builds(
    lambda rows, end: "\n".join(rows) + end, st.lists(ROWS, max_size=14), st.sampled_from(["\n", "", "\n\n"])
)


class Disk:
    """The files that the agent's module sees."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def has(self, text: str, **others: str) -> None:
        self.texts = {SMB_CONF: text, **{f"/etc/samba/{name}.conf": other for name, other in others.items()}}

    def read(self, path: str) -> str | None:
        return self.texts.get(path)

    def edit(self, changes: dict[str, str]) -> None:
        assert set(changes) <= set(self.texts)
        self.texts |= changes


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(sections, "read", found.read)
    return found


@given(text=TEXTS, name=st.sampled_from(NAMES))
@FIXTURE
def test_parking_and_unparking_leaves_every_byte(disk: Disk, text: str, name: str) -> None:
    disk.has(text)
    disk.edit(sections.park(name))
    disk.edit(sections.unpark(name))
    assert disk.texts[SMB_CONF] == text


@given(text=TEXTS, name=st.sampled_from(NAMES))
@FIXTURE
def test_a_parked_section_is_gone_and_the_others_are_as_before(disk: Disk, text: str, name: str) -> None:
    disk.has(text)
    before = sections.scan().params()
    disk.edit(sections.park(name))
    after = sections.scan().params()
    gone = sections.title(name)
    assert gone not in after
    assert after == {other: params for other, params in before.items() if other != gone}
    assert sections.scan(parked=True).params() == before


@given(text=TEXTS, pair=st.permutations(NAMES))
@FIXTURE
def test_sections_are_parked_one_by_one_and_back_in_any_order(disk: Disk, text: str, pair: list[str]) -> None:
    disk.has(text)
    for name in pair[:3]:
        disk.edit(sections.park(name))
    for name in sorted(pair[:3]):
        disk.edit(sections.unpark(name))
    assert disk.texts[SMB_CONF] == text


def test_a_section_is_parked_wherever_it_stands(disk: Disk) -> None:
    disk.has(
        "[docs]\npath = /a\n[x]\ninclude = /etc/samba/more.conf\n[DOCS]\nread only = no\n", more="guest ok = yes\n"
    )
    disk.edit(sections.park("Docs"))
    assert disk.texts[SMB_CONF].split("\n") == [
        f"{PARKED}[docs]",
        f"{PARKED}path = /a",
        "[x]",
        "include = /etc/samba/more.conf",
        f"{PARKED}[DOCS]",
        f"{PARKED}read only = no",
        "",
    ]
    assert disk.texts["/etc/samba/more.conf"] == "guest ok = yes\n"


@given(text=TEXTS, include=st.sampled_from(["registry", "/etc/samba/smbplan.conf"]))
@FIXTURE
def test_our_block_goes_in_and_out_without_a_trace(disk: Disk, text: str, include: str) -> None:
    disk.has(text)
    ours = files._with_block(SMB_CONF, text, include)
    assert files._included(ours) == include
    assert files._without_block(ours) == text
    assert (ours.count(BLOCK_BEGIN), ours.count(BLOCK_END)) == (1, 1)
    disk.has(ours)
    assert [line.section for line in sections.scan().lines if line.value == include] == ["global"]


@given(text=TEXTS)
@FIXTURE
def test_what_has_no_block_stays_as_it_is(disk: Disk, text: str) -> None:
    assert (files._included(text), files._without_block(text)) == ("", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"global": {}}),
        ("workgroup = X", {"global": {"workgroup": "X"}}),
        (
            "[Docs]\n Path=/a\n  read  ONLY = no ; kept",
            {"global": {}, "docs": {"path": "/a", "read only": "no ; kept"}},
        ),
        ("[a]\nx = 1\n[b]\n[A]\nx = 2\ny = = z", {"global": {}, "a": {"x": "2", "y": "= z"}, "b": {}}),
        ("[a]\n# c\n;d\n\nx = one \\\ntwo", {"global": {}, "a": {"x": "one two"}}),
        ("[ spaced  ]\nwords without sign", {"global": {}, "spaced": {}}),
    ],
)
def test_parse(text: str, expected: dict[str, dict[str, str]]) -> None:
    assert parse(text) == expected


def test_the_workgroup_makes_no_difference_to_a_packaged_file() -> None:
    assert files.settings("[global]\nworkgroup = A\nx = 1\n") == files.settings("x = 1\n[global]\nworkgroup = B")
    assert files.settings("x = 1") != files.settings("x = 2")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/samba/smb.conf", ("# smbplan ", "")),
        ("/etc/systemd/system/smbplan-x.service", ("# smbplan ", "")),
        ("/etc/avahi/services/smbplan.service", ("<!-- smbplan ", " -->")),
    ],
)
def test_the_mark_is_a_comment_of_its_file(path: str, expected: tuple[str, str]) -> None:
    assert files.header(path) == expected


STOCK = "[global]\n   workgroup = WORKGROUP\n[homes]\n   browseable = no\n"


@pytest.mark.parametrize("there", [STOCK.replace("WORKGROUP", "OFFICE"), None])
def test_debians_own_file_is_no_obstacle_and_comes_back(
    there: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf, stock = tmp_path / "smb.conf", tmp_path / "stock"
    stock.write_text(STOCK)
    monkeypatch.setattr(files, "PACKAGED", str(stock))
    monkeypatch.setattr(files.registry, "globals_", dict)
    monkeypatch.setattr(core.IMAGES, "_folder", tmp_path / "images")
    if there:
        conf.write_text(there)
    ours = {"mark": "s/x", "content": "[global]\n", "foreign": False, "include": "", "registry": {}}
    kind = files.SmbConf()
    for _ in range(2):  # again, after a lost answer
        core.move(kind, str(conf), None, ours, {})
        assert conf.read_text().startswith("# smbplan s/x")
    for _ in range(2):
        core.move(kind, str(conf), ours, None, {})
        assert (conf.read_text() if conf.exists() else None) == there


def test_somebodys_file_is_no_stock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf, stock = tmp_path / "smb.conf", tmp_path / "stock"
    stock.write_text(STOCK)
    conf.write_text(STOCK + "[theirs]\n   path = /srv\n")
    monkeypatch.setattr(files, "PACKAGED", str(stock))
    monkeypatch.setattr(files.registry, "unmarked", list)
    with pytest.raises(core.Untouched, match="is there already"):
        core.move(files.SmbConf(), str(conf), None, {"mark": "s/x", "content": "", "foreign": False}, {})
    assert "[theirs]" in conf.read_text()
