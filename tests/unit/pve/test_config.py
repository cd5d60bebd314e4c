"""A container's configuration, as a PVE 9.1 tells it."""

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.kinds.sites import BOUND, site

from smbplan.drivers.pve import config, machines
from smbplan.engine.resource import Record
from smbplan.kinds import expand
from smbplan.kinds.guest import CLUSTER

TOLD = {
    "arch": "amd64",
    "cores": 2,
    "description": "line1\nline2 ä € %\n",
    "digest": "295a55941f36f563481ab4fc53e87c0203f3109c",
    "features": "nesting=1",
    "hostname": "newname",
    "memory": 256,
    "mp0": "local:100/vm-100-disk-1.raw,mp=/data,backup=1,size=1G",
    "mp1": "/srv/data,mp=/mnt/bind,backup=1",
    "mp2": "local:100/vm-100-disk-2.raw,mp=/nobackup,size=1G",
    "net0": "name=eth0,bridge=vmbr0,gw=10.99.99.2,hwaddr=BC:24:11:46:B1:CA,ip=10.99.99.100/24,type=veth",
    "ostype": "debian",
    "rootfs": "local:100/vm-100-disk-0.raw,size=2G",
    "swap": 0,
    "tags": "B;a;C",
    "unprivileged": 1,
}


def test_what_the_api_tells_becomes_a_state() -> None:
    assert config.container(TOLD, "pve1", 100) == {
        "mark": None,
        "vmid": 100,
        "node": "pve1",
        "hostname": "newname",
        "nameserver": "",
        "searchdomain": "",
        "startup": "",
        "onboot": False,
        "protection": False,
        "unprivileged": True,
        "cores": 2,
        "memory": 256,
        "swap": 0,
        "storage": "local",
        "disk": 2 << 30,
        "networks": {
            "eth0": {
                "bridge": "vmbr0",
                "address": "10.99.99.100/24",
                "gateway": "10.99.99.2",
                "mac": "BC:24:11:46:B1:CA",
            }
        },
        "volumes": ["/data", "/nobackup"],
        "tags": ["B", "C", "a"],
        "nesting": True,
    }


def test_mount_points_are_volumes_or_paths_of_the_node() -> None:
    found = config.mounts(TOLD)
    assert found["/data"] == {
        "key": "mp0",
        "id": "local:100/vm-100-disk-1.raw",
        "volume": "local",
        "path": "/data",
        "size": 1 << 30,
        "backup": True,
        "readonly": False,
    }
    assert (found["/mnt/bind"]["volume"], found["/mnt/bind"]["size"]) == ("/srv/data", None)
    assert found["/nobackup"]["backup"] is False


def test_a_network_goes_back_as_it_came() -> None:
    (told,) = config.networks(TOLD).values()
    assert config.properties(config.network("eth0", told)) == config.properties(str(TOLD["net0"]))


@pytest.mark.parametrize(
    ("words", "count"), [("4G", 4 << 30), ("512M", 512 << 20), ("1.5G", 3 << 29), ("1T", 1 << 40), ("none", 0)]
)
def test_sizes(words: str, count: int) -> None:
    assert config.size(words) == count


def test_gibibytes_allocate_what_was_asked_for() -> None:
    assert [config.gibibytes(count) for count in (8 << 30, 512 << 20)] == ["8", "0.5"]


@given(st.text().filter(lambda words: "<!-- smbplan" not in words), st.integers(100, 10**9))
def test_a_description_keeps_what_people_wrote(words: str, vmid: int) -> None:
    mark = config.sealed("office/lxc.container.files", vmid)
    marked = config.described({"description": words}, {"mark": mark})
    assert config.told({"description": marked}) == {"mark": mark}
    assert marked.startswith(words.strip("\n"))
    again = config.described({"description": f"{marked}\n"}, {"mark": "other"})
    assert config.described({"description": again}, None) == words.strip("\n")


def test_a_clone_with_our_description_is_foreign() -> None:
    mark = config.sealed("office/lxc.container.files", 100)
    assert config.unsealed(mark, 100) == "office/lxc.container.files"
    assert config.unsealed(mark, 101) is None
    assert config.unsealed(None, 100) is None and config.unsealed("nonsense", 100) is None


def packed(data: bytes) -> str:
    return f"<!-- smbplan {base64.b64encode(data).decode()} -->"


LARGE = zlib.compress(json.dumps({"mark": "x" * config.MOST}).encode(), 9)


@pytest.mark.parametrize(
    "damaged",
    [
        "<!-- smbplan {oops} -->",
        "<!-- smbplan [] -->",
        "smbplan {}",
        "",
        '<!-- smbplan {"a":' + "[" * 2500 + "]" * 2500 + "} -->",
        packed(LARGE),
        packed(zlib.compress(b'{"mark": "x"}')[:-1]),
        packed(b"nothing that was compressed"),
    ],
    ids=["no JSON", "no object", "no comment", "empty", "nested", "large", "cut short", "not packed"],
)
def test_a_damaged_comment_is_none(damaged: str) -> None:
    """Anybody's notes are read; none may end every command."""
    assert len(damaged) <= 8192, "as much as Proxmox takes"
    assert config.told({"description": damaged}) == {}


def test_a_container_may_have_many_shares() -> None:
    """Proxmox takes 8192 characters; each share has a record of its storage in the description."""
    contained = json.loads(json.dumps(BOUND))
    shares = {f"share{n}": {**contained["shares"]["plain"], "storage": {"directory": f"/srv/s{n}"}} for n in range(100)}
    records = {
        item.address: Record.of(item, None).as_json()
        for item in expand(site({**contained, "shares": shares}))
        if item.target == CLUSTER
    }
    data = {"mark": config.sealed("bound/lxc.container.box", 100), "records": records}
    text = config.described({"description": "Notes of a person"}, data)
    assert len(text) < 8192
    assert config.told({"description": text}) == data
    assert config.described({"description": text}, None) == "Notes of a person"


@pytest.mark.parametrize("part", ["[1]", '{"a": {}}', '{"a": {"key": ["disk"]}}', '{"a": {"key": [1, 2]}}', "7"])
def test_records_that_no_smbplan_has_written_are_none(part: str) -> None:
    found = {
        "description": f'<!-- smbplan {{"records": {part}, "late": [], "disks": 5, "doomed": "x"}} -->',
        "scsi0": "a:b",
    }
    assert not config.told(found).get("records")
    assert machines.machine(found, "pve1", 100)["kept"] == []
    assert machines.disk(found, "x") is None
