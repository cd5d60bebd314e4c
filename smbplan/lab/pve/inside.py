"""Files that PVE writes into a Debian container before each start: its names, network and resolver."""

import ipaddress
import os
from pathlib import Path

from smbplan.lab.pve.guest import Guest

BEGIN, END = "# --- BEGIN PVE ---", "# --- END PVE ---"


def write_settings(guest: Guest, rootfs: Path) -> None:
    """Write them into the mounted root file system, owned by the container's root."""
    name = guest.values.get("hostname") or f"CT{guest.vmid}"
    short, _, domain = name.partition(".")
    domain = domain or guest.values.get("searchdomain", "").split(" ")[0]
    full = f"{short}.{domain} {short}" if domain else short
    addresses = [entry[key].partition("/")[0] for entry in guest.networks().values() for key in _static(entry)]
    lines = ["127.0.1.1 " + full] if not addresses else [f"{address} {full}" for address in addresses[:1]]
    _write(guest, rootfs / "etc/hostname", f"{short}\n")
    _write(
        guest, rootfs / "etc/hosts", _section(rootfs / "etc/hosts", [*lines], "127.0.0.1 localhost\n::1 localhost\n")
    )
    _write(guest, rootfs / "etc/network/interfaces", interfaces(guest))
    _write(guest, rootfs / "etc/resolv.conf", _resolver(guest))


def _static(entry: dict[str, str]) -> list[str]:
    return [key for key in ("ip", "ip6") if "/" in entry.get(key, "")]


def interfaces(guest: Guest) -> str:
    """/etc/network/interfaces for ifupdown."""
    text = "auto lo\niface lo inet loopback\niface lo inet6 loopback\n"
    for entry in guest.networks().values():
        name = entry["name"]
        text += f"\nauto {name}\n"
        for key, family, gateway in (("ip", "inet", "gw"), ("ip6", "inet6", "gw6")):
            value = entry.get(key, "manual" if family == "inet" else "")
            if "/" in value:
                text += f"iface {name} {family} static\n\taddress {ipaddress.ip_interface(value)}\n"
                text += f"\tgateway {entry[gateway]}\n" if entry.get(gateway) else ""
            elif value:
                text += f"iface {name} {family} {value}\n"
            text += "\n" if value else ""
    return text


def _resolver(guest: Guest) -> str:
    servers = guest.values.get("nameserver", "").replace(",", " ").split()
    search = guest.values.get("searchdomain", "")
    text = (f"search {search}\n" if search else "") + "".join(f"nameserver {server}\n" for server in servers)
    # Without settings of its own a container has the node's.
    return text or Path("/etc/resolv.conf").read_text()


def _section(path: Path, lines: list[str], fresh: str) -> str:
    text = path.read_text() if path.is_file() and not path.is_symlink() else fresh
    before, found, rest = text.partition(BEGIN + "\n")
    after = rest.partition(END + "\n")[2] if found else ""
    return "\n".join([before.rstrip("\n"), "", BEGIN, *lines, END, ""]).lstrip("\n") + after


def _write(guest: Guest, path: Path, text: str) -> None:
    if not path.parent.is_dir():
        return
    path.unlink(missing_ok=True)  # a link would lead out of the container
    path.write_text(text)
    path.chmod(0o644)
    os.chown(path, *guest.root_ids)
