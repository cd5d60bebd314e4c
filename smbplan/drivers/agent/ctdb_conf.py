"""The files of a node of a cluster: written, read back, and taken away again. ctdb.conf(5), ctdb-script.options(5)"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import ctdb_image, joined
from .core import IDENTITY, LOCAL, SMB_CONF, STATE, Refused, read_text, run, tidy, write

ETC = Path("/etc/ctdb")
NODES, PUBLIC = ETC / "nodes", ETC / "public_addresses"
CONF, TUNABLES, OPTIONS = ETC / "ctdb.conf", ETC / "ctdb.tunables", ETC / "script.options"
DATABASES = Path("/var/lib/ctdb")
NAMES = STATE / "nodes.json"  # of the cluster's nodes, with their addresses
ORIGINAL = LOCAL / "ctdb"  # of the package's own files, for when this is no node any more
SERVICES = {"winbind": "49.winbind", "smbd": "50.samba"}  # and the scripts by which CTDB starts and watches them
PERSISTENT = DATABASES / "persistent"
WRITTEN = "# Written by smbplan"
ASKED = f"{WRITTEN} for "  # and the addresses as the definition has them
EVENTS = ETC / "events/legacy/06.smbplan.script"  # before 10.interface, which adds the addresses
HANDLED = """#!/bin/sh
# Written by smbplan
conf=/proc/sys/net/ipv6/conf
case "$1" in
takeip)
    # CTDB sees to it that nobody else has an address; the kernel looking for one takes seconds, which all others wait
    # for, or finds what the last node has just said of it, and fails.
    case "$3" in *:*)
        [ -e "/run/ctdb/dad.$2" ] || cp "$conf/$2/accept_dad" "/run/ctdb/dad.$2"
        echo 0 > "$conf/$2/accept_dad"
        ;;
    esac
    ;;
monitor)
    # A node that has lost the shared folder must not serve what is there in its place.
    timeout 5 test -e "{state}/identity" || {{ echo "{state} is not there: is the shared folder mounted?"; exit 1; }}
    ;;
ipreallocated)
    for kept in /run/ctdb/dad.*; do
        [ ! -e "$kept" ] || {{ cat "$kept" > "$conf/${{kept##*/dad.}}/accept_dad"; rm "$kept"; }}
    done
    # A node that was cut off for a moment may still have an address that another one has taken over meanwhile: when it
    # stays with the first one, nobody tells the network, and clients go on to the wrong node.
    own=$(ctdb pnn)
    ctdb -X ip | while IFS='|' read -r _ address node _; do
        [ "$node" = "$own" ] || continue
        set -- $(ip -o addr show to "$address")
        [ -z "$2" ] || ctdb gratarp "$address" "$2"
    done
    ;;
