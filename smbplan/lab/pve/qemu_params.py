"""Parameters of virtual machines: what can be in a configuration, and what calls take beside it."""

import re
from typing import Any

from smbplan.lab.pve import schema
from smbplan.lab.pve.guestconf import sort_of
from smbplan.lab.pve.qemu_props import UUID
from smbplan.lab.pve.schema import BOOL, NEED, STR, Param, Table

OS_TYPES = "other wxp w2k w2k3 w2k8 wvista win7 win8 win10 win11 l24 l26 solaris"
LOCKS = "backup clone create migrate rollback snapshot snapshot-delete suspending suspended"
KEYBOARDS = "de de-ch da en-gb en-us es fi fr fr-be fr-ca fr-ch hu is it ja lt mk nl no pl pt pt-br sv sl tr"
DRIVE_COUNTS = {"ide": 4, "scsi": 31, "virtio": 16, "sata": 6}
# In this order qemu-server looks for a disk to boot from.
DRIVES = (*(f"{kind}{n}" for kind, count in DRIVE_COUNTS.items() for n in range(count)), "efidisk0", "tpmstate0")
_COUNT = Param("integer", low=0)
_SOME = Param("integer", low=1)

CLOUD_INIT: dict[str, Param] = {
    "cicustom": Param(props="qemu-cicustom"),
    "cipassword": STR,
    "citype": Param(enum=("configdrive2", "nocloud", "opennebula")),
    "ciupgrade": BOOL,
    "ciuser": STR,
    "ipconfig[n]": Param(props="qemu-ipconfig"),
    "nameserver": Param(format="address-list"),
    "searchdomain": STR,
    "sshkeys": Param(format="urlencoded"),
}
CONFIG: Table = {
    **{f"{kind}[n]": Param(props=f"qemu-{kind}") for kind in DRIVE_COUNTS},
    **CLOUD_INIT,
    "acpi": BOOL,
    "affinity": STR,
    "agent": Param(props="qemu-agent"),
    "allow-ksm": Param("boolean", since=9),
    "amd-sev": STR,
    "arch": Param(enum=("x86_64", "aarch64")),
    "args": STR,
    "audio0": Param(props="qemu-audio"),
    "autostart": BOOL,
    "balloon": _COUNT,
    "bios": Param(enum=("seabios", "ovmf")),
    "boot": Param(props="qemu-boot"),
    "bootdisk": Param(pattern=r"(ide|sata|scsi|virtio)\d+"),
    "cores": _SOME,
    "cpu": Param(props="qemu-cpu"),
    "cpulimit": Param("number", low=0, high=128),
    "cpuunits": Param("integer", low=1, high=262144),
    "description": Param(longest=8192),
    "efidisk0": Param(props="qemu-efidisk"),
    "freeze": BOOL,
    "hookscript": Param(format="volume-id"),
    "hostpci[n]": Param(props="qemu-hostpci"),
    "hotplug": Param(format="hotplug"),
    "hugepages": Param(enum=("any", "2", "1024")),
    "intel-tdx": Param(since=9),
    "ivshmem": Param(props="qemu-ivshmem"),
    "keephugepages": BOOL,
    "keyboard": Param(enum=tuple(KEYBOARDS.split())),
    "kvm": BOOL,
    "localtime": BOOL,
    "lock": Param(enum=tuple(LOCKS.split())),
    "machine": Param(props="qemu-machine"),
    "memory": Param(props="qemu-memory"),
    "migrate_downtime": Param("number", low=0),
    "migrate_speed": _COUNT,
    "name": Param(format="dns-name"),
    "net[n]": Param(props="qemu-net"),
    "numa": BOOL,
    "numa[n]": Param(props="qemu-numa"),
    "onboot": BOOL,
    "ostype": Param(enum=tuple(OS_TYPES.split())),
    "parallel[n]": Param(pattern=r"/dev/parport\d+|/dev/usb/lp\d+"),
    "protection": BOOL,
    "reboot": BOOL,
    "rng0": Param(props="qemu-rng"),
    "scsihw": Param(enum=("lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi")),
    "serial[n]": Param(pattern="(/dev/.+|socket)"),
    "shares": Param("integer", low=0, high=50000),
    "smbios1": Param(props="qemu-smbios1", longest=512),
    "smp": _SOME,
    "sockets": _SOME,
    "spice_enhancements": Param(props="qemu-spice"),
    "startdate": Param(pattern=r"now|\d{4}-\d{1,2}-\d{1,2}(T\d{1,2}:\d{1,2}:\d{1,2})?"),
    "startup": Param(format="startup"),
    "tablet": BOOL,
    "tags": Param(format="tags"),
    "tdf": BOOL,
    "template": BOOL,
    "tpmstate0": Param(props="qemu-tpmstate"),
    "unused[n]": Param(props="qemu-unused"),
    "usb[n]": Param(props="qemu-usb"),
    "vcpus": _SOME,
    "vga": Param(props="qemu-vga"),
    "virtiofs[n]": Param(props="qemu-virtiofs"),
    "vmgenid": Param(pattern=f"{UUID}|[01]"),
    "vmstatestorage": Param(format="storage-id"),
    "watchdog": Param(props="qemu-watchdog"),
}
_NEW_DISKS: Table = {
    "cdrom": Param(props="qemu-ide"),
    "import-working-storage": Param(format="storage-id"),
}
CREATE: Table = {
    **CONFIG,
    **_NEW_DISKS,
    "vmid": Param("integer", optional=False, format="vmid"),
    "archive": Param(longest=255),
    "bwlimit": _COUNT,
    "force": BOOL,
    "ha-managed": Param("boolean", since=9),
    "live-restore": BOOL,
    "pool": Param(format="pool"),
    "start": BOOL,
    "storage": Param(format="storage-id"),
    "unique": BOOL,
}
SET: Table = {
    **CONFIG,
    **_NEW_DISKS,
    "delete": STR,
    "digest": Param(longest=40),
    "force": BOOL,
    "revert": STR,
    "skiplock": BOOL,
}
CLONE: Table = {
    "bwlimit": _COUNT,
    "description": STR,
    "format": Param(enum=("raw", "qcow2", "vmdk")),
    "full": BOOL,
    "name": Param(format="dns-name"),
    "newid": Param("integer", optional=False, format="vmid"),
    "pool": Param(format="pool"),
    "snapname": Param(format="config-id", longest=40),
    "storage": Param(format="storage-id"),
    "target": Param(format="node"),
}
RESIZE: Table = {
    "disk": Param(optional=False, enum=DRIVES),
    "size": Param(optional=False, pattern=r"\+?\d+(\.\d+)?[KMGT]?"),
    "digest": Param(longest=40),
    "skiplock": BOOL,
}
DESTROY: Table = {"destroy-unreferenced-disks": BOOL, "purge": BOOL, "skiplock": BOOL}
MIGRATE: Table = {
    "target": Param(optional=False, format="node"),
    "bwlimit": _COUNT,
    "force": BOOL,
    "migration_network": STR,
    "migration_type": Param(enum=("secure", "insecure")),
    "online": BOOL,
    "targetstorage": STR,
    "with-conntrack-state": Param("boolean", since=9),
    "with-local-disks": BOOL,
}
START: Table = {
    "force-cpu": STR,
    "machine": Param(props="qemu-machine"),
    "migratedfrom": Param(format="node"),
    "migration_network": STR,
    "migration_type": Param(enum=("secure", "insecure")),
    "nets-host-mtu": Param(pattern=r"net\d+=\d+(,net\d+=\d+)*"),
    "skiplock": BOOL,
    "stateuri": Param(longest=128),
    "targetstorage": STR,
    "timeout": _COUNT,
    "with-conntrack-state": Param("boolean", since=9),
}
EXEC: Table = {"command": Param("array", optional=False), "input-data": Param(longest=65536)}
FILE_READ: Table = {
    "file": NEED,
    "count": Param("integer", low=1, high=16777216, since=9),
    "decode": Param("boolean", since=9),
    "offset": Param("integer", low=0, since=9),
}
FILE_WRITE: Table = {"file": NEED, "content": Param(optional=False, longest=61440), "encode": BOOL}
PASSWORD: Table = {"username": NEED, "password": Param(optional=False, shortest=5, longest=1024), "crypted": BOOL}
PID: Table = {"pid": Param("integer", optional=False)}
UNLINK: Table = {"idlist": Param(optional=False, format="config-id-list"), "force": BOOL}


def is_drive(key: str) -> bool:
    """Whether the key holds a disk or a medium (not `unusedN`)."""
    return key in DRIVES


def typed(key: str, value: str) -> Any:
    """The value as the API shows it."""
    param = schema.lookup(CONFIG, key)
    return int(value) if param and param.kind in ("integer", "boolean") and re.fullmatch(r"-?\d+", value) else value


def shown(values: dict[str, str]) -> dict[str, Any]:
    """All values so, and no password."""
    return {key: "**********" if key == "cipassword" else typed(key, value) for key, value in values.items()}


def is_cloud_init(key: str) -> bool:
    """Whether the cloud-init drive is made of the key."""
    return key in CLOUD_INIT or sort_of(key) == "ipconfig"
