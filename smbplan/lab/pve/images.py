"""Image files of virtual machines: where they are below a storage's folder, and what their first bytes tell."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"QFI\xfb"
_HEAD = struct.Struct(">4sIQIIQ")  # magic, version, where the backing file's name is, its length, cluster bits, size
_NAME_AT = 512


@dataclass(frozen=True)
class Image:
    """Format (`raw` or `qcow2`), size in bytes as the guest sees it, and the file that it is a difference to."""

    form: str
    size: int
    backing: str = ""


def read(path: Path) -> Image:
    """Whatever is no qcow2 is raw."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if not head.startswith(_MAGIC) or len(head) < _HEAD.size:
            return Image("raw", path.stat().st_size)
        _, _, place, length, _, size = _HEAD.unpack(head)
        file.seek(place)
        return Image("qcow2", size, file.read(length).decode(errors="replace") if place else "")


def write(path: Path, image: Image) -> None:
    """A new file that `read` takes for this image; nothing more of qcow2 than its head."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        if image.form == "raw":
            file.truncate(image.size)
            return
        name = image.backing.encode()
        file.write(_HEAD.pack(_MAGIC, 3, _NAME_AT if name else 0, len(name), 16, image.size))
        file.seek(_NAME_AT)
        file.write(name)


def grow(path: Path, size: int) -> None:
    """Change the size of an image that `write` made, or of a raw one."""
    old = read(path)
    if old.form == "raw":
        os.truncate(path, size)
        return
    with path.open("r+b") as file:
        head = list(_HEAD.unpack(file.read(_HEAD.size)))
        file.seek(0)
        file.write(_HEAD.pack(*head[:-1], size))


def file_of(name: str) -> str:
    """The file of a volume below `images`: of a linked clone `9000/base-9000-disk-0.qcow2/100/vm-…` the end."""
    return "/".join(name.split("/")[-2:])
