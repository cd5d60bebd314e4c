"""How the virtual machine of the recordings was, and what its guest said."""

import base64
from collections.abc import Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from unit.pve import replay
from unit.pve.emulated import Lab

from smbplan.lab.pve import guests, mapping, qemu_create
from smbplan.lab.pve.machine import AgentError

KEY = "ssh-ed25519%20AAAAC3NzaC1lZDI1NTE5AAAAIHUuXh4mC4pJ4s4yYx1sT0x1rj7sZQpC6G1m9w5y3fXz%20a%40b"
META = "creation-qemu=10.0.13,ctime=1795353528"
MACHINE = {
    "agent": "enabled=1,fstrim_cloned_disks=1",
    "args": "-kernel /var/lib/vz/vmlinuz -initrd /var/lib/vz/initrd.img "
    '-append "console=ttyS0 earlyprintk=ttyS0 labip=10.99.99.200/24"',
    "boot": "order=scsi0;ide2;net0",
    "ciuser": "debian",
    "cores": "1",
    "cpu": "qemu64",
    "description": "a vm",
    "ide2": "local:iso/tiny.iso,media=cdrom,size=1M",
    "ipconfig0": "ip=dhcp",
    "kvm": "0",
    "memory": "512",
    "meta": META,
    "name": "vm200",
    "net0": "virtio=BC:24:11:AA:D4:22,bridge=vmbr0,firewall=1",
    "onboot": "1",
    "ostype": "l26",
    "scsi0": "local:200/vm-200-disk-0.qcow2,discard=on,iothread=1,size=2G,ssd=1",
    "scsihw": "virtio-scsi-single",
    "serial0": "socket",
    "smbios1": "uuid=ec9da9ca-e76b-4bef-81e9-ab42df261f5f",
    "sockets": "1",
    "sshkeys": KEY,
    "tags": "db;prod",
    "virtiofs0": "share1,cache=always",
    "vmgenid": "d75e1337-1d67-489c-b96c-85e66cd7f2f7",
}
# In the order in which they were made: of the hardware, then of the generation.
IDS = {
    "qemu_create_config": ["ec9da9ca-e76b-4bef-81e9-ab42df261f5f", "786e111d-ecce-470f-a29d-ac401bf8a498"],
    "destroy_references": ["027aa5e8-2b61-4e4b-9993-1fcb501a7dfb", "78d8aa7d-802c-44ab-a3d2-155d165c5db7"],
}


def as_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids and times of that file, so that digests are the same; and every folder is there that is not `missing`."""
    ids = chain(IDS.get(name, []), repeat("00000000-0000-4000-8000-000000000000"))
    monkeypatch.setattr(guests, "new_uuid", lambda: next(ids))
    monkeypatch.setattr(qemu_create, "created", lambda site: META)
    text = "Path {} does not exist"
    monkeypatch.setattr(mapping, "check_path", lambda path: text.format(path) if "missing" in path else "")


def machine(lab: Lab, running: bool = False) -> None:
    """As it was after its creation, started by hand."""
    lab.machine(MACHINE, running)


def share(lab: Lab) -> None:
    """The folder that it has."""
    lab.ask("POST", "/cluster/mapping/dir", id="share1", map="node=pve1,path=/srv/share1", description="shared")


def create(lab: Lab) -> None:
    """A container has the id 100, and there is a medium of 1 MiB."""
    lab.guest(100, {"rootfs": "local:100/vm-100-disk-0.raw,size=1G"})
    lab.token("tester@pve!t0")
    lab.give("/", "tester@pve", "PVEAdmin")
    lab.token("root@pam!r0")
    medium: Path = lab.vz / "template" / "iso" / "tiny.iso"
    medium.write_bytes(bytes(2**20))


def agent(lab: Lab) -> None:
    """Its guest says what it said."""
    machine(lab, running=True)
    lab.tester()
    lab.machines.agents[200] = _Guest().answer
    lab.machines.monitor = lambda vmid, line: "10.0.13Debian 1:10.0.13+ds-0+deb13u1\r\n"  # type: ignore[method-assign]


class _Guest:
    """Speaks the agent's protocol; what programs put out, and plain answers, are those of the recording."""

    def __init__(self) -> None:
        samples = replay.recordings("qemu_agent")
        paths = {sample["n"]: sample["request"]["path"].rpartition("/")[2] for sample in samples}
        answers = {paths[s["n"]]: s["body"]["data"] for s in samples if s["status"] == 200}
        self.plain = {f"guest-{name}": data["result"] for name, data in answers.items() if "result" in (data or {})}
        execs = [s for s in samples if paths[s["n"]] == "exec" and s["status"] == 200]
        self.pids = iter([s["body"]["data"]["pid"] for s in execs])
        states = [s for s in samples if paths[s["n"]] == "exec-status" and s["status"] == 200]
        self.ended = {s["request"]["params"]["pid"]: s["body"]["data"] for s in states}
        self.given: dict[int, str] = {}
        self.files: dict[str, bytes] = {}

    def answer(self, command: str, arguments: Mapping[str, Any]) -> Any:
        if command == "guest-exec":
            return self._exec(arguments)
        if command == "guest-exec-status":
            return self._status(int(arguments["pid"]))
        if command.startswith("guest-file-"):
            return self._file(command, arguments)
        if command == "guest-set-user-password":
            text = "child process has failed to set user password: failed to exec 'chpasswd'"
            raise AgentError(f"{text}: No such file or directory\n")
        return self.plain.get(command, {})

    def _exec(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        path = arguments["path"]
        if path in ("ls -la /", "/nosuch"):
            raise AgentError(f"Failed to execute child process “{path}” (No such file or directory)")
        pid = next(self.pids)
        if "input-data" in arguments:
            self.given[pid] = arguments["input-data"]
        return {"pid": pid}

    def _status(self, pid: int) -> dict[str, Any]:
        if pid not in self.ended:
            raise AgentError("PID ld does not exist")
        flags = ("exited", "out-truncated", "err-truncated")
        found = {key: bool(value) if key in flags else value for key, value in self.ended[pid].items()}
        for key in ("out-data", "err-data"):
            if key in found:
                found[key] = self.given.get(pid) or base64.b64encode(found[key].encode("latin-1")).decode()
        return found

    def _file(self, command: str, arguments: Mapping[str, Any]) -> Any:
        name = arguments.get("path") or arguments["handle"]
        if command == "guest-file-open":
            if "mode" not in arguments and name not in self.files:
                raise AgentError(f"failed to open file '{name}' (mode: 'r'): No such file or directory")
            return name
        if command == "guest-file-write":
            self.files[name] = base64.b64decode(arguments["buf-b64"])
        if command == "guest-file-read":
            content = self.files[name]
            return {"count": len(content), "buf-b64": base64.b64encode(content).decode(), "eof": True}
        return {}
