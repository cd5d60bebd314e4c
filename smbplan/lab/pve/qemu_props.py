"""Property strings of virtual machines; importing this makes them known to `schema`."""

from smbplan.lab.pve import schema
from smbplan.lab.pve.schema import BOOL, INT, STR, Param, Props

MODELS = (
    *("e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b", "i82559er"),
    *("ne2k_isa", "ne2k_pci", "pcnet", "rtl8139", "virtio", "vmxnet3"),
)
FORMATS = ("raw", "qcow", "qed", "qcow2", "vmdk", "cloop")
_COUNT = Param("integer", low=1)
_RATES = ("", "_rd", "_wr")
UUID = r"[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}"
_NUMBERS = r"\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*"
_FILE = {
    "file": Param(optional=False, format="drive"),
    "format": Param(enum=FORMATS),
    "import-from": Param(format="source"),
    "size": Param(format="size"),
}
_DRIVE: dict[str, Param] = {
    **_FILE,
    "aio": Param(enum=("native", "threads", "io_uring")),
    "backup": BOOL,
    **{f"bps{part}": INT for part in _RATES},
    **{f"bps{part}_max_length": _COUNT for part in _RATES},
    "cache": Param(enum=("none", "writethrough", "writeback", "unsafe", "directsync")),
    **{name: Param("integer", until=8.99) for name in ("cyls", "heads", "secs")},
    "detect_zeroes": BOOL,
    "discard": Param(enum=("ignore", "on")),
    **{f"iops{part}{end}": INT for part in _RATES for end in ("", "_max")},
    **{f"iops{part}_max_length": _COUNT for part in _RATES},
    **{f"mbps{part}{end}": Param("number") for part in _RATES for end in ("", "_max")},
    "media": Param(enum=("cdrom", "disk")),
    "replicate": BOOL,
    "rerror": Param(enum=("ignore", "report", "stop")),
    "serial": Param(format="urlencoded", longest=60),
    "shared": BOOL,
    "snapshot": BOOL,
    "trans": Param(enum=("none", "lba", "auto"), until=8.99),
    "werror": Param(enum=("enospc", "ignore", "report", "stop")),
}
_WWN = {"wwn": Param(pattern="(0x)[0-9a-fA-F]{16}")}
_SCSI = {
    "iothread": BOOL,
    "product": Param(pattern=r"[A-Za-z0-9\-_\s]{0,16}"),
    "queues": Param("integer", low=2),
    "ro": BOOL,
    "scsiblock": BOOL,
    "ssd": BOOL,
    "vendor": Param(pattern=r"[A-Za-z0-9\-_\s]{0,8}"),
}
_OTHER_NAMES = {
    "volume": "file",
    **{f"{kind}{part}_length": f"{kind}{part}_max_length" for kind in ("bps", "iops") for part in ("_rd", "_wr")},
}


def _drive(more: dict[str, Param]) -> Props:
    return Props({**_DRIVE, **more}, "file", _OTHER_NAMES)


