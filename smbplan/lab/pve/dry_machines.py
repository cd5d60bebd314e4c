"""Files instead of virtual machines, for tests of the API."""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from smbplan.lab.pve import dry_agent, files, images
from smbplan.lab.pve.images import Image
from smbplan.lab.pve.machine import AgentError, Config, Log, MachineError


class DryMachines:
    """`agents` holds what answers for a guest's agent; others have a simple one whose programs `run` stands for.

    A file `ID.silent` in its folder: the agent of that guest never answers. A file `ID.stubborn`: the guest doesn't
    go down by itself. A file `ID.broken` keeps it from starting; what it says is the error.
    """

    def __init__(self, root: Path, node: str, local: Path):
        self.root = root
        self.folder = local / "dry-machines"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.agents: dict[int, Callable[[str, Mapping[str, Any]], Any]] = {}
        self.run: dry_agent.Run = dry_agent.nothing

    def _state(self, vmid: int) -> dict[str, Any]:
        with suppress(FileNotFoundError, ValueError):
            return dict(json.loads((self.folder / f"{vmid}.json").read_text()))
        return {}

    def _store(self, vmid: int, state: Mapping[str, Any]) -> None:
        files.write(self.folder / f"{vmid}.json", json.dumps(state))

    def start(self, vmid: int, config: Config, log: Log) -> None:
        broken = self.folder / f"{vmid}.broken"
        if broken.exists():
            raise MachineError(broken.read_text())
        self._store(vmid, {"pid": os.getpid(), "since": time.time(), "name": config.get("name", "")})

    def stop(self, vmid: int, log: Log) -> None:
        self._store(vmid, {})

    def shutdown(self, vmid: int, timeout: int, log: Log) -> None:
        if (self.folder / f"{vmid}.stubborn").exists():
            raise MachineError("VM quit/powerdown failed - got timeout")
        self.stop(vmid, log)

    def pause(self, vmid: int) -> None:
        self._store(vmid, {**self._state(vmid), "paused": True})

    def resume(self, vmid: int) -> None:
        self._store(vmid, {**self._state(vmid), "paused": False})

    def status(self, vmid: int) -> dict[str, Any]:
        state = self._state(vmid)
        if "pid" not in state:
            return {"running": False, "qmpstatus": "stopped"}
        seen = {"pid": state["pid"], "uptime": int(time.time() - state["since"]), "mem": 126414848, "cpu": 0}
        return {"running": True, "qmpstatus": "paused" if state.get("paused") else "running", **seen}

    def changed(self, vmid: int, before: Config, after: Config) -> list[str]:
        differ = (key for key in {**before, **after} if before.get(key) != after.get(key))
        return [key for key in differ if not key.startswith(("scsi", "net")) or key == "scsihw"]

    def agent(self, vmid: int, command: str, arguments: Mapping[str, Any], timeout: float = 10.0) -> Any:
        if (self.folder / f"{vmid}.silent").exists():
            raise AgentError("got timeout")
        if vmid in self.agents:
            return self.agents[vmid](command, arguments)
        place = self.folder / f"{vmid}.agent"
        return dry_agent.answer(place, command, arguments, lambda argv, given: self.run(vmid, argv, given))

    def monitor(self, vmid: int, line: str) -> str:
        return f"{line}\r\n"

    def _place(self, storage: dict[str, str], vmid: int, name: str, form: str) -> tuple[str, Path]:
        """The volid, and where the file of a new disk goes; `name` '' is the first free `disk-N`."""
        folder = Path(storage["path"]) / "images" / str(vmid)
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while not name and list(folder.glob(f"*-{vmid}-disk-{number}.*")):
            number += 1
        file = f"vm-{vmid}-{name or f'disk-{number}'}.{form}"
        if (folder / file).exists():
            raise MachineError(f"disk image '{folder / file}' already exists")
        return f"{storage['storage']}:{vmid}/{file}", folder / file

    def snapshot(self, vmid: int, volid: str, verb: str, name: str) -> None:
        self.size(volid)  # it is there

    def disk(self, storage: dict[str, str], vmid: int, size: int, form: str, name: str = "") -> str:
        volid, path = self._place(storage, vmid, name, form)
        images.write(path, Image(form, size))
        return volid

    def imported(self, storage: dict[str, str], vmid: int, source: Path, form: str, log: Log) -> str:
        found = images.read(source)
        if found.backing:
            raise MachineError(f"importing from image with backing file ({found.backing}) not allowed")
        volid, path = self._place(storage, vmid, "", form)
        self._copy(source, path, form)
        log("transferred all of it (100.00%)")
        return volid

    @staticmethod
    def _copy(source: Path, path: Path, form: str) -> None:
        images.write(path, Image(form, images.read(source).size))  # nothing is in it that anybody looks at

    def cloned(self, volid: str, storage: dict[str, str], vmid: int, full: bool, form: str, log: Log) -> str:
        source = self.path(volid)
        if full:
            made, path = self._place(storage, vmid, "", form)
            self._copy(source, path, form)
            return made
        made, path = self._place(storage, vmid, "", "qcow2")
        images.write(path, Image("qcow2", images.read(source).size, f"../{source.parent.name}/{source.name}"))
        name, _, rest = made.partition(":")
        return f"{name}:{images.file_of(volid.partition(':')[2])}/{rest}"

    def base(self, volid: str) -> str:
        source = self.path(volid)
        path = source.with_name(source.name.replace("vm-", "base-", 1))
        source.rename(path)
        path.chmod(0o444)
        return f"{volid.rpartition('/')[0]}/{path.name}"

    def size(self, volid: str) -> int:
        return images.read(self.path(volid)).size

    def resize(self, vmid: int, volid: str, size: int) -> None:
        images.grow(self.path(volid), size)

    def free(self, volid: str) -> None:
        self.path(volid).unlink(missing_ok=True)

    def path(self, volid: str) -> Path:
        """The file of a disk."""
        name, _, rest = volid.partition(":")
        section = files.parse_sections(files.read(self.root / "storage.cfg"))[name]
        return Path(section["path"]) / "images" / images.file_of(rest)
