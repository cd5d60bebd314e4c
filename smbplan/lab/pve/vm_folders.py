"""Folders of the node in a machine: directory mappings, and a real virtiofsd for each."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from smbplan.lab.pve import files, guest
from smbplan.lab.pve.machine import MachineError
from smbplan.lab.pve.vm_config import FLAGS
from smbplan.lab.pve.vm_qemu import Place

PROGRAM = "/usr/lib/qemu/virtiofsd"
START, END = 5.0, 2.0


def mapped(root: Path, node: str, name: str) -> Path:
    """The folder that a mapping names on the node. Raises MachineError."""
    entries: list[dict[str, str]] | None = None
    here = False
    for line in files.read(root / "mapping" / "directory.cfg").splitlines():
        if line[:1] not in ("", " ", "\t", "#"):
            here = (line.partition(":")[2] or line).strip() == name
            entries = [] if here else entries
        elif entries is not None and here and line.strip().startswith("map "):
            entries.append(guest.properties(line.strip().removeprefix("map ").strip(), ""))
    if entries is None:
        raise MachineError(f"cannot find mapping id '{name}' in directory mapping config")
    for entry in entries:
        if entry.get("node") == node:
            return _checked(name, Path(entry.get("path", "")))
    raise MachineError(f"no directory mapping entry for '{name}' on node '{node}'")


def _checked(name: str, path: Path) -> Path:
    if not path.is_dir():
        raise MachineError(f"directory mapping invalid: {name}: Path {path} does not exist")
    return path


def socket(place: Place, key: str) -> Path:
    """Of a machine's virtiofsN."""
    return place.top / f"{place.vmid}.{key}"


def serve(place: Place, key: str, folder: Path, options: Mapping[str, str]) -> None:
    """Start it; it ends with the machine that connects to it, and `end` ends it else. Raises MachineError."""
    where = socket(place, key)
    words = [f"source={folder}", f"cache={options.get('cache', 'auto').replace('metadata', 'auto')}"]
    acl = options.get("expose-acl", "0") in FLAGS
    words += ["posix_acl"] if acl else []
    words += ["xattr"] if acl or options.get("expose-xattr", "0") in FLAGS else ["no_xattr"]
    words += ["allow_direct_io"] if options.get("direct-io", "0") in FLAGS else []
    argv = [PROGRAM, f"--socket-path={where}", "-o", ",".join(words)]
    where.unlink(missing_ok=True)
    with where.with_suffix(f".{key}-log").open("w") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    where.with_suffix(f".{key}-pid").write_text(str(process.pid))
    limit = time.monotonic() + START
    while not where.exists():
        if process.poll() is not None or time.monotonic() > limit:
            said = where.with_suffix(f".{key}-log").read_text()[-500:].strip()
            end(place)
            raise MachineError(f"virtiofsd of '{folder}' does not start: {said}")
        time.sleep(0.01)


def end(place: Place) -> None:
    """Return when they are gone: they end with their machine, or are killed with what they have started."""
    for path in place.top.glob(f"{place.vmid}.virtiofs*-pid"):
        with suppress(OSError, ValueError):
            pid = int(path.read_text())
            if not _ended(pid):
                os.killpg(pid, signal.SIGKILL)
                _ended(pid)
        path.unlink(missing_ok=True)
        path.with_name(path.name.removesuffix("-pid")).unlink(missing_ok=True)


def _ended(pid: int) -> bool:
    """Whether it does so in time. A dead process that nobody has waited for has no command line."""
    limit = time.monotonic() + END
    while PROGRAM.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True
