"""Image files of virtual machines: what their headers say, and qemu-img."""

import hashlib
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

from smbplan.lab.pve.machine import MachineError

FOLDER = Path("/usr/share/smbplan-lab/vm")
"""The lab's own disk and the saved state of a machine with it; vm_prepare.py makes them."""
BASE, DELTA, STATE, INFO = (FOLDER / name for name in ("base.qcow2", "delta.qcow2", "state.zst", "info.json"))
TEMPLATE, CLOUDINIT = FOLDER / "template.qcow2", FOLDER / "cloudinit.qcow2"  # the disks of a node's template
MAGIC = b"QFI\xfb"
FORMATS = ("raw", "qcow2")


def run(*words: str | Path) -> str:
    """qemu-img and the like. Raises MachineError with its last words."""
    argv = [str(word) for word in words]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise MachineError(f"command '{' '.join(argv)}' failed: exit code {done.returncode}: {said}")
    return done.stdout


def form(path: Path) -> str:
    """raw or qcow2, by what is in it. Raises OSError."""
    with path.open("rb") as file:
        return "qcow2" if file.read(4) == MAGIC else "raw"


def size(path: Path) -> int:
    """Bytes that a guest sees. Raises OSError."""
    with path.open("rb") as file:
        header = file.read(32)
    return int(struct.unpack_from(">Q", header, 24)[0]) if header[:4] == MAGIC else path.stat().st_size


def backing_name(path: Path) -> str:
    """How an overlay names the image below it; "" if there is none. Raises OSError."""
    with path.open("rb") as file:
        header = file.read(20)
        if header[:4] != MAGIC:
            return ""
        offset, length = struct.unpack_from(">QI", header, 8)
        file.seek(offset)
        return file.read(length if offset else 0).decode()


def backing(path: Path) -> Path | None:
    """The image below an overlay. Raises OSError."""
    name = backing_name(path)
    return (path.parent / name).resolve() if name else None


def untouched(path: Path) -> bool:
    """Whether it differs from the lab's own disk in nothing but its size."""
    below: Path | None = path
    while below is not None and below != BASE:
        if backing(below) is None or json.loads(run("qemu-img", "check", "-U", "--output=json", below)).get(
            "allocated-clusters"
        ):
            return False
        below = backing(below)
    return below == BASE


def over_base(path: Path) -> bool:
    """Whether it stands on the lab's own disk."""
    below: Path | None = path
    while below is not None and below != BASE:
        below = backing(below)
    return below == BASE


def overlay(path: Path, below: Path, bytes_: int, named: str = "") -> None:
    """A new qcow2 that differs from the image below in nothing."""
    words = ("qemu-img", "create", "-q", "-f", "qcow2", "-b", named or below, "-F", form(below), path)
    run(*words, str(max(bytes_, size(below))))


def info() -> dict[str, Any]:
    """Of the lab's own disk; nothing if this node has none."""
    try:
        return dict(json.loads(INFO.read_text()))
    except OSError:
        return {}


def is_base(path: Path) -> bool:
    """Whether it is a copy of the lab's own disk, as an upload of it is."""
    known = info()
    if not known or path.stat().st_size != known.get("bytes"):
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == str(known["sha256"])


def copied(source: Path, target: Path, kind: str) -> None:
    """A disk of its own. What it shares with the lab's own disk stays in that file: nodes have it anyway."""
    if kind == "qcow2" and is_base(source):
        overlay(target, BASE, 0)
    elif kind == "qcow2" and over_base(source):
        if untouched(source):
            overlay(target, BASE, size(source))
        else:
            run("qemu-img", "convert", "-U", "-O", "qcow2", "-B", BASE, "-F", "qcow2", source, target)
    else:
        run("qemu-img", "convert", "-U", "-O", kind, source, target)
