"""The controllers of an Active Directory site, as DNS names them, in a file that smb.conf includes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from . import dns
from .core import Object, Refused, read_text, write

HEAD = "# Written by smbplan: the controllers of the site {} as DNS names them.\n"


class Controllers(Object):
    """By the file's path. State: {ad_site, servers, current}; current is "unknown" where DNS does not answer.

    Options: {realm, nameservers}.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        text = read_text(Path(name))
        if text is None:
            return None
        site = re.match(re.escape(HEAD).replace(r"\{\}", "(.+)"), text)
        servers = re.search(r"^   password server = (.+)$", text, re.M)
        listed = servers[1].split() if servers else []
        known = _known(site[1], options) if site and "nameservers" in options else None
        current = "unknown" if not known else sorted(known) == sorted(listed)
        return {"ad_site": site[1] if site else "", "servers": listed, "current": current}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        if after is None:
            Path(name).unlink()
            return
        servers = after["servers"] or _known(after["ad_site"], options)
        if not servers:
            hint = "smbplan domain check looks at the name servers, and says which sites there are"
            raise Refused(f"DNS names no controller in the site {after['ad_site']}", "", hint)
        write(Path(name), f"{HEAD.format(after['ad_site'])}   password server = {' '.join(servers)}\n", 0o644)


def _known(site: str, options: dict[str, Any]) -> list[str] | None:
    """None where no name server answers, or none is known."""
    for server in options["nameservers"] or dns.nameservers():
        found = dns.query(server, dns.srv(options["realm"], site), "SRV")
        if found:
            return found
    return None