esac
exit 0
"""
DROPINS = {
    # What has crashed comes back by itself; its addresses go first: another node has them by then.
    "ctdb": "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStopPost=-/etc/ctdb/ctdb-crash-cleanup.sh\n"
    "Restart=on-failure\nRestartSec=2\n",
    "smbd": "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=on-failure\nRestartSec=200ms\n",
}


def settings() -> Any:
    """None where smbplan has set nothing."""
    conf, tunables = read_text(CONF) or "", read_text(TUNABLES) or ""
    if not conf.startswith(WRITTEN):
        return None
    lock = re.search(r"^\s*cluster lock = (.*)$", conf, re.M)
    timeout = re.search(r"^\s*leader timeout = (\d+)$", conf, re.M)
    there = interfaces()
    return {
        "lines": (read_text(NODES) or "").split("\n")[:-1],
        "addresses": _told(read_text(PUBLIC) or "", there),
        "lock": lock[1] if lock else "",
        "leader_timeout": int(timeout[1]) if timeout else 0,
        "realtime": "realtime scheduling = true" in conf,
        "tunables": _in_force({name: int(value) for name, value in re.findall(r"^(\w+)=(\d+)$", tunables, re.M)}),
    }


def _in_force(written: dict[str, int]) -> dict[str, int]:
    """What the running daemon does, whatever its file says."""
    try:
        rows = run(["ctdb", "listvars"])
    except Refused:
        return written
    running = {name: int(value) for name, value in re.findall(r"^(\w+)\s*= (\d+)$", rows, re.M)}
    return {name: running.get(name, value) for name, value in written.items()}


def _told(text: str, there: dict[str, Any]) -> list[str]:
    """As the definition has them, if that is what they come to here; or else as they are."""
    head, *lines = text.splitlines() or [""]
    try:
        wanted: list[str] = json.loads(head.removeprefix(ASKED))
        if [_served(each, there) for each in wanted] == lines:
            return wanted
    except (ValueError, Refused):
        pass
    return [" dev ".join(line.split()) for line in [head, *lines] if line[:1] not in ("#", "")]


def configure(request: dict[str, Any]) -> None:
    """Write all files of a node. What the package brought is kept for `restore`."""
    wanted = request["settings"]
    if settings() is None:
        ctdb_image.unpack(PERSISTENT)  # where this run has taken a node away, it comes back with its databases
    for path in (CONF, TUNABLES, OPTIONS):
        kept = ORIGINAL / path.name
        if not kept.exists() and not (read_text(path) or "").startswith(WRITTEN):
            write(kept, read_text(path) or "")
    realtime = "true" if wanted["realtime"] else "false"
    there = interfaces()
    write(NODES, "".join(f"{line}\n" for line in wanted["lines"]), 0o644)
    served = "".join(f"{_served(each, there)}\n" for each in wanted["addresses"])
    write(PUBLIC, f"{ASKED}{json.dumps(wanted['addresses'])}\n{served}", 0o644)
    write(
        CONF,
        f"{WRITTEN}\n[logging]\n  location = syslog\n  log level = NOTICE\n"
        f"[cluster]\n  cluster lock = {wanted['lock']}\n  leader timeout = {wanted['leader_timeout']}\n"
        f"[legacy]\n  realtime scheduling = {realtime}\n",
        0o644,
    )
    tunables = "".join(f"{name}={value}\n" for name, value in sorted(wanted["tunables"].items()))
    write(TUNABLES, f"{WRITTEN}\n{tunables}", 0o644)
    write(OPTIONS, f"{WRITTEN}\nCTDB_SAMBA_SKIP_SHARE_CHECK=yes\nCTDB_SERVICE_NMB=\n", 0o644)
    write(EVENTS, HANDLED.format(state=STATE), 0o755)
    serving = _serving()
    for service in SERVICES:
        (enable if service in serving else disable)(service)
    for unit, text in DROPINS.items():
        write(_dropin(unit), text, 0o644)
    run(["systemctl", "daemon-reload"])


def _serving() -> list[str]:
    """What CTDB can start with. In a domain smbd needs winbindd, and that a membership."""
    if not re.search(r"^\s*server role = member server", read_text(Path(SMB_CONF)) or "", re.M):
        return ["smbd"]
    return list(SERVICES) if joined.NOTE.exists() else []


def led() -> list[str]:
    """The services that CTDB starts and watches."""
    return [service for service in SERVICES if _link(service).exists()]


def enable(service: str) -> None:
    if not _link(service).exists():
        run(["ctdb", "event", "script", "enable", "legacy", SERVICES[service]])


def disable(service: str) -> None:
    _link(service).unlink(missing_ok=True)


def _link(service: str) -> Path:
    return ETC / "events/legacy" / f"{SERVICES[service]}.script"


def restore(request: dict[str, Any]) -> None:
    """This is no node any more: the package's files as they were, and none of the cluster's databases.

    All is kept for an undo: the databases hold what others have put into the registry and among the passwords.
    """
    if not request.get("stale"):
        _keep()
    for path in (CONF, TUNABLES, OPTIONS):
        kept = ORIGINAL / path.name
        if kept.exists():
            write(path, kept.read_text(), 0o644)
            kept.unlink()
    for path in (NODES, PUBLIC, EVENTS, *map(_link, SERVICES)):
        path.unlink(missing_ok=True)
    for unit in DROPINS:
        _dropin(unit).unlink(missing_ok=True)
        with suppress(OSError):
            _dropin(unit).parent.rmdir()
    with suppress(OSError):
        ORIGINAL.rmdir()
    tidy()
    for path in [*DATABASES.glob("*/*"), DATABASES / "scripts"]:  # the last one is no part of the package
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    run(["systemctl", "daemon-reload"])


def _keep() -> None:
    own, dropins = (CONF, TUNABLES, OPTIONS), [_dropin(unit) for unit in DROPINS]
    files = [*own, NODES, PUBLIC, EVENTS, *map(_link, SERVICES), *dropins, *(ORIGINAL / path.name for path in own)]
    databases = PERSISTENT.glob("*.tdb.*")  # those that last, as CTDB has them on disk
    folders = (ORIGINAL, *(path.parent for path in dropins), STATE.parent, STATE)
    ctdb_image.keep([*files, IDENTITY, NAMES, *databases], folders)


def _dropin(unit: str) -> Path:
    return Path(f"/etc/systemd/system/{unit}.service.d/smbplan.conf")


def interfaces() -> dict[str, list[Any]]:
    """{interface: its addresses with their networks}"""
    found = {}
    for link in json.loads(run(["ip", "-j", "addr", "show"]) or "[]"):
        addresses = [f"{each['local']}/{each['prefixlen']}" for each in link.get("addr_info", ()) if "local" in each]
        found[link["ifname"]] = [ipaddress.ip_interface(each) for each in addresses]
    return found


def interface(floating: str, there: dict[str, Any]) -> str:
    """The interface that has an address of its own in the network of a floating one; "" if none has."""
    network, moving = ipaddress.ip_interface(floating).network, {floating.partition("/")[0], *public()}
    for name, addresses in there.items():
        if any(each.ip in network and str(each.ip) not in moving for each in addresses):
            return name
    return ""


def public() -> set[str]:
    """Those that this node may serve already."""
    lines = (read_text(PUBLIC) or "").splitlines()
    return {line.partition("/")[0] for line in lines if line[:1] != "#"}


def _served(floating: str, there: dict[str, Any]) -> str:
    """As a line of public_addresses. Raises Refused."""
    address, _, device = floating.partition(" dev ")
    found = device or interface(address, there)
    if not found:
        hint = f"write the interface with it: {address} dev eth1"
        raise Refused(f"no interface has an address in the network of {address}", "", hint)
    return f"{address} {found}"
