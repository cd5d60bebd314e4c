"""Which rights each option of a container needs; some are for root@pam alone (not for its tokens)."""

import re
from collections.abc import Mapping

from smbplan.lab.pve import schema, storages
from smbplan.lab.pve.errors import denied
from smbplan.lab.pve.guest_rights import GuestChanges
from smbplan.lab.pve.lxc_params import NEW_VOLUME, is_volume_key, volume_type

_AREA = {
    "cores": "CPU",
    "cpuunits": "CPU",
    "cpulimit": "CPU",
    "memory": "Memory",
    "swap": "Memory",
    "nameserver": "Network",
    "searchdomain": "Network",
    "hostname": "Network",
}
_ONLY_ROOT = "is only allowed for root@pam"


class Changes(GuestChanges):
    """One change of a container."""

    def check(self, new: Mapping[str, str], deleted: list[str], unprivileged: bool) -> None:
        """403 for the first option that the user may not set or delete so."""
        if self.rights.is_root:
            return
        for key in deleted:
            self._option(key, None, unprivileged)
        for key, value in new.items():
            self._option(key, value, unprivileged)

    def _option(self, key: str, value: str | None, unprivileged: bool) -> None:
        if is_volume_key(key) or key.startswith("unused"):
            self._vm("VM.Config.Disk")
            if value is not None and is_volume_key(key):
                self._volume(key, value)
        elif re.fullmatch(r"dev\d+", key):
            raise denied(f"configuring device passthrough {_ONLY_ROOT}")
        elif re.fullmatch(r"net\d+", key):
            self._vm("VM.Config.Network")
            if value is not None:
                self._bridge(key, value)
        elif key == "features":
            self._features(value, unprivileged)
        elif key == "hookscript":
            raise denied(f"changing the hookscript {_ONLY_ROOT}")
        elif key == "tags":
            self._vm("VM.Config.Options")
            self._tags(value or "")
        else:
            self._vm(f"VM.Config.{_AREA.get(key, 'Options')}")

    def _volume(self, key: str, value: str) -> None:
        volume = value.partition(",")[0].removeprefix("volume=")
        kind = volume_type(volume)
        if kind != "volume":
            raise denied(f"mount point type {kind} {_ONLY_ROOT}")
        new = NEW_VOLUME.fullmatch(volume)
        if new:
            self.rights.check(f"/storage/{new[1]}", ["Datastore.AllocateSpace"])
        elif ":" in volume and volume != (self.old or {}).get(key, "").partition(",")[0]:
            storages.check_access(self.rights, volume, "rootdir")

    def _features(self, value: str | None, unprivileged: bool) -> None:
        if not unprivileged:
            raise denied(f"changing feature flags for privileged container {_ONLY_ROOT}")
        new = schema.parse_props("features", value, "features") if value else {}
        old = schema.parse_props("features", (self.old or {}).get("features", ""), "features")
        changed = {key for key in new.keys() | old.keys() if new.get(key, "") != old.get(key, "")}
        if value is None or changed - {"nesting"}:
            raise denied(f"changing feature flags (except nesting) {_ONLY_ROOT}")
        if changed:
            self._vm("VM.Allocate")
