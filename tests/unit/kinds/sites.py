"""Definitions to expand: one site that uses every kind and option, and single shares."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from unit.simulated import World

from smbplan.engine import plan as planning
from smbplan.engine.kind import Options
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Live, Resource
from smbplan.kinds import kinds
from smbplan.spec.load import load_source
from smbplan.spec.model import Site
from smbplan.spec.source import parse

USERS = {name: {"password": {"env": f"SECRET_{name.upper()}"}} for name in ("alice", "bob", "carol")}
STAFF, MIXED, ALL = {"write": ["@staff"]}, {"write": ["alice"], "read": ["bob"]}, {"read": ["*"]}
RICH: dict[str, Any] = {
    "version": 1,
    "site": "rich",
    "gateways": {
        "one": {"permit": ["guest", "options"], "description": "First", "options": {"deadtime": 10}},
        "two": {"discovery": False, "globals": "adopt"},
    },
    "users": {
        **USERS,
        "dora": {"password": {"file": "/run/SECRET_DORA"}, "enabled": False, "uid": 2000, "full_name": "Dora D"},
        "out": {"external": True},
    },
    "groups": {"staff": {"members": ["alice", "bob"], "gid": 3000}, "ad": {"external": True, "members": ["out"]}},
    "shares": {
        "plain": {"gateway": "one", "storage": {"directory": "/srv/a"}, "access": MIXED},
        "pool": {
            "gateway": "one",
            "storage": {"zfs": "tank/pool", "quota": "1GiB"},
            "access": STAFF,
            "previous_versions": True,
            "recycle": True,
            "options": {"strict sync": True},
        },
        "tree": {
            "gateway": "two",
            "storage": {"btrfs": "/mnt/tree", "on_destroy": "delete"},
            "access": {"write": ["@ad", "dora"], "deny": ["carol"]},
            "permissions": {"recursive": True},
        },
        "home": {"gateway": "two", "preset": "homes", "storage": {"directory": "/srv/h"}, "access": STAFF},
        "mac": {"gateway": "two", "preset": "time-machine", "storage": {"directory": "/srv/m"}, "access": ALL},
        "open": {"gateway": "one", "preset": "public", "storage": {"directory": "/srv/o"}, "permissions": "keep"},
    },
}  # fmt: skip

CONTAINER: dict[str, Any] = {
    "version": 1,
    "site": "contained",
    "proxmox": {"endpoint": "https://pve:8006", "token": {"id": "a@pve!plan", "secret": {"env": "SECRET_TOKEN"}}},
    "gateways": {
        "box": {
            "mode": "lxc",
            "template": "local:vztmpl/debian-12.tar.zst",
            "network": {"address": "192.0.2.9/24", "gateway": "192.0.2.1"},
            "tags": ["files"],
        }
    },
    "users": USERS,
    "shares": {
        "vol": {"gateway": "box", "storage": {"volume": "local", "size": "8GiB"}, "access": MIXED},
        "spare": {
            "gateway": "box",
            "storage": {"volume": "local", "size": "1GiB", "on_destroy": "delete"},
            "access": MIXED,
        },
    },
}
# Folders of the node, ids that don't fit into its map, and ids that are the same on the node.
BOUND: dict[str, Any] = {
    **CONTAINER,
    "site": "bound",
    "gateways": {"box": {**CONTAINER["gateways"]["box"], "node": "pve1"}},
    "users": {**USERS, "far": {"password": {"env": "SECRET_FAR"}, "uid": 70000}, "dora": {**USERS["bob"], "uid": 1500}},
    "groups": {"nfs": {"members": ["dora"], "gid": 1600}},
    "shares": {
        "plain": {"gateway": "box", "storage": {"directory": "/srv/plain"}, "access": {"write": ["far"]}},
        "pool": {
            "gateway": "box",
            "storage": {"zfs": "tank/pool", "quota": "1GiB"},
            "access": MIXED,
            "previous_versions": True,
            "windows_acls": True,
        },
        "tree": {
            "gateway": "box",
            "storage": {"btrfs": "/mnt/tree", "ids": "same"},
            "access": {"write": ["@nfs"]},
            "recycle": True,
            "previous_versions": True,
        },
    },
}
# A folder of the node by virtio-fs, and a disk.
MEMBER: dict[str, Any] = {
    "version": 1,
    "site": "member",
    "domains": {
        "corp": {
            "realm": "corp.test",
            "join": {"user": "joiner", "password": {"env": "SECRET_JOIN"}},
            "ad_site": "Berlin",
            "time": "controllers",
            "nameservers": ["192.0.2.53"],
            "ids": {"backend": "ad"},
            "ntlm": False,
            "register_names": True,
            "probes": {"anna": {"password": {"env": "SECRET_ANNA"}}},
        }
    },
    "gateways": {"one": {"domain": "corp", "aliases": ["files.corp.test"]}, "two": {}},
    "users": USERS,
    "shares": {
        "a": {
            "gateway": "one",
            "storage": {"directory": "/srv/a"},
            "access": {"write": ["@CORP\\All Staff"], "deny": ["CORP\\bert"]},
        },
        "b": {
            "gateway": "two",
            "storage": {"directory": "/srv/b"},
            "access": {"write": ["alice"]},
        },
    },
}

MACHINE: dict[str, Any] = {
    **CONTAINER,
    "site": "machined",
    "gateways": {
        "box": {
            "mode": "vm",
            "node": "pve1",
            "network": {"address": "192.0.2.9/24", "gateway": "192.0.2.1"},
            "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHTJRWDoH8uDSUM0BM87Y3JwCkUc1l8zHB7reVfmK+mb admin"],
        }
    },
    "shares": {
        "plain": {"gateway": "box", "storage": {"directory": "/srv/plain"}, "access": MIXED, "windows_acls": True},
        "vol": {"gateway": "box", "storage": {"volume": "local", "size": "8GiB"}, "access": MIXED},
        "spare": {
            "gateway": "box",
            "storage": {"volume": "local", "size": "1GiB", "on_destroy": "delete"},
            "access": MIXED,
        },
    },
}


def site(data: Mapping[str, Any]) -> Site:
    """The site, checked as its YAML would be."""
    return load_source(parse(json.dumps(data), "site.yaml")).site


def one_share(share: Mapping[str, Any], **others: Mapping[str, Any]) -> Site:
    """A site with one gateway that permits everything, and the share `s`."""
    shares = {
        name: {"gateway": "g", "storage": {"directory": f"/srv/{name}"}, "access": {"write": ["alice"]}, **data}
        for name, data in {"s": share, **others}.items()
    }
    gateway = {"permit": ["guest", "options", "wide links"]}
    groups = {"staff": {"members": ["bob"]}, "crew": {"members": ["carol"]}}
    return site(
        {"version": 1, "site": "x", "gateways": {"g": gateway}, "users": USERS, "groups": groups, "shares": shares}
    )


def plan(defined: Site, wanted: Sequence[Resource], world: World, **options: Any) -> Plan:
    live = dict.fromkeys(defined.gateways, Live({"samba": "4.17"})) | world.live()
    return planning.build(defined.site, wanted, live, kinds(), Options(**options))
