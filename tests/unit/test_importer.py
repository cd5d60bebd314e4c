"""From live parameters to definitions and back, and smb.conf as lines that belong to sections."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from smbplan import importer
from smbplan.drivers.agent import files, sections
from smbplan.drivers.agent.core import rewrite
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import ChannelError
from smbplan.errors import Refused
from smbplan.kinds.options import canonical, same
from smbplan.kinds.share import params
from smbplan.spec import write
from smbplan.spec.load import load
from smbplan.spec.model import Site
from smbplan.spec.source import parse

LISTS = ("valid users", "invalid users", "read list", "write list", "admin users")
DEFAULTS = dict.fromkeys(LISTS, "") | {
    "read only": "Yes",
    "guest ok": "No",
    "browseable": "Yes",
    "create mask": "0744",
    "max connections": "0",
}
HERE = Endpoint("files", host="files.example")


def survey(**shares: dict[str, str]) -> dict[str, Any]:
    return {
        "shares": shares,
        "defaults": DEFAULTS,
        "marks": {},
        "copied": [],
        "varying": [],
        "users": ["bob", "carol"],
        "groups": ["staff"],
        "paths": {
            live["path"]: live["path"].strip('"').rstrip("/") or "/" for live in shares.values() if "path" in live
        },
        "guests": {name: "write" for name, live in shares.items() if live.get("guest ok") == "Yes"},
    }


def one(**live: str) -> dict[str, Any]:
    """The definition of one share with these parameters; underscores stand for spaces."""
    settings = {"path": "/srv/x", **{key.replace("_", " "): value for key, value in live.items()}}
    data, left = importer.definitions(HERE, "files", survey(x=settings))
    assert left == {}
    same_effect(data, settings)
    found: dict[str, Any] = data["shares"]["x"]
    return {key: value for key, value in found.items() if key not in ("gateway", "storage", "preset", "permissions")}


def same_effect(data: dict[str, Any], live: dict[str, str]) -> None:
    site = Site.model_validate(data)
    made = {**canonical(DEFAULTS), **params(site, "x", site.shares["x"])}
    wanted = {**canonical(DEFAULTS), **canonical(live)}
    assert made.keys() == wanted.keys()
    assert all(same(key, made[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(
    ("live", "definition"),
    [
        ({}, {"access": {"read": ["*"]}}),
        ({"read_only": "No"}, {"access": {"write": ["*"]}}),
        ({"read_only": "No", "valid_users": "@staff bob"}, {"access": {"write": ["@staff", "bob"]}}),
        ({"valid_users": "bob carol", "write_list": "bob"}, {"access": {"read": ["carol"], "write": ["bob"]}}),
        ({"read_only": "No", "admin_users": "bob"}, {"access": {"write": ["*"], "admin": ["bob"]}}),
        ({"invalid_users": "bob"}, {"access": {"read": ["*"], "deny": ["bob"]}}),
        ({"guest_ok": "Yes"}, {"guest": "read"}),
        ({"guest_ok": "Yes", "read_only": "No"}, {"guest": "write"}),
        ({"guest_ok": "Yes", "write_list": "bob"}, {"access": {"write": ["bob"]}, "guest": "read"}),
        (
            {"valid_users": "%S", "read_only": "No"},
            {"options": {"read only": False, "valid users": "%S"}},
        ),
        ({"valid_users": '"DOM\\Domain Users"'}, {"options": {"valid users": '"DOM\\Domain Users"'}}),
        ({"comment": "1", "browseable": "No"}, {"comment": "1", "hidden": True, "access": {"read": ["*"]}}),
        ({"max_connections": "5"}, {"max_connections": 5, "access": {"read": ["*"]}}),
        ({"hosts_allow": "127.0.0.1 192.0.2."}, {"hosts": {"allow": ["192.0.2."]}, "access": {"read": ["*"]}}),
        (
            {"hosts_allow": "192.0.2. EXCEPT 192.0.2.7", "aio_read_size": "1", "recycle:keeptree": "Yes"},
            {
                "access": {"read": ["*"]},
                "options": {
                    "aio read size": 1,
                    "hosts allow": "192.0.2. EXCEPT 192.0.2.7",
                    "recycle:keeptree": "Yes",
                },
            },
        ),
    ],
)
def test_keys_say_what_they_can_and_options_the_rest(live: dict[str, str], definition: dict[str, Any]) -> None:
    assert one(**live) == definition


NAMES = st.lists(st.sampled_from(["bob", "carol", "@staff", "+staff", "%U", "dave", '"a b"']), unique=True)


@given(
    lists=st.dictionaries(
        st.sampled_from(LISTS),
        NAMES.filter(bool).map(" ".join),
    ),
    flags=st.dictionaries(st.sampled_from(["read only", "guest ok", "browseable"]), st.sampled_from(["Yes", "No"])),
    others=st.dictionaries(
        st.sampled_from(["comment", "veto files", "recycle:exclude", "create mask", "max connections", "force user"]),
        st.sampled_from(["0", "007", "yes", "On", "/a b/", "x  y", "0640"]),
    ),
)
def test_every_definition_has_the_effect_of_what_it_was_made_of(
    lists: dict[str, str], flags: dict[str, str], others: dict[str, str]
) -> None:
    live = {"path": "/srv/x/", **lists, **flags, **others}
    data, _ = importer.definitions(HERE, "files", survey(x=live))
    if "x" in data.get("shares", {}):
        same_effect(data, live)


def test_what_can_not_be_taken_over_is_left_with_the_reason() -> None:
    found = survey(
        homes={"path": "/x"},
        lp={"path": "/x", "printable": "Yes"},
        off={"path": "/x", "available": "No"},
        each={"path": "/srv/%U"},
        gone={"path": "/gone"},
        none={},
        ours={"path": "/x"},
        base={"path": "/x"},
        odd={"path": "/x"},
        latin={"path": "/x", "comment": "B\ufffdro"},
        **{"a/b": {"path": "/x"}},
    )
    found |= {"marks": {"ours": "site/samba.share.ours"}, "copied": ["base"], "varying": ["odd"]}
    found["paths"] |= {"/gone": None, "/srv/%U": None}
    data, left = importer.definitions(HERE, "files", found)
    assert "shares" not in data
    assert left.keys() == found["shares"].keys()
    assert "site/samba.share.ours" in left["ours"] and "/gone" in left["gone"] and "each client" in left["each"]


def test_names_become_keys_and_weaknesses_are_permitted_by_name(tmp_path: Path) -> None:
    found = survey(
        **{
            "Büro & Co": {"path": "/srv/büro", "force user": "bob"},
            "buro-co": {"path": "/srv/büro/alt", "guest ok": "Yes"},
            "漢字": {"path": "/", "vfs objects": ""},
        }
    )
    data, left = importer.definitions(HERE, "files", found)
    assert (left, data["shares"]["share"]["name"]) == ({}, "漢字")
    assert data["gateways"]["files"]["permit"][:3] == ["guest", "options", "force user"]
    assert data["shares"]["Buro-Co"]["name"] == "Büro & Co"
    path = tmp_path / "site.yaml"
    path.write_text(write.text(data, ["a", "b\x07"]))
    assert load(path).site == Site.model_validate(data)
    assert YAML(typ="safe").load(path.read_text()) == data


TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=30) | st.sampled_from(
    ["2001:db8::/32", "::1", "no", "0770", "1e3", "- a", "#h", "a: b", "~", "=", "*x", "'", '"', "", " ", "2020-01-01"]
)


@given(words=st.lists(TEXT, min_size=1), options=st.dictionaries(TEXT, TEXT | st.booleans() | st.integers()))
def test_what_is_written_reads_as_it_was(words: list[str], options: dict[str, Any]) -> None:
    data = {"version": 1, "shares": {"x": {"access": {"read": words}, "options": options}}}
    assert parse(write.text(data), "site.yaml").data == data


def test_a_gateway_says_only_what_is_not_the_default() -> None:
    def gateway(**at: Any) -> dict[str, Any]:
        data, _ = importer.definitions(Endpoint("files", **at), "files", survey())
        found: dict[str, Any] = data["gateways"]["files"]
        return found

    assert gateway() == {"discovery": False}
    assert gateway(local=True) == {"connection": "local", "discovery": False}
    assert gateway(host="h", port=2222, sudo=True) == {
        "host": "h",
        "ssh": {"port": 2222, "sudo": True},
        "discovery": False,
    }


def test_a_host_that_can_not_be_read_is_refused() -> None:
    class Broken:
        def request(self, verb: str) -> Any:
            raise ChannelError("no route", "", "look")

        def close(self) -> None:
            return

    with pytest.raises(Refused, match="no route"):
        importer.read(HERE, "files", lambda endpoint, counts: Broken())  # type: ignore[arg-type, return-value]
    with pytest.raises(Refused):
        importer.definitions(HERE, "no such name!", survey(x={"path": "/srv/x"}))


Conf = Callable[[str, str], str]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conf:
    """Writes a file next to smb.conf; the text may name others as {dir}."""
    monkeypatch.setattr(sections, "SMB_CONF", str(tmp_path / "smb.conf"))
    monkeypatch.setattr(sections.scan, "__defaults__", (str(tmp_path / "smb.conf"), False, None))

    def put(name: str, text: str) -> str:
        (tmp_path / name).write_bytes(text.replace("{dir}", str(tmp_path)).encode("latin-1"))
        return str(tmp_path / name)

    return put


def parked(path: str, *names: str) -> dict[str, bytes]:
    """Park and unpark; the bytes when parked, and afterwards everything as it was."""
    folder = Path(path).parent
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for name in names:
        for file, text in sections.park(name).items():
            rewrite(Path(file), text)
    found = {file.name: file.read_bytes() for file in folder.iterdir()}
    for name in reversed(names):
        for file, text in sections.unpark(name).items():
            rewrite(Path(file), text)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    return found


def test_parking_comments_out_the_lines_of_a_section_and_nothing_else(conf: Conf) -> None:
    path = conf(
        "smb.conf",
        "[global]\n a = b\n[X  y]\r\n; B\xfcro \\\n valid users = a, \\\n   b\n\n# next\n[z]\npath=/z\n[x Y]\nc = d",
    )
    assert parked(path, "x y")["smb.conf"] == (
        b"[global]\n a = b\n#smbplan# [X  y]\r\n; B\xfcro \\\n#smbplan#  valid users = a, \\\n#smbplan#    b\n\n"
        b"# next\n[z]\npath=/z\n#smbplan# [x Y]\n#smbplan# c = d"
    )
    parked(path, "z", "x y")


def test_sections_in_included_files_are_parked_there(conf: Conf) -> None:
    conf("common.inc", "comment = c\n")
    shares = conf("shares.conf", "include = {dir}/common.inc\n[a]\npath = /a\n[b]\npath = /b\n")
    path = conf("smb.conf", "[global]\n x = y\n[s]\n include = {dir}/shares.conf\n comment = b's\n[t]\npath = /t\n")
    assert sections.scan().params()["b"] == {"path": "/b", "comment": "b's"}
    assert sections.scan().params()["s"] == {"include": f"{Path(path).parent}/common.inc", "comment": "c"}
    found = parked(path, "b", "s", "a")
    assert found["common.inc"] == b"comment = c\n"
    assert found["shares.conf"].count(b"#smbplan# ") == 5
    assert f"\n include = {shares}\n#smbplan#  comment = b's\n[t]" in found["smb.conf"].decode()


def test_per_client_includes_and_copies_are_told(conf: Conf) -> None:
    conf("pc1.conf", "[odd]\npath = /other\n")
    conf("smb.conf", "include = {dir}/%m.conf\n[odd]\npath=/o\n[base]\npath=/b\n[user]\ncopy = BASE\ninclude = /x/%U\n")
    found = sections.scan()
    assert found.varying - {"global"} == {"odd", "user"}
    assert found.copiers("base") == ["user"]


def test_includes_in_a_circle_end(conf: Conf) -> None:
    conf("a.conf", "include = {dir}/smb.conf\n[a]\npath = /a\n")
    conf("smb.conf", "[global]\ninclude = {dir}/a.conf\n[s]\npath = /s\n")
    assert set(sections.scan().params()) == {"global", "a", "s"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[x]\npath = /x",
        "workgroup = W",
        "[global]\nworkgroup = W\n# end\n\n[x]\npath = /x\n",
        "[global]\r\nworkgroup = W\r\n[x]\r\npath = /x\r\n[global]\r\nlog level = 1",
        "[global]\nworkgroup = W\ninclude = {dir}/shares.conf\n[x]\npath = /x\n",
    ],
)
def test_the_include_line_comes_and_goes_without_a_trace(conf: Conf, text: str) -> None:
    conf("shares.conf", "[y]\npath = /y\n")
    path = conf("smb.conf", text)
    original = Path(path).read_bytes()
    raw, state = original.decode(), files.SmbConf()
    assert files._without_block(files._with_block(path, raw, "registry")) == raw
    state.set(path, None, {"foreign": True, "include": "registry"}, {})
    assert sections.scan().reads_registry()
    state.set(path, None, {"foreign": True, "include": "/etc/samba/smbplan.conf"}, {})
    assert not sections.scan().reads_registry()
    state.set(path, None, {"foreign": True, "include": ""}, {})
    assert Path(path).read_bytes() == original


def test_a_symbolic_link_stays_one(conf: Conf, tmp_path: Path) -> None:
    real = Path(conf("real.conf", "[x]\npath = /x\n"))
    (tmp_path / "smb.conf").symlink_to(real)
    for file, text in sections.park("x").items():
        rewrite(Path(file), text)
    assert (tmp_path / "smb.conf").is_symlink()
    assert real.read_bytes().startswith(b"#smbplan# [x]")
