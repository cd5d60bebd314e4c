"""The lab's virtual machines: a disk made of Debian packages, and the saved state of a machine with it that waits.

Both are built once, beside the layers of the nodes' root filesystem, and every node sees them read-only.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from smbplan import bootable, debian
from smbplan.debian import CONTAINED, Progress
from smbplan.errors import Refused
from smbplan.lab.pve import vm_qemu
from smbplan.lab.pve.vm_qemu import Place, Shape
from smbplan.lab.pvenode import PACKAGE
from smbplan.lab.rootfs import Rootfs, cache_dir, one_at_a_time
from smbplan.lab.tools import TO_BUILD, LabError, require

SCRIPT = Path(__file__).with_name("vm.sh")
PREPARED_BY = ("vm_guest.py", "vm_prepare.py")  # and by the command line
DISK, INFO = "base.qcow2", "info.json"


def _served() -> tuple[str, ...]:
    from smbplan.kinds.packages import SERVED  # it needs pydantic, and this module is imported at every start

    return SERVED


def disk(progress: Progress) -> Path:
    """The disk, in a folder with what is known of it; built first if this recipe never was. Raises LabError."""
    release = debian.codename()
    texts = [path.read_text() for path in (Path(bootable.__file__), bootable.SCRIPT, debian.BLANK)]
    target = cache_dir() / f"disk-{release}-{_hash(_served(), debian.SLIM, texts)}"
    if not target.is_dir():
        require(TO_BUILD)
        with one_at_a_time(target, "a disk", progress):
            if not target.is_dir():
                _build_disk(target, progress)
    return target / DISK


def prepare(layers: Rootfs, progress: Progress) -> Path:
    """The folder with disk and state for such nodes, prepared first if it never was. Raises LabError."""
    base = disk(progress)
    texts = [path.read_text() for path in (SCRIPT, *(PACKAGE / name for name in PREPARED_BY))]
    argv = vm_qemu.command(Place(0), Shape(), "tcg", vm_qemu.boot_disk(Path(DISK)))
    # What KVM has saved can't go on without it.
    kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
    target = cache_dir() / f"vm-{_hash(base.parent.name, layers.base.parent.name, kvm, argv, texts)}"
    if not target.is_dir():
        with one_at_a_time(target, "a machine", progress):
            if not target.is_dir():
                _save_machine(target, base, layers, progress)
    return target


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _build_disk(target: Path, progress: Progress) -> None:
    building = _empty(target)
    try:
        made = bootable.build(building / DISK, debian.MIRROR, _served(), progress)
    except Refused as refused:
        trouble = refused.troubles[0]
        raise LabError(
            trouble.summary + (f": {trouble.detail[-1500:]}" if trouble.detail else ""), trouble.hint
        ) from None
    with made.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known = {
        "samba": debian.upstream(made.samba),
        "built": time.strftime("%Y-%m-%d", time.gmtime()),
        "bytes": made.file.stat().st_size,
        "sha256": digest,
    }
    (building / INFO).write_text(json.dumps(known))
    building.rename(target)


def _save_machine(target: Path, base: Path, layers: Rootfs, progress: Progress) -> None:
    building = _empty(target)
    os.link(base, building / DISK)
    shutil.copy(base.with_name(INFO), building)
    log = target.with_suffix(".log")
    progress("starting a virtual machine to keep its state (once, a minute)")
    with tempfile.TemporaryDirectory(prefix="smbplan-vm-") as work, log.open("w") as out:
        lower = ":".join(str(layer) for layer in (layers.pve, layers.samba, layers.base))
        argv = [*CONTAINED, "--net", "sh", str(SCRIPT), lower, str(PACKAGE), str(building), work]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)
    if done.returncode:
        raise LabError(f"the machine can't be prepared: {log.read_text()[-1500:]}", f"log: {log}")
    building.rename(target)
    progress(log.read_text().splitlines()[-1])


def _empty(target: Path) -> Path:
    building = target.with_suffix(".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    return building
