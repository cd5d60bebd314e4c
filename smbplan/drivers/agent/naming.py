"""Who is asked for names: of hosts (resolv.conf(5)), and of users and groups (nsswitch.conf(5))."""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import dns
from .core import Object, Refused, read_text, rewrite, run

HOSTS, OURS = Path("/etc/hosts"), "# smbplan"
NSS = Path("/etc/nsswitch.conf")
DATABASES = ("passwd", "group")


class NameService(Object):
    """A source, such as winbind. State: {databases}: those that it is asked for."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        text = read_text(NSS) or ""
        return {"databases": sorted(each for each in DATABASES if name in _sources(text, each))}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        text = read_text(NSS) or ""
        for each in DATABASES:
            has, wanted = name in _sources(text, each), each in after["databases"]
            if wanted and not has:
                line = re.search(rf"^{each}:.*$", text, re.M)
                text = f"{text}{each}: files\n" if line is None else text
                text = re.sub(rf"^({each}:.*?)[ \t]*$", rf"\1 {name}", text, count=1, flags=re.M)
            elif has and not wanted:
                text = re.sub(rf"^({each}:.*?)[ \t]+{name}\b", r"\1", text, count=1, flags=re.M)
        rewrite(NSS, text)


def _sources(text: str, database: str) -> list[str]:
    line = re.search(rf"^{database}:(.*)$", text, re.M)
    return line[1].split() if line else []


class Hosts(Object):
    """A name of this host. State: {listed}: whether it stands in /etc/hosts with an address of this host."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        own = addresses()
        rows = [line.split("#")[0].split() for line in (read_text(HOSTS) or "").splitlines()]
        return {"listed": any(row[0] in own and name in row[1:] for row in rows if row)}

    def vacant(self, state: Any) -> bool:
        return not state["listed"]

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        lines = [line for line in (read_text(HOSTS) or "").splitlines(True) if not line.endswith(f" {OURS}\n")]
        if after and after["listed"]:
            lines.append(f"{_towards_others()} {name} {name.partition('.')[0]} {OURS}\n")
        rewrite(HOSTS, "".join(lines))


def addresses() -> set[str]:
    """Those of this host. ip(8)"""
    links = json.loads(run(["ip", "-json", "address"]))
    return {each["local"] for link in links for each in link["addr_info"] if "local" in each}


def _towards_others() -> str:
    """The address by which this host reaches its name server, or anybody."""
    for server in (*dns.nameservers(), "192.0.2.1"):
        with (
            suppress(OSError),
            socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as to,
        ):
            to.connect((server, 53))  # nothing is sent
            return str(to.getsockname()[0])
    return "127.0.1.1"


class Resolver(Object):
    """State: {nameservers, search, rest}; rest is the file without these lines."""

    OURS = re.compile(r"^(nameserver|search|domain)[ \t].*\n?", re.M)

    def get(self, name: str, options: dict[str, Any]) -> Any:
        path = Path(name)
        if path.is_symlink():
            raise Refused(
                f"{name} is a link: another program writes it",
                str(path.readlink()) if hasattr(path, "readlink") else "",
                "set the name servers there, and leave nameservers: out at the domain",
            )
        text = read_text(path) or ""
        search = re.findall(r"^(?:search|domain)[ \t]+(.*)$", text, re.M)
        return {
            "nameservers": re.findall(r"^nameserver[ \t]+(\S+)", text, re.M),
            "search": search[-1].split() if search else [],
            "rest": self.OURS.sub("", text),
        }

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        lines = [f"search {' '.join(after['search'])}\n"] if after["search"] else []
        lines += [f"nameserver {server}\n" for server in after["nameservers"]]
        rewrite(Path(name), "".join(lines) + (after["rest"] or ""))
