"""`qm`: virtual machines of this node."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from smbplan.lab.pve import cli_guests, commandline, formats, guests, qemu_drives, routing, status, storages
from smbplan.lab.pve.cli_guests import Special
from smbplan.lab.pve.commandline import Command, Usage
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.site import Site
from smbplan.lab.pve.usercfg import ROOT

_VM = cli_guests.place("qemu")
_V = ("vmid",)
_COMMANDS = {
    "clone": Command("POST", f"{_VM}/clone", ("vmid", "newid")),
    "create": Command("POST", "/nodes/{node}/qemu", _V),
    "destroy": Command("DELETE", _VM, _V),
    "disk resize": Command("PUT", f"{_VM}/resize", ("vmid", "disk", "size")),
    "disk unlink": Command("PUT", f"{_VM}/unlink", _V),
    "migrate": Command("POST", f"{_VM}/migrate", ("vmid", "target")),
    "monitor": Command("POST", f"{_VM}/monitor", ("vmid", "command")),
    "pending": Command("GET", f"{_VM}/pending", _V),
    "reboot": Command("POST", f"{_VM}/status/reboot", _V),
    "reset": Command("POST", f"{_VM}/status/reset", _V),
    "resize": Command("PUT", f"{_VM}/resize", ("vmid", "disk", "size")),
    "resume": Command("POST", f"{_VM}/status/resume", _V),
    "shutdown": Command("POST", f"{_VM}/status/shutdown", _V),
    "start": Command("POST", f"{_VM}/status/start", _V),
    "stop": Command("POST", f"{_VM}/status/stop", _V),
    "suspend": Command("POST", f"{_VM}/status/suspend", _V),
    "template": Command("POST", f"{_VM}/template", _V),
    "unlink": Command("PUT", f"{_VM}/unlink", _V),
}
_COLUMNS = (
    *(("vmid", "VMID", -10), ("name", "NAME", 20), ("status", "STATUS", 10)),
    *(("mem", "MEM(MB)", 10), ("disk", "BOOTDISK(GB)", -12), ("pid", "PID", -10)),
)
_EXEC_TIMEOUT = 30


def _call(site: Site, method: str, vmid: int, path: str, **params: Any) -> Any:
    place = _VM.format(node=site.node, vmid=vmid)
    return routing.dispatch(site, ROOT, method, f"{place}/{path}", {k.replace("_", "-"): v for k, v in params.items()})


def _list(site: Site, words: list[str]) -> int:
    rows = routing.dispatch(site, ROOT, "GET", f"/nodes/{site.node}/qemu", {})
    for row in rows:
        row["mem"], row["disk"] = row["maxmem"] // 2**20, f"{row['maxdisk'] / 2**30:.2f}"
        row.setdefault("pid", 0)
    if rows:
        commandline.table(rows, _COLUMNS)
    return 0


def _set(site: Site, words: list[str]) -> int:
    """The same call as the API's PUT, with a line that says what it does."""
    command = Command("PUT", f"{_VM}/config", _V)
    values = commandline.parse(words, command)
    given = " ".join(f"-{key} {value}" for key, value in sorted(values.items()) if key != "vmid")
    commandline.call(site, command, dict(values))
    print(f"update VM {values['vmid']}: {given}")
    return 0


def _import_disk(site: Site, words: list[str]) -> int:
    """An image file as a new disk, `unusedN` for now."""
    options, rest = {}, []
    while words:
        word, *words = words
        if word.startswith("-"):
            options[word.lstrip("-")], *words = words
        else:
            rest.append(word)
    vmid = cli_guests.vmid_of(rest)
    if len(rest) != 3:
        raise Usage("not enough arguments: vmid, source and storage")
    source, storage = Path(rest[1]), storages.usable(site, rest[2])
    if not source.is_file():
        raise fail(f"source '{source}' is not a valid volid nor path")
    form = storages.disk_format(storage, options.get("format", ""))
    print(f"importing disk '{source}' to VM {vmid} ...")
    with guests.locked(site, vmid):
        config = guests.load(site, vmid, "qemu")
        guests.check_lock(config)
        volume = site.machines.imported(storage, vmid, source, form, print)
        target = options.get("target-disk", "")
        if target:
            drive = {"file": volume, "size": formats.print_size(site.machines.size(volume))}
            config.values[target] = qemu_drives.show(target, drive)
        else:
            config.keep_unused(volume)
            target = next(key for key, value in config.values.items() if value == volume)
        guests.store(site, vmid, config)
    print(f"{target}: successfully imported disk '{volume}'")
    return 0


def _guest_exec(site: Site, words: list[str]) -> int:
    """Run a program inside and show how it ended as JSON; the exit code is 0 if that is known."""
    vmid, rest = cli_guests.vmid_of(words), words[1:]
    options = {"timeout": str(_EXEC_TIMEOUT), "synchronous": "1", "pass-stdin": "0"}
    while rest and rest[0] != "--" and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        options[name] = value if equals else rest.pop(0)
    command = rest[1:] if rest[:1] == ["--"] else rest
    if not command:
        raise Usage("not enough arguments")
    given = {"input_data": sys.stdin.read()} if options["pass-stdin"] == "1" else {}
    pid = _call(site, "POST", vmid, "agent/exec", command=command, **given)["pid"]
    found: dict[str, Any] = {"pid": pid}
    end = time.monotonic() + float(options["timeout"] or _EXEC_TIMEOUT)
    while options["synchronous"] == "1":
        found = _call(site, "GET", vmid, "agent/exec-status", pid=pid)
        if found["exited"] or time.monotonic() > end:
            break
        time.sleep(0.2)
    print(json.dumps(found if found.get("exited") else {**found, "pid": pid}, indent=3, sort_keys=True))
    return 0


def _agent(site: Site, words: list[str]) -> int:
    """One of the agent's commands without arguments."""
    vmid = cli_guests.vmid_of(words)
    if len(words) != 2:
        raise Usage("not enough arguments: command is missing")
    result = _call(site, "POST", vmid, "agent", command=words[1])["result"]
    if result != {}:
        print(json.dumps(result, indent=3, sort_keys=True))
    return 0


def _wait(site: Site, words: list[str]) -> int:
    """Return when the machine has stopped."""
    vmid = cli_guests.vmid_of(words)
    end = time.monotonic() + float(words[words.index("--timeout") + 1]) if "--timeout" in words else None
    while status.live(site, vmid, "qemu")["running"]:
        if end is not None and time.monotonic() > end:
            raise fail("timeout reached")
        time.sleep(0.1)
    return 0


_SPECIAL: Special = {
    "agent": _agent,
    "config": cli_guests.config("qemu"),
    "disk import": _import_disk,
    "guest cmd": _agent,
    "guest exec": _guest_exec,
    "importdisk": _import_disk,
    "list": _list,
    "set": _set,
    "status": cli_guests.status("qemu"),
    "unlock": cli_guests.unlock("qemu"),
    "wait": _wait,
}


def qm(site: Site, words: list[str]) -> int:
    """Virtual machines of this node."""
    return cli_guests.run(site, words, _COMMANDS, _SPECIAL)
