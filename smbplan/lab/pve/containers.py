"""Real LXC containers as the emulated API needs them, on the node where this runs.

A container's settings are read from ID.conf when it starts, so raw `lxc.*` keys in the file count, too.
Everything raised is ContainerError or OSError; its text is the error of the task.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from smbplan.lab.pve import guest, hotplug, inside, limits, lxcconf, volumes
from smbplan.lab.pve.guest import ContainerError, Guest
from smbplan.lab.pve.volumes import Volumes

Log = Callable[[str], None]
Config = Mapping[str, Any]
GONE_TIMEOUT = 10.0
READY = Path("/var/cache/smbplan-lab")  # unpacked disks, to be copied; a node that is reset forgets them


class Containers:
    """The containers and volumes of one node."""

    def __init__(self, root: Path = Path("/etc/pve"), node: str = "", local: Path = Path("/var/lib/lxc")) -> None:
        self.root = root
        self.node = node or socket.gethostname()
        self.volumes = Volumes(root)

    def create(self, vmid: int, config: Config, archive: Path, log: Log) -> None:
        """Unpack the template into the volume that config["rootfs"] names, ids shifted to the container's map."""
        settings = self._guest(vmid, config)
        if not archive.is_file():
            raise ContainerError(f"unable to create CT {vmid} - can't access '{archive}'")
        log(f"extracting archive '{archive}'")
        size = self._fill(settings, archive)
        log(f"Total bytes read: {size} ({size / 2**20:.0f}MiB)")
        log("Detected container architecture: amd64")
        with self._mounted(settings) as rootfs:
            inside.write_settings(settings, rootfs)

    def _fill(self, settings: Guest, archive: Path) -> int:
        """Unpack the archive, or copy the disk of an equal container that was made here before; bytes unpacked."""
        image = self.volumes.image(settings.mounts()["rootfs"]["volume"])
        size = image.stat().st_size if image.is_file() else 0
        words = repr((archive.name, archive.stat().st_mtime_ns, size, settings.idmap))
        ready = READY / hashlib.sha256(words.encode()).hexdigest()
        if size and ready.is_file():
            volumes.run("cp", "--sparse=always", ready, image)
            return int(ready.with_suffix(".bytes").read_text())
        with self._mounted(settings) as rootfs:
            os.chown(rootfs, *settings.root_ids)
            rootfs.chmod(0o755)
            unpacked = _unpack(settings, archive, rootfs)
        if size:
            READY.mkdir(parents=True, exist_ok=True)
            part = ready.with_suffix(f".{settings.vmid}")
            volumes.run("cp", "--sparse=always", image, part)
            ready.with_suffix(".bytes").write_text(str(unpacked))
            part.replace(ready)
        return unpacked

    @contextmanager
    def _mounted(self, settings: Guest) -> Iterator[Path]:
        # Not where the container will have it: only here, and gone if this process is killed in between.
        target = lxcconf.folder(settings.vmid) / "unpack"
        target.mkdir(parents=True, exist_ok=True)
        for path in (lxcconf.HOME, target.parent):
            path.chmod(0o755)
        try:
            volumes.mount(self.volumes, settings.mounts()["rootfs"], target, options=("noatime",))
            try:
                yield target
            finally:
                volumes.run("umount", target)
        finally:
            with suppress(OSError):
                target.rmdir()

    def destroy(self, vmid: int) -> None:
        """Forget the stopped container; its volumes are freed one by one."""
        if _active(vmid):
            raise ContainerError(f"CT {vmid} is running")
        self._wait_gone(vmid)
        limits.remove(vmid)
        home = lxcconf.folder(vmid)
        volumes.run("umount", home / "unpack", check=False)
        shutil.rmtree(home, ignore_errors=True)

    def start(self, vmid: int, log: Log) -> None:
        """Start as ID.conf says now; return when its init runs."""
        if _active(vmid):
            raise ContainerError(f"CT {vmid} already running")
        limits.remove(vmid)
        settings = guest.read(self.root, self.node, vmid)
        lxcconf.write(settings)
        report = lxcconf.folder(vmid) / "log"
        for path in (report, lxcconf.failure(vmid)):
            path.unlink(missing_ok=True)
        words = ["--name", str(vmid), "--logfile", str(report), "--logpriority", "INFO"]
        # With its output in a pipe, we would wait for the container's whole life.
        done = subprocess.run(
            ["lxc-start", "--daemon", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            for line in _errors(lxcconf.failure(vmid), report):
                log(line)
            try:
                self._wait_gone(vmid)
            finally:
                limits.remove(vmid)
            raise ContainerError(f"startup for container '{vmid}' failed")

    def stop(self, vmid: int, log: Log) -> None:
        """Kill it."""
        if not _active(vmid):
            raise ContainerError(f"CT {vmid} not running")
        volumes.run("lxc-stop", "--name", str(vmid), "--kill", check=False)
        self._wait_gone(vmid)

    def shutdown(self, vmid: int, timeout: int, log: Log) -> None:
        """Ask it to go down and wait; raise if it still runs after so many seconds."""
        if not _active(vmid):
            raise ContainerError(f"CT {vmid} not running")
        volumes.run("lxc-stop", "--name", str(vmid), "--nokill", "--timeout", str(timeout), check=False)
        if _state(vmid) not in ("STOPPING", "STOPPED", "ABORTING"):
            raise ContainerError("container did not stop")
        self._wait_gone(vmid)

    def _guest(self, vmid: int, config: Config) -> Guest:
        """Settings as the API gives them; it may leave out raw keys, which are those of the file then."""
        raw: Sequence[Sequence[str]] = config.get("lxc", ())
        if "lxc" not in config:
            with suppress(ContainerError):
                raw = guest.read(self.root, self.node, vmid).raw
        values = {key: str(value) for key, value in config.items() if key != "lxc"}
        return Guest(vmid, values, tuple((key, value) for key, value in raw))

    def _wait_gone(self, vmid: int) -> None:
        # LXC says stopped before its monitor has ended; the kernel gives up mounts and loop devices later still.
        deadline = time.monotonic() + GONE_TIMEOUT
        while _active(vmid) or _monitors(vmid) or self._attached(vmid):
            if time.monotonic() > deadline:
                raise ContainerError(f"CT {vmid}: its monitor or its volumes stay in use")
            time.sleep(0.01)

    def _attached(self, vmid: int) -> bool:
        with suppress(ContainerError, KeyError):
            mounts = guest.read(self.root, self.node, vmid).mounts().values()
            volids = [entry["volume"] for entry in mounts if not entry["volume"].startswith("/")]
            images = [self.volumes.image(volid) for volid in volids]
            return any(image.is_file() and volumes.loop_of(image) for image in images)
        return False

    def status(self, vmid: int) -> dict[str, Any]:
        """Whether it runs and what it uses; bytes and seconds. `cpu` is the mean since its start."""
        settings = guest.read(self.root, self.node, vmid)
        entry = settings.mounts()["rootfs"]
        found: dict[str, Any] = {
            "running": False,
            "pid": None,
            "uptime": 0,
            "mem": 0,
            "maxmem": settings.memory,
            "cpu": 0,
            "cpus": settings.cpus or os.cpu_count(),
            "disk": 0,
            "maxdisk": guest.size_of(entry["size"]) if "size" in entry else 0,
            "swap": 0,
            "maxswap": settings.swap,
        }
        pid = init_pid(vmid)
        uptime = None if pid is None else _uptime(pid)
        if uptime is None:
            return found
        with suppress(OSError):
            usage = os.statvfs(f"/proc/{pid}/root")
            found["disk"] = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
            found["maxdisk"] = found["maxdisk"] or usage.f_blocks * usage.f_frsize
        cpu = limits.cpu_seconds(vmid) / max(uptime, 0.1) / found["cpus"]
        return found | {
            "running": True,
            "pid": pid,
            "uptime": int(uptime),
            "mem": limits.memory_used(vmid),
            "cpu": cpu,
        }

    def changed(self, vmid: int, before: Config, after: Config) -> list[str]:
        """Apply the difference to the running container; the keys that only a restart can apply."""
        pid = init_pid(vmid)
        if pid is None:
            return []
        return hotplug.apply(self.volumes, pid, self._guest(vmid, before), self._guest(vmid, after))

    def allocate(self, storage: dict[str, str], vmid: int, size: int | None) -> str:
        """A new volume for the guest (None: without a size of its own); its volid."""
        return self.volumes.allocate(storage, vmid, size)

    def free(self, volid: str) -> None:
        """Delete the volume."""
        self.volumes.free(volid)

    def path(self, volid: str) -> Path:
        """Where the volume is on the node."""
        return self.volumes.path(volid)

    def resize(self, volid: str, size: int) -> None:
        """Grow the volume and the file system in it."""
        self.volumes.resize(volid, size)

    def storage(self, storage: dict[str, str]) -> tuple[int, int, int]:
        """Bytes: total, used, available."""
        return self.volumes.storage(storage)


def init_pid(vmid: int) -> int | None:
    """The container's first process, as the node numbers it."""
    if not _active(vmid):
        return None
    shown = volumes.run("lxc-info", "--name", str(vmid), "--pid", "--no-humanize", check=False).strip()
    return int(shown) if shown.isdigit() else None


def _unpack(settings: Guest, archive: Path, rootfs: Path) -> int:
    shift = [f"{kind}:{inside}:{outside}:{count}" for kind, inside, outside, count in settings.idmap]
    mapped = ["lxc-usernsexec", *(word for part in shift for word in ("-m", part)), "--"] if shift else []
    flags = ["--numeric-owner", "--warning=no-timestamp"]
    with suppress(OSError):  # zfs-fuse has neither
        os.setxattr(rootfs, "user.probe", b"")
        os.removexattr(rootfs, "user.probe")
        flags += ["--acls", "--xattrs", "--xattrs-include=*"]
    with archive.open("rb") as packed:
        kind = _compression(archive)
        unpacked = subprocess.Popen(kind, stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        done = subprocess.run(
            [*mapped, "tar", "--extract", "--preserve-permissions", "--totals", *flags, "-C", str(rootfs)],
            stdin=unpacked.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        said = unpacked.communicate()[1].decode(errors="replace")
    if done.returncode or unpacked.returncode:
        raise ContainerError(f"unable to extract '{archive}': {(said + done.stderr).strip()[-500:]}")
    words = done.stderr.partition("Total bytes read: ")[2].split()
    return int(words[0]) if words else 0


def _compression(archive: Path) -> list[str]:
    tools = {".zst": "zstd", ".gz": "gzip", ".xz": "xz", ".tar": "cat"}
    try:
        tool = tools[archive.suffix]
    except KeyError:
        raise ContainerError(f"unknown archive format '{archive.name}'") from None
    return [tool] if tool == "cat" else [tool, "-dc"]


def _active(vmid: int) -> bool:
    """Whether a monitor listens for the container, the way PVE finds running ones."""
    name = f"@{lxcconf.folder(vmid)}/command"
    return any(line.rstrip().endswith(name) for line in Path("/proc/net/unix").open())


def _state(vmid: int) -> str:
    return volumes.run("lxc-info", "--name", str(vmid), "--state", "--no-humanize", check=False).strip()


def _monitors(vmid: int) -> list[str]:
    place = limits.UNIFIED / "lxc.monitor" / str(vmid) / "cgroup.procs"
    with suppress(OSError):
        return place.read_text().split()
    return []


def _errors(failure: Path, report: Path) -> list[str]:
    found = []
    for path, word in ((failure, ""), (report, " ERROR ")):
        with suppress(OSError):
            found += [line for line in path.read_text().splitlines() if word in line][-20:]
    return found


def _uptime(pid: int) -> float | None:
    """Seconds; None for a process that has just ended."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