PROPS: dict[str, Props] = {
    "qemu-ide": _drive({**_WWN, "model": Param(format="urlencoded", longest=120), "ssd": BOOL}),
    "qemu-sata": _drive({**_WWN, "ssd": BOOL}),
    "qemu-scsi": _drive({**_WWN, **_SCSI}),
    "qemu-virtio": _drive({"iothread": BOOL, "ro": BOOL}),
    "qemu-efidisk": Props(
        {
            **_FILE,
            "efitype": Param(enum=("2m", "4m")),
            "ms-cert": Param(enum=("2011", "2023", "2023w", "2023k")),
            "pre-enrolled-keys": BOOL,
        },
        "file",
        {"volume": "file"},
    ),
    "qemu-tpmstate": Props(
        {
            **_FILE,
            "format": Param(enum=("raw", "qcow2", "vmdk"), since=9),
            "version": Param(enum=("v1.2", "v2.0")),
        },
        "file",
        {"volume": "file"},
    ),
    "qemu-unused": Props({"file": Param(optional=False, format="volume-id")}, "file", {"volume": "file"}),
    "qemu-net": Props(
        {
            "bridge": Param(pattern=r"[-_.\w]+"),
            "firewall": BOOL,
            "link_down": BOOL,
            "macaddr": Param(format="mac"),
            "model": Param(optional=False, enum=MODELS),
            "mtu": Param("integer", low=1, high=65520),
            "queues": Param("integer", low=0, high=64),
            "rate": Param("number", low=0),
            "tag": Param("integer", low=1, high=4094),
            "trunks": Param(pattern=_NUMBERS),
        },
        "model",
        named=("model", "macaddr"),
    ),
    "qemu-agent": Props(
        {
            "enabled": Param("boolean", optional=False),
            "freeze-fs": Param("boolean", since=9),
            "freeze-fs-on-backup": BOOL,
            "guest-fsfreeze": Param("boolean", since=9),
            "fstrim_cloned_disks": BOOL,
            "type": Param(enum=("virtio", "isa")),
        },
        "enabled",
    ),
    "qemu-audio": Props(
        {
            "device": Param(optional=False, enum=("ich9-intel-hda", "intel-hda", "AC97")),
            "driver": Param(enum=("spice", "none")),
        }
    ),
    "qemu-boot": Props({"legacy": Param(pattern="[acdn]{1,4}"), "order": STR}, "legacy"),
    "qemu-cicustom": Props({name: Param(format="volume-id") for name in ("meta", "network", "user", "vendor")}),
    "qemu-cpu": Props(
        {
            "cputype": STR,
            "flags": STR,
            "guest-phys-bits": INT,
            "hidden": BOOL,
            "hv-vendor-id": STR,
            "phys-bits": STR,
            "reported-model": STR,
        },
        "cputype",
    ),
    "qemu-hostpci": Props(
        {
            **dict.fromkeys(("device-id", "sub-device-id", "sub-vendor-id", "vendor-id", "mdev", "romfile"), STR),
            **dict.fromkeys(("legacy-igd", "pcie", "rombar", "x-vga"), BOOL),
            "driver": Param(enum=("vfio", "keep")),
            "host": STR,
            "mapping": Param(format="config-id"),
        },
        "host",
    ),
    "qemu-ipconfig": Props(
        {
            "gw": Param(format="ipv4"),
            "gw6": Param(format="ipv6"),
            "ip": Param(format="ipv4-config"),
            "ip6": Param(format="ipv6-config"),
        }
    ),
    "qemu-ivshmem": Props({"name": Param(pattern=r"[a-zA-Z0-9\-]+"), "size": Param("integer", optional=False, low=1)}),
    "qemu-machine": Props(
        {
            "aw-bits": Param("number", low=32, high=64, since=9),
            "enable-s3": BOOL,
            "enable-s4": BOOL,
            "type": Param(
                pattern=r"pc|pc(-i440fx)?-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?|q35|pc-q35-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?"
                r"|virt(?:-\d+(\.\d+)+)?(\+pve\d+)?",
                longest=40,
            ),
            "viommu": Param(enum=("intel", "virtio")),
        },
        "type",
    ),
    "qemu-memory": Props({"current": Param("integer", optional=False, low=16)}, "current"),
    "qemu-numa": Props(
        {
            "cpus": Param(optional=False, pattern=_NUMBERS),
            "hostnodes": Param(pattern=_NUMBERS),
            "memory": Param("number"),
            "policy": Param(enum=("preferred", "bind", "interleave")),
        }
    ),
    "qemu-rng": Props(
        {
            "max_bytes": INT,
            "period": INT,
            "source": Param(optional=False, enum=("/dev/urandom", "/dev/random", "/dev/hwrng")),
        },
        "source",
    ),
    "qemu-smbios1": Props(
        {
            "base64": BOOL,
            **dict.fromkeys(("family", "manufacturer", "product", "serial", "sku", "version"), STR),
            "uuid": Param(pattern=UUID),
        }
    ),
    "qemu-spice": Props({"foldersharing": BOOL, "videostreaming": Param(enum=("off", "all", "filter"))}),
    "qemu-usb": Props({"host": STR, "mapping": Param(format="config-id"), "usb3": BOOL}, "host"),
    "qemu-vga": Props(
        {
            "clipboard": Param(enum=("vnc",)),
            "memory": Param("integer", low=4, high=512),
            "type": Param(
                enum=(
                    *("cirrus", "qxl", "qxl2", "qxl3", "qxl4", "none", "serial0", "serial1", "serial2", "serial3"),
                    *("std", "virtio", "virtio-gl", "vmware"),
                )
            ),
        },
        "type",
    ),
    "qemu-virtiofs": Props(
        {
            "cache": Param(enum=("auto", "always", "metadata", "never")),
            "direct-io": BOOL,
            "dirid": Param(optional=False, format="config-id"),
            "expose-acl": BOOL,
            "expose-xattr": BOOL,
        },
        "dirid",
    ),
    "qemu-watchdog": Props(
        {
            "action": Param(enum=("reset", "shutdown", "poweroff", "pause", "debug", "none")),
            "model": Param(enum=("i6300esb", "ib700")),
        },
        "model",
    ),
}
schema.PROPS.update(PROPS)
