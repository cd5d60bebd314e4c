"""What `pct` and `qm` have in common."""

import re
from collections.abc import Callable, Mapping

from smbplan.lab.pve import commandline, guestconf, guests, routing
from smbplan.lab.pve.commandline import Command, Usage
from smbplan.lab.pve.guestconf import Kind
from smbplan.lab.pve.site import Site
from smbplan.lab.pve.usercfg import ROOT

Special = Mapping[str, Callable[[Site, list[str]], int]]


def place(kind: Kind) -> str:
    """The path of a guest in the API."""
    return f"/nodes/{{node}}/{kind}/{{vmid}}"


def vmid_of(words: list[str]) -> int:
    """The first word as an id."""
    if not words or not re.fullmatch(r"[1-9]\d{2,8}", words[0]):
        raise Usage("not enough arguments: vmid is missing")
    return int(words[0])


def run(site: Site, words: list[str], commands: Mapping[str, Command], special: Special) -> int:
    """A command of the program: one that is more than a call, or a call; names may be two words."""
    for count in (2, 1):
        name, rest = " ".join(words[:count]), words[count:]
        if name in special:
            return special[name](site, rest)
        if name in commands:
            commandline.show(commandline.call(site, commands[name], commandline.parse(rest, commands[name])))
            return 0
    raise Usage(f"no such command '{words[0] if words else ''}'")


def status(kind: Kind) -> Callable[[Site, list[str]], int]:
    """`status: running`, or all there is with `--verbose`."""

    def show(site: Site, words: list[str]) -> int:
        path = place(kind).format(node=site.node, vmid=vmid_of(words))
        found = routing.dispatch(site, ROOT, "GET", f"{path}/status/current", {})
        verbose = any(word.lstrip("-") == "verbose" for word in words[1:])
        for key in sorted(found) if verbose else ["status"]:
            print(f"{key}: {found[key]}")
        return 0

    return show


def config(kind: Kind) -> Callable[[Site, list[str]], int]:
    """Keys and values; the description percent-encoded on one line."""

    def show(site: Site, words: list[str]) -> int:
        found = guests.load(site, vmid_of(words), kind)
        values = found.values if "--current" in words else found.future()
        for key in sorted(values):
            value = "**********" if key == "cipassword" else values[key]
            if key == "description":
                value = "%0A".join(guestconf.encode(line) for line in value.split("\n"))
            print(f"{key}: {value}")
        for key, value in found.raw:
            print(f"{key}: {value}")
        return 0

    return show


def unlock(kind: Kind) -> Callable[[Site, list[str]], int]:
    """Take the lock away that a task left."""

    def take(site: Site, words: list[str]) -> int:
        vmid = vmid_of(words)
        with guests.locked(site, vmid):
            found = guests.load(site, vmid, kind)
            if found.values.pop("lock", None):
                guests.store(site, vmid, found)
            elif kind == "lxc":
                print("no lock set")
        return 0

    return take
