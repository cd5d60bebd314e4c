"""What ID.conf of a virtual machine says, as far as QEMU has to know it. Keys and meanings are those of qm.conf(5)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from smbplan.lab.pve import guest
from smbplan.lab.pve.machine import Config, MachineError
from smbplan.lab.pve.vm_qemu import Shape

DRIVE = re.compile(r"(scsi|virtio|ide|sata)(\d+)")
MODELS = {"virtio": "virtio-net-pci", "e1000": "e1000", "rtl8139": "rtl8139", "vmxnet3": "vmxnet3"}
FLAGS = ("1", "on", "yes", "true")


@dataclass(frozen=True)
class Drive:
    """A disk or CD. `volume` is a volid, a path, or `none`."""

    key: str
    volume: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def bus(self) -> str:
        return DRIVE.fullmatch(self.key)[1]  # type: ignore[index]

    @property
    def number(self) -> int:
        return int(DRIVE.fullmatch(self.key)[2])  # type: ignore[index]

    @property
    def cdrom(self) -> bool:
        return self.options.get("media") == "cdrom"

    @property
    def cloudinit(self) -> bool:
        return re.search(r"vm-\d+-cloudinit", self.volume) is not None

    @property
    def serial(self) -> str:
        return unquote(self.options.get("serial", ""))


@dataclass(frozen=True)
class Card:
    """A network card."""

    key: str
    model: str
    mac: str
    bridge: str
    up: bool = True


def drives(config: Config) -> dict[str, Drive]:
    """By key, in the order of the file."""
    found = {}
    for key, text in config.items():
        if DRIVE.fullmatch(key):
            options = guest.properties(text, "file")
            found[key] = Drive(key, options.pop("file"), options)
    return found


def cards(config: Config) -> dict[str, Card]:
    """By key, in their order."""
    numbered = sorted((int(key[3:]), key) for key in config if re.fullmatch(r"net\d+", key))
    return {key: _card(key, config[key]) for _, key in numbered}


def _card(key: str, text: str) -> Card:
    options = guest.properties(text, "model")
    model = next((name for name in MODELS if name in options), options.get("model", "virtio"))
    mac = options.get(model, options.get("macaddr", ""))
    return Card(key, model, mac.lower(), options.get("bridge", ""), options.get("link_down", "0") not in FLAGS)


def shared_folders(config: Config) -> dict[str, dict[str, str]]:
    """virtiofsN: the mapping's name under `dirid`, and the options."""
    return {key: guest.properties(text, "dirid") for key, text in config.items() if re.fullmatch(r"virtiofs\d+", key)}


def shape(config: Config) -> Shape:
    """Raises MachineError for what the lab can't do."""
    if config.get("bios", "seabios") != "seabios":
        raise MachineError(f"the lab has no firmware '{config['bios']}'")
    kind = config.get("machine", "pc").partition(",")[0]
    machine = "q35" if "q35" in kind else "pc"
    cpus = int(config.get("cores", "1")) * int(config.get("sockets", "1"))
    memory = guest.properties(config.get("memory", "512"), "current")["current"]
    return Shape(cpus, int(memory), machine)


def has_agent(config: Config) -> bool:
    """Whether a guest agent is expected."""
    return guest.properties(config.get("agent", "0"), "enabled").get("enabled", "0") in FLAGS


def boot_order(config: Config) -> list[str]:
    """Drives and cards to start from; as PVE chooses them, the first disk, without the key."""
    order = guest.properties(config.get("boot", ""), "legacy").get("order")
    if order is not None:
        return [name for name in order.split(";") if name]
    disks = [drive.key for drive in drives(config).values() if not drive.cdrom]
    return [config["bootdisk"]] if "bootdisk" in config else disks[:1]
