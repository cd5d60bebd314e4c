"""Which rights each option of a virtual machine needs; some are for root@pam alone (not for its tokens)."""

import re
from collections.abc import Iterable, Mapping

from smbplan.lab.pve import qemu_drives, schema, storages
from smbplan.lab.pve.errors import bad_params, denied, fail
from smbplan.lab.pve.guest_rights import GuestChanges
from smbplan.lab.pve.guestconf import sort_of
from smbplan.lab.pve.qemu_params import is_cloud_init, is_drive

_AREAS = {
    "VM.Config.CPU": "affinity cores cpu cpulimit cpuunits numa smp sockets vcpus amd-sev intel-tdx",
    "VM.Config.Memory": "memory balloon shares allow-ksm",
    "VM.Config.HWType": "acpi hotplug kvm machine scsihw smbios1 tablet vga watchdog audio0 rng0",
    "VM.Config.Options": "agent autostart bios description keyboard localtime migrate_downtime migrate_speed name "
    "onboot ostype protection reboot startdate startup tdf template",
    "VM.Config.Disk": "boot bootdisk vmstatestorage",
    "VM.PowerMgmt": "freeze",
    "VM.Config.Network": "net",
}
_NEEDED = {name: need for need, names in _AREAS.items() for name in names.split()}
_BY_VALUE = ("serial", "usb", "hostpci", "virtiofs", "unused")


