"""Disks and media of virtual machines: their property strings, making and importing them."""

import re
from collections.abc import Mapping
from pathlib import Path

from smbplan.lab.pve import formats, schema, storages
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.guestconf import GuestConfig, sort_of
from smbplan.lab.pve.machine import Log
from smbplan.lab.pve.qemu_params import DRIVES, is_drive
from smbplan.lab.pve.site import Site
from smbplan.lab.pve.storages import Storage

Drive = dict[str, str]
NEW = re.compile(r"(?:([^/:\s]+):)?(\d+(?:\.\d+)?)")
CLOUD_INIT_SIZE = TPM_SIZE = 4 * 2**20
_QCOW2 = "cluster_size=65536 extended_l2=off preallocation=metadata compression_type=zlib size={} "
_QCOW2 += "lazy_refcounts=off refcount_bits=16"
_VARIABLES = {"4m": "/usr/share/OVMF/OVMF_VARS_4M{}.fd", "2m": "/usr/share/OVMF/OVMF_VARS{}.fd"}
_VARIABLES_SIZE = {"4m": 528 * 1024, "2m": 128 * 1024}


def parse(key: str, text: str) -> Drive:
    """The properties; of `unusedN`, too."""
    return schema.parse_props(f"qemu-{sort_of(key)}", text, key)


def show(key: str, drive: Drive) -> str:
    """The inverse of `parse`."""
    return schema.print_props(f"qemu-{sort_of(key)}", drive)


def is_cloud_init(drive: Drive) -> bool:
    """Whether it is, or is to become, the cloud-init drive."""
    file = drive["file"]
    return drive.get("media", "cdrom") == "cdrom" and (
        bool(re.search(r"(^|[:/])vm-\d+-cloudinit(\.|$)", file)) or file == "cloudinit" or file.endswith(":cloudinit")
    )


def is_cdrom(drive: Drive) -> bool:
    """Whether it is a medium, the cloud-init drive included."""
    return drive.get("media") == "cdrom" or is_cloud_init(drive)


def drives(values: Mapping[str, str]) -> dict[str, Drive]:
    """All drives of a configuration."""
    return {key: parse(key, values[key]) for key in sorted(filter(is_drive, values))}


def owned(drive: Drive, vmid: int) -> bool:
    """Whether the disk is the machine's own; ISO images and other guests' disks are not."""
    return ":" in drive["file"] and storages.owner_of(drive["file"]) == vmid


def check(values: Mapping[str, str]) -> dict[str, str]:
    """The values with drives in the server's order; 400 for those that make no sense."""
    found = dict(values)
    for key, drive in drives(values).items():
        file = drive["file"]
        if "import-from" in drive:
            new = NEW.fullmatch(file)
            if not new or float(new[2]):
                needed = "use <storage ID>:0,import-from=<source>"
                raise bad_params({key: f"'import-from' requires special syntax - {needed}"})
        iso = ":" in file and storages.sort_of_content(file) == "iso"
        if iso and drive.get("media") != "cdrom":
            raise bad_params({key: "explicit 'media=cdrom' is required for iso images"})
        found[key] = show(key, drive)
    return found


