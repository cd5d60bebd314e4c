"""A server of the emulated API in this process, on one node or two, with files instead of containers."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from unit.pve.replay import Client

from smbplan.lab.pve import auth, formats, guests, images, qemu_drives, tasks, usercfg
from smbplan.lab.pve.dry_machines import DryMachines
from smbplan.lab.pve.guestconf import GuestConfig
from smbplan.lab.pve.site import Site
from smbplan.lab.pve.usercfg import Entry, Pool, Token, User

MACHINE = {
    "cores": "1",
    "memory": "512",
    "name": "vm200",
    "scsi0": "local:200/vm-200-disk-0.qcow2,size=2G",
    "tags": "db;prod",
}
TEMPLATE = "debian-12-standard_12.12-1_amd64.tar.zst"


@dataclass
class Lab:
    """A server in this process, and its files."""

    site: Site
    client: Client

    @property
    def vz(self) -> Path:
        return self.site.local.parent / "vz"

    def guest(
        self, vmid: int, values: dict[str, str], running: bool = False, pending: dict[str, str] | None = None
    ) -> None:
        """A container with the configuration, and its volumes."""
        guests.store(self.site, vmid, GuestConfig(dict(values), pending=dict(pending or {})))
        for value in values.values():
            name, colon, rest = value.partition(",")[0].partition(":")
            if colon and name == "local":
                path = self.vz / "images" / rest
                path.parent.mkdir(parents=True, exist_ok=True)
                size = int(value.partition("size=")[2].rstrip("G") or 1) * 2**30
                with path.open("wb") as file:
                    file.truncate(size)
        if running:
            self.site.backend.start(vmid, print)

    def machine(self, values: dict[str, str] | None = None, running: bool = False, vmid: int = 200) -> None:
        """A virtual machine with the configuration, and its disks."""
        found = MACHINE if values is None else values
        guests.store(self.site, vmid, GuestConfig(dict(found), kind="qemu"))
        for drive in qemu_drives.drives(found).values():
            if not qemu_drives.is_cdrom(drive):
                path = self.vz / "images" / images.file_of(drive["file"].partition(":")[2])
                if not path.exists():
                    size = formats.parse_size(drive.get("size", "1G"))
                    images.write(path, images.Image(path.suffix[1:], size))
        if running:
            self.site.machines.start(vmid, found, print)

    @property
    def machines(self) -> DryMachines:
        """Those of this node, to be told what their guests do."""
        return cast(DryMachines, self.site.machines)

    def imports(self, name: str, size: int = 2**30) -> str:
        """An image that can be imported; its volid."""
        self.ask("PUT", "/storage/local", content="backup,rootdir,iso,vztmpl,images,snippets,import")
        images.write(self.vz / "import" / name, images.Image(name.rpartition(".")[2], size))
        return f"local:import/{name}"

    def token(self, name: str, privsep: int = 0) -> None:
        """An API token; its user exists from then on."""
        with usercfg.changing(self.site.root) as config:
            config.users.setdefault(name.partition("!")[0], User(comment="t"))
            config.tokens[name] = Token(privsep=privsep)
        auth.set_token(self.site.root, name, "secret")
        self.client.keys[name] = {"Authorization": f"PVEAPIToken={name}=secret"}

    def tester(self) -> None:
        """The recordings' user: PVEAdmin everywhere, a token with its rights and one with none."""
        self.token("tester@pve!t0")
        self.token("tester@pve!t1", privsep=1)
        self.give("/", "tester@pve", "PVEAdmin")

    def give(self, path: str, who: str, role: str) -> None:
        with usercfg.changing(self.site.root) as config:
            config.acl[Entry(path, "token" if "!" in who else "user", who, role)] = 1

    def pool(self, name: str, comment: str) -> None:
        with usercfg.changing(self.site.root) as config:
            config.pools[name] = Pool(comment)

    def hold(self, on: bool) -> None:
        """Keep creates and backups from ending."""
        path = self.site.local / "dry" / "hold"
        if on:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    def remove(self, vmid: int) -> None:
        for kind in guests.FOLDERS:
            guests.release(self.site, vmid, kind)
        for path in (self.vz / "images" / str(vmid)).glob("*"):
            path.unlink()
        (self.site.local / "dry" / str(vmid)).unlink(missing_ok=True)

    def settle(self) -> None:
        """Wait until no task runs."""
        while list(tasks.active(self.site)):
            time.sleep(0.01)

    def ask(self, method: str, path: str, who: str = "root@pam", /, **params: Any) -> Any:
        """A call's data; an AssertionError with the answer if it is refused."""
        status, reason, body = self.answer(method, path, who, **params)
        assert status == 200, f"{method} {path}: {status} {reason} {body}"
        return body["data"]

    def answer(self, method: str, path: str, who: str = "root@pam", /, **params: Any) -> tuple[int, str, Any]:
        """Status, reason and body; `_` in names of parameters stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in params.items()}
        request = {"method": method, "path": f"/api2/json{path}", "params": named}
        return self.client.send({"who": who, "request": request, "body": None})

    def done(self, upid: str, who: str = "root@pam") -> str:
        """Wait for a task; how it ended."""
        node = upid.split(":")[1]
        while True:
            state = self.ask("GET", f"/nodes/{node}/tasks/{upid}/status", who)
            if state["status"] == "stopped":
                return str(state["exitstatus"])
            time.sleep(0.02)
