"""What Samba is told for each preset and each option, as golden files; and the order of its VFS modules."""

import itertools
from typing import Any

import pytest
from unit import golden
from unit.kinds.sites import one_share

from smbplan.kinds import kinds
from smbplan.kinds.options import canonical
from smbplan.kinds.share import params
from smbplan.kinds.vfs import ORDER
from smbplan.spec.model import Share
from smbplan.spec.presets import PRESETS

ZFS = {"storage": {"zfs": "tank/s"}}
CASES: dict[str, dict[str, Any]] = {
    **{f"preset-{name}": {"preset": name} for name in PRESETS},
    "name": {"name": "Was man sieht"},
    "comment": {"comment": "Drawings and plans"},
    "access-users-and-groups": {"access": {"write": ["@staff", "alice"], "read": ["bob"], "deny": ["@crew"]}},
    "access-read": {"access": {"read": ["@staff"]}},
    "access-everybody-writes": {"access": {"write": ["*"], "deny": ["bob"]}},
    "access-everybody-reads": {"access": {"read": ["*"], "write": ["alice"]}},
    "access-admin": {"access": {"read": ["bob"], "admin": ["alice"]}},
    "access-admin-only": {"access": {"admin": ["alice"]}},
    "guest-read": {"guest": "read", "access": {}},
    "guest-read-some-write": {"guest": "read"},
    "guest-write": {"guest": "write", "access": {}},
    "hosts": {"hosts": {"allow": ["192.0.2.0/24", "2001:db8::/32"], "deny": ["192.0.2.66"]}},
    "encryption-off": {"encryption": "off"},
    "encryption-required": {"encryption": "required"},
    "recycle": {"recycle": {"expire": "7d"}},
    "previous_versions-zfs": {**ZFS, "previous_versions": True},
    "previous_versions-btrfs": {"storage": {"btrfs": "/srv/s"}, "previous_versions": {"keep": 3}},
    "time_machine-max_size": {"time_machine": True, "max_size": "1TiB"},
    "homes": {"homes": True},
    "audit": {"audit": True},
    "windows_acls": {"windows_acls": True},
    "multi_protocol": {"multi_protocol": True},
    "hidden": {"hidden": True},
    "max_connections": {"max_connections": 5},
    "options": {"options": {"Strict  Sync": True, "aio read size": 0, "wide links": "yes", "case sensitive": "auto"}},
    "everything": {
        **ZFS,
        "audit": True,
        "recycle": True,
        "previous_versions": True,
        "time_machine": True,
        "hidden": True,
    },
    "plain-with-access": {"preset": "plain", "access": {"read": ["@staff"]}, "encryption": "required"},
}
# These don't change the section.
SILENT = {"gateway", "storage", "permissions", "allow_overlap", "prevent_destroy"}


@pytest.mark.parametrize("case", sorted(CASES))
def test_golden(case: str) -> None:
    site = one_share(CASES[case])
    share = site.shares["s"]
    lines = "".join(f"   {name} = {value}\n" for name, value in params(site, "s", share).items())
    golden.check(f"params/{case}.conf", f"[{share.name or 's'}]\n{lines}")


def test_every_key_of_a_share_has_a_case() -> None:
    used = {key for case in CASES.values() for key in case}
    assert set(Share.model_fields) - used - SILENT == set()
    assert {f"preset-{name}" for name in PRESETS} <= set(CASES)


@pytest.mark.parametrize("case", sorted(CASES))
def test_params_are_canonical_and_single_lines(case: str) -> None:
    found = params(one_share(CASES[case]), "s", one_share(CASES[case]).shares["s"])
    assert canonical(found) == found
    assert all(isinstance(value, str) and "\n" not in key + value for key, value in found.items())
    state = {"mark": None, "params": found, "source": "registry"}
    assert kinds()["samba.share"].canonical(state) == state


FEATURES = {
    "full_audit": {"audit": True},
    "recycle": {"recycle": True},
    "shadow_copy2": {"previous_versions": True},
    "fruit": {"time_machine": True},
}


@pytest.mark.parametrize(
    "chosen", [each for size in range(5) for each in itertools.combinations(FEATURES, size)], ids=" ".join
)
def test_order_of_vfs_objects(chosen: tuple[str, ...]) -> None:
    share: dict[str, Any] = dict(ZFS)
    for name in reversed(chosen):
        share |= FEATURES[name]
    site = one_share(share)
    found = params(site, "s", site.shares["s"]).get("vfs objects", "").split()
    expected = {*chosen, *(["streams_xattr"] if "fruit" in chosen else [])}
    assert found == [name for name in ORDER if name in expected]


def test_all_shares_of_a_gateway_speak_macos_or_none() -> None:
    site = one_share({}, mac={"time_machine": True})
    assert params(site, "s", site.shares["s"])["vfs objects"] == "fruit streams_xattr"
    assert "fruit:time machine" not in params(site, "s", site.shares["s"])
    assert "vfs objects" not in params(one_share({}, other={}), "s", one_share({}, other={}).shares["s"])
