"""A member's names, lists and checks, as far as they need no controller; with one, see tests/lab/test_ad.py."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from smbplan.drivers.agent import acl, ads, ctdb_conf, dns, joined, naming, principals, registration, shares, winbind
from smbplan.drivers.agent.core import Refused

IDS = {"CORP": "rid 2000000-2999999"}
TABLE = {
    "CORP\\All Staff": {"sid": "S-1-5-21-1-2-3-1104", "kind": "group", "id": 2011104},
    "CORP\\jörg": {"sid": "S-1-5-21-1-2-3-1105", "kind": "user", "id": 2011105},
}


class Fresh:
    """Before-images of a run that ends with each operation."""

    def has(self, name: str) -> bool:
        return False

    def keep(self, name: str, make: Any) -> None:
        make()


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "principals.json"
    path.write_text(json.dumps({"accounts": TABLE, "ids": IDS}))
    monkeypatch.setattr(principals, "FILE", path)
    monkeypatch.setattr(dns, "nameservers", list)
    monkeypatch.setattr(principals, "IMAGES", Fresh())
    return path


def test_lists_are_sids_for_smbd_and_names_for_people(table: Path) -> None:
    written = '"@CORP\\All Staff" alice CORP\\jörg'
    stored = principals.to_sids(written)
    assert stored == "S-1-5-21-1-2-3-1104 alice S-1-5-21-1-2-3-1105"
    assert principals.to_names(stored) == written
    assert principals.to_names("S-1-5-21-1-2-3-9 alice") == "S-1-5-21-1-2-3-9 alice", "somebody else's stays a SID"


def test_a_name_that_is_not_known_is_refused_and_never_left_out(table: Path) -> None:
    with pytest.raises(Refused, match=r"CORP\\nobody was not looked up in its domain yet"):
        principals.to_sids("CORP\\nobody")


def test_only_lists_of_accounts_are_translated(table: Path) -> None:
    params = {"path": "/srv/S-1-5-x", "comment": "CORP\\jörg", "invalid users": "CORP\\jörg", "valid users": "alice"}
    assert shares._listed(params, principals.to_sids) == {**params, "invalid users": "S-1-5-21-1-2-3-1105"}


def test_acls_have_the_domains_names_without_asking_it(table: Path) -> None:
    assert (acl.group_name(2011104), acl.group_id("CORP\\All Staff")) == ("CORP\\All Staff", 2011104)
    assert (acl.user_name(2011105), acl.user_id("CORP\\jörg")) == ("CORP\\jörg", 2011105)


@pytest.mark.parametrize(
    ("ids", "led", "done"),
    [
        (IDS, ["winbind"], []),
        ({"CORP": "rid 1-2"}, ["smbd", "winbind"], ["forget", "restart"]),
        ({}, ["smbd", "winbind"], ["forget"]),
        ({}, [], ["forget", "restart"]),
    ],
)
def test_winbindd_starts_anew_for_other_maps_but_not_where_ctdb_has_just_started_it(
    ids: dict[str, str],
    led: list[str],
    done: list[str],
    table: Path,
    controller: dict[str, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[str] = []
    for verb in ("forget", "restart"):
        monkeypatch.setattr(winbind, verb, partial(found.append, verb))
    monkeypatch.setattr(ctdb_conf, "led", lambda: led)
    table.write_text(json.dumps({"accounts": TABLE, "ids": ids} if ids else {}))
    kind = principals.Principals()
    kind.set("CORP", kind.get("CORP", {}), {"names": NAMES, "ids": IDS}, {})
    assert found == done


@pytest.mark.parametrize("said", ["DNS update failed: ERROR_DNS_UPDATE_FAILED", ""])
def test_a_name_that_dns_keeps_is_told_but_one_that_nobody_was_asked_for_stops_it(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*_: object) -> None:
        raise Refused(f"net failed (255): {said}" if said else "net failed (-25): ", said)

    monkeypatch.setattr(joined, "NOTE", tmp_path / "member.json")
    monkeypatch.setattr(registration, "run", failed)
    joined.note(registered=["files.corp.test"])
    domain = ads.Domain({"realm": "CORP.TEST", "workgroup": "CORP", "name": "FILES"}, None)
    domain.controller = "dc1.corp.test"
    if said:
        (warning,) = registration.unregister(domain)
        assert warning.startswith("files.corp.test can't unregister in DNS: DNS update failed")
    else:
        with pytest.raises(Refused, match="can't unregister in DNS: net failed"):
            registration.unregister(domain)


NAMES = ["@CORP\\All Staff", "CORP\\jörg"]


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """What winbind tells of each name."""
    found = {name: (entry["sid"], entry["kind"]) for name, entry in TABLE.items()}
    monkeypatch.setattr(winbind, "lookup", lambda name: found[name])
    monkeypatch.setattr(winbind, "number", lambda sid, kind: 2010000 + int(sid.rsplit("-", 1)[1]))
    return found


def test_who_has_another_sid_now_is_looked_up_again(table: Path, controller: dict[str, tuple[str, str]]) -> None:
    kind = principals.Principals()
    assert kind.get("CORP", {}) == {"names": NAMES, "ids": IDS}
    stored = principals.to_sids("CORP\\jörg")
    controller["CORP\\jörg"] = ("S-1-5-21-1-2-3-1200", "user")
    assert kind.get("CORP", {}) == {"names": NAMES[:1], "ids": IDS}
    assert principals.to_names(stored) == stored, "so that the lists are written anew by the same apply"
    kind.set("CORP", kind.get("CORP", {}), {"names": NAMES, "ids": IDS}, {})
    assert principals.to_sids("CORP\\jörg") == "S-1-5-21-1-2-3-1200"
    assert json.loads(table.read_text())["accounts"]["CORP\\jörg"] == {
        "sid": "S-1-5-21-1-2-3-1200",
        "kind": "user",
        "id": 2011200,
    }
    kind.set("CORP", kind.get("CORP", {}), None, {})
    assert not table.exists()


def test_who_is_in_no_list_any_more_can_still_be_read(table: Path, controller: dict[str, tuple[str, str]]) -> None:
    """The share that loses a name is changed after the table, and by its state from before."""
    kind, stored = principals.Principals(), principals.to_sids("CORP\\jörg")
    kind.set("CORP", kind.get("CORP", {}), {"names": NAMES[:1], "ids": IDS}, {})
    assert kind.get("CORP", {}) == {"names": NAMES[:1], "ids": IDS}
    assert principals.to_names(stored) == "CORP\\jörg" and acl.user_name(2011105) == "CORP\\jörg"


@pytest.mark.parametrize(
    ("name", "right"), [("CORP\\All Staff", "'@CORP\\\\All Staff'"), ("@CORP\\jörg", "'CORP\\\\jörg'")]
)
def test_a_group_is_written_as_one(name: str, right: str, table: Path, controller: dict[str, tuple[str, str]]) -> None:
    with pytest.raises(Refused) as refused:
        principals.Principals().set("CORP", None, {"names": [name], "ids": IDS}, {})
    assert f"write {right} in the access lists".replace("\\\\", "\\") == refused.value.hint


def test_lists_are_read_as_samba_reads_them() -> None:
    assert principals.split('@"CORP\\All Staff" alice,+CORP\\x "a b"') == [
        "@CORP\\All Staff",
        "alice",
        "+CORP\\x",
        "a b",
    ]


def test_while_nobody_answers_the_known_are_believed(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(name: str) -> Any:
        raise Refused("winbind does not answer")

    monkeypatch.setattr(winbind, "lookup", silent)
    assert principals.Principals().get("CORP", {}) == {"names": NAMES, "ids": IDS}


@pytest.mark.parametrize(
    "text",
    ["passwd: files systemd\ngroup: files\nhosts: files dns\n", "passwd:         files\ngroup:          files [X=y]\n"],
)
def test_winbind_comes_behind_the_other_sources_and_goes_without_a_trace(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nsswitch.conf"
    path.write_text(text)
    monkeypatch.setattr(naming, "NSS", path)
    kind = naming.NameService()
    assert kind.get("winbind", {}) == {"databases": []}
    kind.set("winbind", None, {"databases": ["group", "passwd"]}, {})
    assert kind.get("winbind", {}) == {"databases": ["group", "passwd"]}
    assert [
        line for line in path.read_text().splitlines() if line.endswith(" winbind")
    ] == path.read_text().splitlines()[:2]
    kind.set("winbind", None, {"databases": []}, {})
    assert path.read_text() == text


def test_name_servers_are_set_and_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# by hand\nsearch home\nnameserver 192.0.2.1\noptions rotate\n")
    kind = naming.Resolver()
    before = kind.get(str(path), {})
    assert before == {"nameservers": ["192.0.2.1"], "search": ["home"], "rest": "# by hand\noptions rotate\n"}
    kind.set(str(path), before, {**before, "nameservers": ["192.0.2.53"], "search": ["corp.test"]}, {})
    assert path.read_text() == "search corp.test\nnameserver 192.0.2.53\n# by hand\noptions rotate\n"
    kind.set(str(path), None, before, {})
    assert kind.get(str(path), {}) == before


def test_a_resolver_that_another_program_writes_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    with pytest.raises(Refused, match="another program writes it") as refused:
        naming.Resolver().get(str(path), {})
    assert "leave nameservers: out" in refused.value.hint


def test_checks_end_at_the_first_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"realm": "CORP.TEST", "workgroup": "CORP", "name": "FILES", "nameservers": ["192.0.2.1"]}
    monkeypatch.setattr(dns, "query", lambda server, name, type_: None)
    rows = ads.examine(ads.Domain(wanted, {"user": "joiner", "password": "x"}))
    assert [(row["check"], row["ok"], row["code"]) for row in rows][:2] == [
        ("dns", False, "dns-silent"),
        ("controller", None, ""),
    ]
    assert len(rows) == 9 and rows[0]["tried"] == "_ldap._tcp.dc._msdcs.corp.test SRV at 192.0.2.1"


@pytest.mark.parametrize(("zone", "code"), [(["corp.test"], "no-srv"), ([], "wrong-dns")])
def test_a_zone_without_controllers_is_another_thing_than_no_zone(
    zone: list[str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"realm": "CORP.TEST", "workgroup": "CORP", "name": "FILES", "nameservers": ["192.0.2.1"]}
    monkeypatch.setattr(dns, "query", lambda server, name, type_: zone if type_ == "SOA" else [])
    assert ads.examine(ads.Domain(wanted, None))[0]["code"] == code