class VmChanges(GuestChanges):
    """One change of a virtual machine."""

    net_props = "qemu-net"

    def check_keys(self, keys: Iterable[str]) -> None:
        """What can be said without looking at values."""
        if self.rights.is_root:
            return
        for key in keys:
            if is_drive(key) or key in ("cdrom", "tags") or (sort_of(key) in _BY_VALUE and sort_of(key) != key):
                continue
            need = _NEEDED.get(key) or _NEEDED.get(sort_of(key))
            if is_cloud_init(key):
                self._any_of("VM.Config.Cloudinit", "VM.Config.Network")
            elif need is None:
                raise fail(f"only root can set '{key}' config")
            else:
                self._vm(need)
            if key == "startup":
                self.rights.check("/", ["Sys.Modify"])

    def _any_of(self, *names: str) -> None:
        pool = self.pool and self.rights.has(f"/pool/{self.pool}", names, any_of=True)
        if not pool:
            self.rights.check(f"/vms/{self.vmid}", list(names), any_of=True)

    def check_values(self, values: Mapping[str, str], verb: str) -> None:
        """What depends on the value that is set, or was. `verb`: set, modify or delete."""
        if self.rights.is_root:
            return
        for key, value in values.items():
            sort = sort_of(key)
            if sort == "serial":
                if value != "socket":
                    raise fail(f"only root can {verb} '{key}' config for real devices")
                self._vm("VM.Config.HWType")
            elif sort == "virtiofs":
                self._vm("VM.Config.Disk")
                name = schema.parse_props("qemu-virtiofs", value, key)["dirid"]
                self.rights.check(f"/mapping/dir/{name}", ["Mapping.Use"])
            elif sort in ("usb", "hostpci"):
                self._device(key, value)
            elif key == "rng0" and "hwrng" in value:
                self.rights.check("/mapping/hwrng", ["Mapping.Use"])
            elif key == "tags":
                self._tags("" if verb == "delete" else value)

    def _device(self, key: str, value: str) -> None:
        sort = sort_of(key)
        device = schema.parse_props(f"qemu-{sort}", value, key)
        kind = "real" if sort == "usb" else "non-mapped"
        if device.get("host", "spice").lower() != "spice" or (sort == "hostpci" and "host" in device):
            raise fail(f"only root can set '{key}' config for {kind} devices")
        if "mapping" in device:
            path = f"/mapping/{'usb' if sort == 'usb' else 'pci'}/{device['mapping']}"
            self.rights.check(path, ["Mapping.Use"])
        elif "host" not in device:
            raise fail("either 'host' or 'mapping' must be set.")
        self._vm("VM.Config.HWType")

    def check_drives(self, values: Mapping[str, str]) -> None:
        """Of drives of an existing machine, the old value and the new one: disks, media and cloud-init differ."""
        for key, value in values.items():
            if self.rights.is_root or not is_drive(key):
                continue
            drive = qemu_drives.parse(key, value)
            if qemu_drives.is_cloud_init(drive):
                self._vm("VM.Config.Cloudinit", "VM.Config.CDROM")
            else:
                self._vm("VM.Config.CDROM" if qemu_drives.is_cdrom(drive) else "VM.Config.Disk")

    def check_bridges(self, values: Mapping[str, str]) -> None:
        """Of networks that change."""
        for key, value in values.items():
            if re.fullmatch(r"net\d+", key) and not self.rights.is_root:
                self._bridge(key, value)

    def check_storages(self, values: Mapping[str, str], default: str = "") -> None:
        """That disks can be made where they should be, and read where they come from."""
        for key in sorted(key for key in values if is_drive(key) or sort_of(key) == "unused"):
            drive = qemu_drives.parse(key, values[key])
            volume, new = drive["file"], qemu_drives.NEW.fullmatch(drive["file"])
            if volume in ("none", "cloudinit") or volume.endswith(":cloudinit"):
                continue
            if qemu_drives.is_cdrom(drive) and volume == "cdrom":
                self.rights.check("/", ["Sys.Console"])
            elif new:
                name = new[1] or default
                if not name:
                    raise fail("no storage ID specified (and no default storage)")
                storages.for_images(self.site, self.rights, name)
            else:
                self._readable(volume)
                sort = storages.sort_of_content(volume) if ":" in volume else "images"
                if sort not in ("images", "iso"):
                    raise bad_params({key: "content type needs to be 'images' or 'iso'"})
            if "import-from" in drive:
                self._importable(key, drive["import-from"])

    def _readable(self, volume: str) -> None:
        if ":" not in volume or volume.startswith("/"):
            if not self.rights.is_root:
                raise fail("Only root can pass arbitrary filesystem paths.")
            return
        storages.get(self.site, storages.split_volid(volume)[0])
        if storages.owner_of(volume) == self.vmid:
            self.rights.check(
                f"/storage/{volume.partition(':')[0]}", ["Datastore.AllocateSpace", "Datastore.Audit"], any_of=True
            )
            return
        storages.check_access(self.rights, volume, storages.sort_of_content(volume))

    def _importable(self, key: str, source: str) -> None:
        if not source.startswith("/"):
            sort = storages.sort_of_content(source)
            if sort not in ("images", "import"):
                raise bad_params({key: f"{source} has wrong type '{sort}' - needs to be 'images' or 'import'"})
            owner = storages.owner_of(source) if sort == "images" else None
            if owner is not None:
                self.rights.check(f"/vms/{owner}", ["VM.Clone"])
                return
        self._readable(source)

    def check_clone(self, values: Mapping[str, str], storage: str) -> bool:
        """That disks can be copied (to the storage, if one is named); whether all of them are on shared ones."""
        every = True
        for key in sorted(filter(is_drive, values)):
            drive = qemu_drives.parse(key, values[key])
            if drive["file"] in ("none", "cdrom") or drive["file"].startswith("/"):
                continue
            name = storages.split_volid(drive["file"])[0]
            every = every and bool(storages.shared(storages.get(self.site, name)))
            if not qemu_drives.is_cdrom(drive):
                self.rights.check(f"/storage/{storage or name}", ["Datastore.AllocateSpace"])
        mapped = {key: value for key, value in values.items() if sort_of(key) in ("usb", "hostpci", "virtiofs", "rng")}
        for key, value in mapped.items() if not self.rights.is_root else ():
            if sort_of(key) == "virtiofs":
                name = schema.parse_props("qemu-virtiofs", value, key)["dirid"]
                self.rights.check(f"/mapping/dir/{name}", ["Mapping.Use"])
            else:
                self.check_values({key: value}, "set")
        self.check_bridges({key: value for key, value in values.items() if sort_of(key) == "net"})
        return every


def allocate_right(changes: VmChanges) -> None:
    """403 unless the user may have a guest of that id, or any in the pool."""
    rights, pool = changes.rights, changes.pool
    mine = rights.has(f"/vms/{changes.vmid}", ["VM.Allocate"])
    if not mine and not (pool and rights.has(f"/pool/{pool}", ["VM.Allocate"])):
        raise denied()
