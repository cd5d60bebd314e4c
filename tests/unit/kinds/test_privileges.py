"""What a token must be allowed, and whether it is, by Proxmox's rules of inheritance."""

from typing import Any

import pytest

from smbplan.kinds.privileges import (
    GUESTS,
    NETWORK,
    NODES,
    POOL,
    STARTUP,
    TEMPLATES,
    VOLUMES,
    Grant,
    commands,
    grants,
    missing,
)
from smbplan.spec.load import load_source
from smbplan.spec.source import parse

CONTAINER, MACHINE = 'mode: lxc, template: "iso:vztmpl/t.tar.zst"', "mode: vm"
EVERY = dict.fromkeys(GUESTS.privileges, 1)


def paths(gateway: str, share: str = "volume: tank", mode: str = CONTAINER) -> dict[str, str]:
    text = f"""\
version: 1
site: x
proxmox: {{endpoint: "https://pve:8006", token: {{id: "a@pve!plan", secret: {{env: T}}}}}}
gateways:
  g: {{{mode}{gateway}}}
users: {{alice: {{external: true}}}}
shares:
  s: {{gateway: g, storage: {{{share}, size: 1GiB}}, access: {{write: [alice]}}}}
"""
    return {grant.path: grant.role.name for grant in grants(load_source(parse(text, "site.yaml")).site)}


def test_exactly_what_a_site_needs() -> None:
    always = {"/": NODES.name, "/vms": GUESTS.name, "/storage/tank": VOLUMES.name}
    bridge = {"/sdn/zones/localnetwork/vmbr0": NETWORK.name}
    disk, template = {"/storage/local": VOLUMES.name}, {"/storage/iso": TEMPLATES.name}
    assert paths(", node: pve1") == always | bridge | disk | template
    assert paths("") == always | bridge | disk | template | {"/nodes": NODES.name}
    assert paths(", node: pve1, storage: iso") == always | bridge | {"/storage/iso": VOLUMES.name}
    tagged = {"/sdn/zones/localnetwork/vmbr1/30": NETWORK.name}
    assert paths(", node: pve1, network: {bridge: vmbr1, vlan: 30}") == always | tagged | disk | template


def test_a_machine_is_made_where_its_template_is() -> None:
    """However much memory is free elsewhere."""
    assert "/nodes" in paths("") and "/nodes" not in paths("", mode=MACHINE)


def test_the_order_of_starting_is_a_matter_of_the_node_for_machines() -> None:
    """Proxmox doesn't ask for that at a container."""
    found = {mode: paths(", node: pve1, startup: order=1", mode=mode)["/"] for mode in (CONTAINER, MACHINE)}
    assert found == {CONTAINER: NODES.name, MACHINE: STARTUP.name}, "the last of two roles at the path"


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({}, ["Datastore.AllocateSpace"]),
        ({"/storage/a": {"Datastore.AllocateSpace": 0}}, []),
        ({"/storage/a": {"Datastore.AllocateSpace": 1}}, []),
        ({"/storage/a": {"Datastore.Audit": 1}, "/": {"Datastore.AllocateSpace": 1}}, ["Datastore.AllocateSpace"]),
        ({"/storage": {"Datastore.AllocateSpace": 1}}, []),
        ({"/storage": {"Datastore.AllocateSpace": 0}}, ["Datastore.AllocateSpace"]),
        ({"/storage": {"Datastore.Audit": 1}, "/": {"Datastore.AllocateSpace": 1}}, ["Datastore.AllocateSpace"]),
        ({"/storage": {"Datastore.Audit": 0}, "/": {"Datastore.AllocateSpace": 1}}, []),
        ({"/": {"Datastore.AllocateSpace": 1}}, []),
        ({"/storage/b": {"Datastore.AllocateSpace": 1}}, ["Datastore.AllocateSpace"]),
    ],
)  # fmt: skip
def test_what_is_granted_nearest_counts(held: dict[str, dict[str, int]], expected: list[str]) -> None:
    assert missing(Grant("/storage/a", VOLUMES), held) == expected


def test_what_does_not_hold_below_is_no_grant_for_all_containers() -> None:
    grant = Grant("/vms", GUESTS, below=True)
    assert missing(grant, {"/vms": {**EVERY, "VM.PowerMgmt": 0}}) == ["VM.PowerMgmt"]
    assert missing(grant, {"/vms": EVERY}) == []


def test_a_template_may_be_read_by_whoever_may_allocate_there() -> None:
    assert missing(Grant("/storage/a", TEMPLATES), {"/storage/a": {"Datastore.AllocateSpace": 1}}) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"roles": {}, "there": False},
            [
                "pveum role add smbplan-nodes --privs Sys.Audit",
                "pveum user add a@pve --comment smbplan",
                "pveum user token add a@pve plan --privsep 1",
                "pveum acl modify / --users a@pve --tokens 'a@pve!plan' --roles smbplan-nodes --propagate 0",
            ],
        ),
        (
            {"roles": {"smbplan-nodes": ["Sys.Audit"]}, "there": True},
            ["pveum acl modify / --users a@pve --tokens 'a@pve!plan' --roles smbplan-nodes --propagate 0"],
        ),
        (
            {"roles": {"smbplan-nodes": [""]}, "there": True, "token": "root@pam!t"},
            [
                "pveum role modify smbplan-nodes --privs Sys.Audit --append 1",
                "pveum acl modify / --tokens 'root@pam!t' --roles smbplan-nodes --propagate 0",
            ],
        ),
    ],
)
def test_commands_make_what_is_not_there(given: dict[str, Any], expected: list[str]) -> None:
    assert commands(given.pop("token", "a@pve!plan"), [Grant("/", NODES)], **given) == expected


def test_a_pool_has_rights_of_its_own() -> None:
    assert paths(", node: pve1, pool: files")["/pool/files"] == POOL.name
