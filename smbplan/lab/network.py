"""The lab's network: a bridge in a namespace of its own, reached by the host over one veth.

Lab number N owns 198.18.N.0/24 (RFC 2544's benchmarking range, never routed). The host is .1. Nothing
is forwarded: the machines reach each other and this host, and nobody else.
"""

import json
import os
import zlib
from contextlib import suppress
from pathlib import Path

from smbplan.lab.tools import LabError, run

NETNS_DIR = Path("/run/netns")
BRIDGE = "br0"


def netns(lab: str, machine: str) -> str:
    """Name of a machine's network namespace."""
    return f"smbplan-{lab}.{machine}"


def bridge_netns(lab: str) -> str:
    """Name of the namespace that holds the lab's bridge. No machine can have it: `+` is not in their names."""
    return netns(lab, "+bridge")


def host_link(number: int) -> str:
    """Name of the host's end of the veth."""
    return f"smbplan{number}"


def machine_address(number: int, machine: str) -> str:
    """pve1 is .11, pve2 is .12, … and the client .101, the domain's controller .102."""
    others = {"client": 101, "dc1": 102}
    return f"198.18.{number}.{others.get(machine) or 10 + int(machine.removeprefix('pve'))}"


def existing(lab: str) -> list[str]:
    """Every network namespace of the lab that the system has, whoever left it there."""
    if not NETNS_DIR.is_dir():
        return []
    return sorted(path.name for path in NETNS_DIR.iterdir() if path.name.startswith(f"smbplan-{lab}."))


def pick_number(lab: str, taken: set[int]) -> int:
    """0 for the default lab, else from the name; the next one where the host already uses that range."""
    first = 0 if lab == "default" else 1 + zlib.crc32(lab.encode()) % 255
    used = run(["ip", "-4", "route", "show", "table", "all"]) + run(["ip", "-4", "addr", "show"])
    for step in range(256):
        number = (first + step) % 256
        if number not in taken and f"198.18.{number}." not in used:
            return number
    raise LabError("every network from 198.18.0.0/24 to 198.18.255.0/24 is in use on this host")


def bridge_is_up(lab: str, number: int) -> bool:
    """Whether the bridge, the host's veth and its address are all there."""
    if bridge_netns(lab) not in existing(lab):
        return False
    shown = run(["ip", "-j", "-4", "addr", "show", "dev", host_link(number)], check=False)
    links = json.loads(shown or "[]")
    return any(f"198.18.{number}.1" == addr.get("local") for link in links for addr in link.get("addr_info", []))


def make_bridge(lab: str, number: int) -> None:
    """Bridge and veth. The address comes last, so that half a bridge is never taken for a whole one."""
    space, link = bridge_netns(lab), host_link(number)
    run(["ip", "netns", "add", space])
    # The host's end is born in the namespace too: whatever happens, removing that removes both.
    _batch(
        space,
        f"link add {BRIDGE} type bridge forward_delay 0",
        f"link set {BRIDGE} up",
        f"link add uplink type veth peer name {link}",
        f"link set uplink master {BRIDGE} up",
        f"link set {link} alias smbplan-lab:{lab}",
        f"link set {link} netns {os.getpid()}",
    )
    run(["ip", "link", "set", link, "up"])
    run(["ip", "addr", "add", f"198.18.{number}.1/24", "dev", link])


def plug(lab: str, number: int, machine: str, *, bridged: bool = False) -> None:
    """The machine's namespace with its eth0 on the bridge, up and addressed before its init starts.

    Bridged: eth0 is a port of a bridge vmbr0 as on PVE, which has the address and takes containers.
    """
    space = netns(lab, machine)
    run(["ip", "netns", "add", space])
    _batch(
        bridge_netns(lab),
        f"link add {machine} type veth peer name eth0 address {_mac(number, machine)} netns {space}",
        f"link set {machine} master {BRIDGE} up",
    )
    address, device = machine_address(number, machine), "vmbr0" if bridged else "eth0"
    bridge = (
        f"link add vmbr0 address {_mac(number, machine)} type bridge forward_delay 0",
        "link set eth0 master vmbr0 up",
    )
    _batch(
        space,
        "link set lo up",
        *(bridge if bridged else ()),
        f"addr add {address}/24 broadcast 198.18.{number}.255 dev {device}",
        f"link set {device} up",
    )


def processes(space: str) -> set[int]:
    """Processes in a network namespace."""
    return {int(pid) for pid in run(["ip", "netns", "pids", space], check=False).split()}


def remove(space: str) -> None:
    """Delete a namespace; its links go with it."""
    run(["ip", "netns", "del", space], check=False)
    with suppress(FileNotFoundError):
        # A `netns add` that was killed half way leaves a plain file.
        (NETNS_DIR / space).unlink()


def host_links(lab: str) -> list[str]:
    """The lab's veth ends on the host, found by their alias."""
    links = json.loads(run(["ip", "-j", "link", "show"]) or "[]")
    return [link["ifname"] for link in links if link.get("ifalias") == f"smbplan-lab:{lab}"]


def unplug(lab: str, machine: str) -> None:
    """Remove a machine's namespace and its port on the bridge, which would else linger for a moment."""
    if bridge_netns(lab) in existing(lab):
        run(["ip", "-n", bridge_netns(lab), "link", "del", machine], check=False)
    remove(netns(lab, machine))


def remove_host_links(lab: str) -> None:
    """Delete what is left of the lab on the host's side."""
    for link in host_links(lab):
        run(["ip", "link", "del", link], check=False)


def _mac(number: int, machine: str) -> str:
    """The same at every start: neighbours would try the old one for half a minute after a reset."""
    return f"02:5b:{number:02x}:00:00:{int(machine_address(number, machine).rpartition('.')[2]):02x}"


def _batch(space: str, *lines: str) -> None:
    run(["ip", "-n", space, "-batch", "-"], input="\n".join(lines) + "\n")
