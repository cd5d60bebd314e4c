"""What the API needs from real containers and storages, and a stand-in that only keeps files."""

import importlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast

from smbplan.lab.pve import files

Log = Callable[[str], None]
Config = dict[str, str]


class Backend(Protocol):
    """Containers and volumes of one node. Anything raised becomes the error of the task or the request.

    `storage` arguments are a section of storage.cfg: `type`, `path`, `pool`, ... plus `storage`, its name.
    Sizes are bytes. Configurations are the values of ID.conf, raw `lxc.*` keys left out.
    """

    def create(self, vmid: int, config: Config, archive: Path, log: Log) -> None:
        """Unpack the template into the volume that config["rootfs"] names, which is allocated already."""
        ...

    def destroy(self, vmid: int) -> None:
        """Forget the stopped container; its volumes are freed one by one with `free`."""
        ...

    def start(self, vmid: int, log: Log) -> None:
        """Start as ID.conf says now; return when the container runs."""
        ...

    def stop(self, vmid: int, log: Log) -> None:
        """Kill it."""
        ...

    def shutdown(self, vmid: int, timeout: int, log: Log) -> None:
        """Ask it to go down and wait; raise if it still runs after `timeout` seconds."""
        ...

    def status(self, vmid: int) -> dict[str, Any]:
        """running, and pid, uptime, mem, maxmem, cpu, cpus, disk, maxdisk, swap, maxswap as far as known."""
        ...

    def changed(self, vmid: int, before: Config, after: Config) -> list[str]:
        """Apply the difference to the running container; the keys that only a restart can apply."""
        ...

    def allocate(self, storage: dict[str, str], vmid: int, size: int | None) -> str:
        """A new volume for the guest (None: as large as the storage); its volid."""
        ...

    def free(self, volid: str) -> None:
        """Delete the volume."""
        ...

    def path(self, volid: str) -> Path:
        """Where the volume is on the node."""
        ...

    def resize(self, volid: str, size: int) -> None:
        """Grow the volume and the file system in it."""
        ...

    def storage(self, storage: dict[str, str]) -> tuple[int, int, int]:
        """Bytes: total, used, available."""
        ...


def load(name: str, root: Path, node: str, local: Path) -> Backend:
    """`dry`, or the class `Containers` of a module below this package, made with (root, node, local)."""
    if name == "dry":
        return Dry(root, node, local)
    module = importlib.import_module(f"smbplan.lab.pve.{name}")
    return cast(Backend, module.Containers(root, node))


class Dry:
    """Files instead of containers. `hold` in its folder keeps a create from ending, for tests of what happens then."""

    def __init__(self, root: Path, node: str, local: Path):
        self.root = root
        self.folder = local / "dry"
        self.folder.mkdir(parents=True, exist_ok=True)

    def create(self, vmid: int, config: Config, archive: Path, log: Log) -> None:
        log(f"extracting archive '{archive}'")
        self.wait()
        (self.folder / str(vmid)).write_text("{}")

    def wait(self) -> None:
        """Return when nobody holds creates back."""
        while (self.folder / "hold").exists():
            time.sleep(0.02)

    def destroy(self, vmid: int) -> None:
        (self.folder / str(vmid)).unlink(missing_ok=True)

    def start(self, vmid: int, log: Log) -> None:
        (self.folder / str(vmid)).write_text(json.dumps({"pid": os.getpid(), "since": time.time()}))

    def stop(self, vmid: int, log: Log) -> None:
        (self.folder / str(vmid)).write_text("{}")

    def shutdown(self, vmid: int, timeout: int, log: Log) -> None:
        self.stop(vmid, log)

    def status(self, vmid: int) -> dict[str, Any]:
        state: dict[str, Any] = {}
        with suppress(FileNotFoundError, ValueError):
            state = json.loads((self.folder / str(vmid)).read_text())
        if "pid" not in state:
            return {"running": False}
        return {"running": True, "pid": state["pid"], "uptime": int(time.time() - state["since"]), "mem": 6434816}

    def changed(self, vmid: int, before: Config, after: Config) -> list[str]:
        """As PVE::LXC::Config has it: mount points stay as they are until a start, and so does the resolver."""
        late = [key for key in before if key.startswith("mp") and before[key] != after.get(key)]
        return late + [key for key in ("nameserver", "searchdomain") if before.get(key) != after.get(key)]

    def allocate(self, storage: dict[str, str], vmid: int, size: int | None) -> str:
        folder = Path(storage["path"]) / "images" / str(vmid)
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while (folder / f"vm-{vmid}-disk-{number}.raw").exists():
            number += 1
        name = f"vm-{vmid}-disk-{number}.raw"
        with (folder / name).open("xb") as file:
            file.truncate(size or 0)
        return f"{storage['storage']}:{vmid}/{name}"

    def free(self, volid: str) -> None:
        self.path(volid).unlink(missing_ok=True)

    def path(self, volid: str) -> Path:
        name, _, rest = volid.partition(":")
        section = files.parse_sections(files.read(self.root / "storage.cfg"))[name]
        return Path(section["path"]) / "images" / rest

    def resize(self, volid: str, size: int) -> None:
        os.truncate(self.path(volid), size)

    def storage(self, storage: dict[str, str]) -> tuple[int, int, int]:
        usage = shutil.disk_usage("/")
        return usage.total, usage.used, usage.free
