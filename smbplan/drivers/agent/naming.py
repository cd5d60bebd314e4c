"""Who is asked for names: of hosts (resolv.conf(5)), and of users and groups (nsswitch.conf(5))."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .core import Object, Refused, read_text, write

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
        write(NSS, text, 0o644)


def _sources(text: str, database: str) -> list[str]:
    line = re.search(rf"^{database}:(.*)$", text, re.M)
    return line[1].split() if line else []


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
        write(Path(name), "".join(lines) + (after["rest"] or ""), 0o644)
