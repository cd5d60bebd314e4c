"""QEMU processes: their command line, and finding and ending them by their pid files. They outlive who starts them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smbplan.lab.pve import vm_qmp
from smbplan.lab.pve.machine import MachineError

RUN = Path("/run/qemu-server")
PROGRAM = "qemu-system-x86_64"
# The newest that the emulation has all of. An Intel of that age would have its kernel switch page tables at each system
# call (PTI), for which an emulated one has to forget all addresses: a third to half of a guest's time.
CPUS = {"tcg": "Nehalem,vendor=AuthenticAMD", "kvm": "Nehalem"}
ACCELERATORS = {"tcg": "tcg,thread=multi,tb-size=256", "kvm": "kvm"}
BUS = "virtioscsi0.0"
START = 20.0


@dataclass(frozen=True)
class Shape:
    """What can't be plugged in later, so that a saved state fits machines of the same shape only."""

    cpus: int = 2
    memory: int = 512  # MiB
    machine: str = "pc"


@dataclass(frozen=True)
class Place:
    """Where a machine's sockets are."""

    vmid: int
    top: Path = RUN

    @property
    def monitor(self) -> Path:
        return self.top / f"{self.vmid}.qmp"

    @property
    def agent(self) -> Path:
        return self.top / f"{self.vmid}.qga"

    @property
    def serial(self) -> Path:
        return self.top / f"{self.vmid}.serial0"

    @property
    def pid_file(self) -> Path:
        return self.top / f"{self.vmid}.pid"

    def files(self) -> list[Path]:
        """What QEMU leaves when it is killed."""
        return [self.monitor, self.agent, self.serial, self.pid_file, self.agent.with_suffix(".qga-lock")]


def command(place: Place, shape: Shape, accelerator: str, more: Sequence[str] = ()) -> list[str]:
    """The devices that every machine has come first, so that they are where a saved state knows them."""
    size = f"{shape.memory}M"
    return [
        *(PROGRAM, "-name", f"VM {place.vmid}", "-daemonize", "-pidfile", str(place.pid_file)),
        *("-accel", ACCELERATORS[accelerator], "-cpu", CPUS[accelerator], "-smp", str(shape.cpus), "-m", size),
        *("-machine", f"{shape.machine},memory-backend=ram"),
        # Shared, so that virtiofsd sees it.
        *("-object", f"memory-backend-memfd,id=ram,size={size},share=on"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-rtc", "base=utc"),
        *("-chardev", f"socket,id=qmp,path={place.monitor},server=on,wait=off", "-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=serial0,path={place.serial},server=on,wait=off,logfile={place.serial}.log"),
        *("-device", "isa-serial,chardev=serial0"),
        *("-device", "virtio-serial-pci,id=serials"),
        *("-chardev", f"socket,id=qga0,path={place.agent},server=on,wait=off"),
        *("-device", "virtserialport,bus=serials.0,chardev=qga0,name=org.qemu.guest_agent.0"),
        *("-device", "virtio-scsi-pci,id=virtioscsi0"),
        *more,
    ]


def disk(path: Path, form: str, name: str, *, read_only: bool = False) -> dict[str, Any]:
    """A block node of that name, as -blockdev and blockdev-add take it."""
    file = {"driver": "file", "filename": str(path), "discard": "unmap"}
    return {"driver": form, "node-name": name, "read-only": read_only, "discard": "unmap", "file": file}


def boot_disk(path: Path) -> list[str]:
    """Options for the disk of a machine that is saved or restored."""
    device = (
        f"scsi-hd,id=scsi0,drive=drive-scsi0,bus={BUS},channel=0,scsi-id=0,lun=0,device_id=drive-scsi0,bootindex=100"
    )
    return ["-blockdev", json.dumps(disk(path, "qcow2", "drive-scsi0")), "-device", device]


def launch(argv: Sequence[str]) -> None:
    """Raises MachineError with QEMU's own words; it is in the background afterwards."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise MachineError(f"start failed: QEMU exited with code {done.returncode}: {said}")


def pid_of(place: Place) -> int | None:
    """Its process, if the pid file tells the truth."""
    try:
        pid = int(place.pid_file.read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if str(place.pid_file).encode() in words else None


def kill(place: Place, timeout: float = 10.0) -> None:
    """Return when the process is gone, and with it its taps; nothing happens if there is none."""
    pid = pid_of(place)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_gone(place, pid, timeout)
    forget(place)


def wait_gone(place: Place, pid: int, timeout: float) -> None:
    """Raises MachineError if it is still there."""
    end = time.monotonic() + timeout
    while not _gone(pid):
        if time.monotonic() > end:
            raise MachineError(f"VM {place.vmid} is still running")
        time.sleep(0.02)


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        # While a thread of it ends, its network cards and files are still open.
        return state == "Z" and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    except OSError:
        return True


def forget(place: Place) -> None:
    """Remove the files of a machine that is gone; its console's log stays until the next start."""
    for path in place.files():
        path.unlink(missing_ok=True)


def restored(argv: Sequence[str], state: Path, place: Place) -> vm_qmp.Monitor:
    """Launch with a saved state and wait until it is read; the processors stand still."""
    launch([*argv, "-S", "-incoming", "defer"])
    monitor = vm_qmp.connect(place.monitor, START)
    monitor.ask("migrate-incoming", uri=f"exec:zstd -dc {state}")
    end = time.monotonic() + 60
    while (found := monitor.ask("query-migrate").get("status")) != "completed":
        if found == "failed" or time.monotonic() > end:
            raise MachineError(f"the saved state can't be restored: {found}")
        time.sleep(0.02)
    return monitor
