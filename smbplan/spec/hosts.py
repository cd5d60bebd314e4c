"""The gateways that are hosts by themselves, as definitions that nobody has checked yet have them."""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from smbplan.spec.presets import filled

HOST = r"^[A-Za-z0-9][A-Za-z0-9_.:%-]*$"
SSH: Mapping[str, type] = {"user": str, "port": int, "identity": str, "config": str, "sudo": bool}  # see spec.base.Ssh
MANY = 32


def plain(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, how SSH reaches it) of so many of them; what looks wrong is left out."""
    sections = filled({name: data[name] for name in ("defaults", "gateways") if name in data})
    gateways = sections.get("gateways")
    if isinstance(gateways, Mapping):
        yield from islice(filter(_is_plain, ((str(name), _way(name, at)) for name, at in gateways.items())), MANY)


def _way(name: Any, gateway: Any) -> dict[str, Any]:
    """Empty for what is no host by itself, or is no way there."""
    if not isinstance(gateway, Mapping) or "nodes" in gateway:
        return {}
    ssh = gateway.get("ssh") or {}
    if (gateway.get("mode", "native"), gateway.get("connection", "ssh")) != ("native", "ssh"):
        return {}
    if not isinstance(ssh, Mapping) or any(type(value) is not SSH.get(key) for key, value in ssh.items()):
        return {}
    return {**ssh, "host": gateway.get("host") or name}


def _is_plain(found: tuple[str, dict[str, Any]]) -> bool:
    host = found[1].get("host")
    return isinstance(host, str) and re.fullmatch(HOST, host) is not None