class Maker:
    """Makes what drives of one machine ask for. `made` are the new disks, to be freed if something fails.

    `config` is what the machine has so far.
    """

    def __init__(self, site: Site, vmid: int, config: GuestConfig, log: Log, default: str = "") -> None:
        self.site, self.vmid, self.config, self.log, self.default = site, vmid, config, log, default
        self.made: list[str] = []

    def provide(self, key: str, text: str) -> str:
        """The drive as it is stored: with a volume and its size."""
        drive = parse(key, text)
        new = NEW.fullmatch(drive["file"])
        if drive["file"] in ("none", "cdrom"):
            drive.pop("size", None)
            return show(key, drive)
        if drive["file"] == "cloudinit" or drive["file"].endswith(":cloudinit"):
            self._cloud_init(key, drive)
        elif new:
            self._disk(key, drive, new[1] or self.default, int(float(new[2]) * 2**30))
        else:
            drive["size"] = formats.print_size(self._size(drive["file"]))
            return show(key, drive)
        self.log(f"{key}: successfully created disk '{show(key, drive)}'")
        return show(key, drive)

    def _size(self, volume: str) -> int:
        if volume.startswith("/"):
            return Path(volume).stat().st_size
        path = storages.path_of(self.site, volume)
        if storages.sort_of_content(volume) != "images":
            if not path.is_file():
                raise fail(f"volume {volume} does not exist")
            return path.stat().st_size
        try:
            return self.site.machines.size(volume)
        except Exception:
            raise fail(f"volume {volume} does not exist") from None

    def _cloud_init(self, key: str, drive: Drive) -> None:
        for other, found in drives({**self.config.values, **self.config.pending}).items():
            if other != key and is_cloud_init(found) and "/" in found["file"]:
                raise fail(f"{key} - cloud-init drive is already attached at '{other}'")
        storage = storages.usable(self.site, drive["file"].rpartition(":")[0] or self.default)
        form = storages.disk_format(storage, drive.pop("format", "qcow2"))
        drive["file"] = self.site.machines.disk(storage, self.vmid, CLOUD_INIT_SIZE, form, "cloudinit")
        self.made.append(drive["file"])
        self._formatted(storage, drive["file"], CLOUD_INIT_SIZE)
        drive |= {"media": "cdrom"}

    def _disk(self, key: str, drive: Drive, name: str, size: int) -> None:
        storage, machines = storages.usable(self.site, name), self.site.machines
        form = storages.disk_format(storage, drive.pop("format", ""))
        source = drive.pop("import-from", "")
        variables = Path()
        if key == "efidisk0":
            kind = drive.get("efitype", "2m")
            signed = ".ms" if drive.get("pre-enrolled-keys") == "1" else ""
            variables, size = Path(_VARIABLES[kind].format(signed)), _VARIABLES_SIZE[kind]
        elif key == "tpmstate0":
            size = TPM_SIZE
        if source or variables.is_file():
            path = self._source(source) if source else variables
            try:
                volume = machines.imported(storage, self.vmid, path, form, self.log)
            except Exception as error:
                raise fail(f"cannot import from '{source or path}' - {error}") from None
        else:
            volume = machines.disk(storage, self.vmid, size, form)
            self._formatted(storage, volume, size)
        self.made.append(volume)
        if self.config.values.get("template") == "1":
            volume = self.made[-1] = machines.base(volume)
        drive |= {"file": volume, "size": formats.print_size(machines.size(volume))}

    def _formatted(self, storage: Storage, volume: str, size: int) -> None:
        """What qemu-img says."""
        if storage["type"] in storages.FILE_TYPES:
            form = volume.rpartition(".")[2]
            more = _QCOW2.format(size) if form == "qcow2" else f"size={size} preallocation=off"
            self.log(f"Formatting '{storages.path_of(self.site, volume)}', fmt={form} {more}")

    def _source(self, source: str) -> Path:
        path = Path(source) if source.startswith("/") else storages.path_of(self.site, source)
        if path.suffix == ".ova" or ".ova/" in source:
            raise fail("the lab extracts no OVA")
        if not path.exists():
            raise fail(f"volume '{source}' does not exist")
        return path

    def undo(self) -> None:
        """Free what was made."""
        for volume in self.made:
            self.site.machines.free(volume)


def drop(site: Site, vmid: int, config: GuestConfig, key: str, text: str, force: bool) -> None:
    """What is done with the disk of a drive that was taken out: kept as `unusedN`, or with `force` deleted."""
    drive = parse(key, text)
    if not owned(drive, vmid):
        return
    used = {other["file"] for name, other in drives(config.values).items() if name != key}
    if force or sort_of(key) == "unused" or is_cloud_init(drive):
        if any(drive["file"] in section.get(name, "") for section in config.snapshots.values() for name in section):
            raise fail(f"unable to delete '{drive['file']}' - volume is still in use (snapshot?)")
        if storages.linked(site, drive["file"]):
            name = storages.split_volid(drive["file"])[1]
            raise fail(f"base volume '{name}' is still in use by linked clones")
        site.machines.free(drive["file"])
    elif not is_cdrom(drive) and drive["file"] not in {*used, *unused(config.values).values()}:
        config.keep_unused(drive["file"])


def unused(values: Mapping[str, str]) -> dict[str, str]:
    """`unusedN` with their volumes."""
    return {key: parse(key, text)["file"] for key, text in values.items() if re.fullmatch(r"unused\d+", key)}


def tidy(config: GuestConfig) -> None:
    """A disk that is used again is not unused."""
    used = {drive["file"] for drive in drives(config.values).values()}
    for key, volume in unused(config.values).items():
        if volume in used:
            del config.values[key]


def boot_order(values: Mapping[str, str]) -> str:
    """The order that a machine gets when none is given: its first disk, medium and network."""
    found = drives(values)
    ranked = [key for key in DRIVES if key in found and key not in ("efidisk0", "tpmstate0")]
    first = [next((key for key in ranked if is_cdrom(found[key]) == medium), "") for medium in (False, True)]
    nets = sorted((key for key in values if re.fullmatch(r"net\d+", key)), key=lambda key: int(key[3:]))
    return print_order([key for key in (*first, *nets[:1]) if key])


def print_order(keys: list[str]) -> str:
    """`order=scsi0;net0`."""
    return f"order={';'.join(keys)}" if keys else ""


def boot_disk(values: Mapping[str, str]) -> str:
    """The key of the disk that it boots from; '' if there is none."""
    order = re.search(r"order=([^,]*)", values.get("boot", ""))
    keys = order[1].split(";") if order else [values.get("bootdisk", ""), *(key for key in DRIVES if key in values)]
    return next((key for key in keys if key in values and is_drive(key) and not is_cdrom(parse(key, values[key]))), "")
