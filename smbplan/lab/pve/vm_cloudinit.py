"""The cloud-init drive that PVE makes for a machine: NoCloud, an ISO in a disk image."""

import hashlib
import tempfile
from pathlib import Path
from urllib.parse import unquote

from smbplan.lab.pve import guest, vm_files
from smbplan.lab.pve.machine import Config
from smbplan.lab.pve.vm_config import cards


def write(vmid: int, config: Config, image: Path) -> None:
    """Replace the image's content."""
    parts = {"user-data": user_data(vmid, config), "network-config": network(config)}
    number = hashlib.sha1("".join(parts.values()).encode(), usedforsecurity=False).hexdigest()
    parts["meta-data"] = f"instance-id: {number}\n"
    with tempfile.TemporaryDirectory(prefix=f"cloudinit-{vmid}-", dir="/run") as name:
        folder, iso = Path(name) / "files", Path(name) / "iso"
        folder.mkdir()
        for file, text in parts.items():
            (folder / file).write_text(text)
        vm_files.run("genisoimage", "-quiet", "-joliet", "-rock", "-volid", "cidata", "-output", iso, folder)
        image.parent.mkdir(parents=True, exist_ok=True)
        form = "raw" if image.suffix == ".raw" else "qcow2"
        vm_files.run("qemu-img", "convert", "-f", "raw", "-O", form, iso, image)


def user_data(vmid: int, config: Config) -> str:
    """In the order that PVE writes it."""
    host, domain = config.get("name", f"VM{vmid}"), config.get("searchdomain", "").split(" ")[0]
    lines = ["#cloud-config", f"hostname: {host}", "manage_etc_hosts: true"]
    lines += [f"fqdn: {host}.{domain}" if domain else f"fqdn: {host}"]
    lines += [f"user: {config['ciuser']}"] if "ciuser" in config else []
    lines += [f"password: {config['cipassword']}"] if "cipassword" in config else []
    keys = [key for key in unquote(config.get("sshkeys", "")).splitlines() if key.strip()]
    if keys:
        lines += ["ssh_authorized_keys:", *(f"  - {key.strip()}" for key in keys)]
    lines += ["chpasswd:", "  expire: False", "users:", "  - default"]
    lines += [f"package_upgrade: {'true' if config.get('ciupgrade', '1') == '1' else 'false'}"]
    return "".join(f"{line}\n" for line in lines)


def network(config: Config) -> str:
    """Version 1 of cloud-init's format; cards are recognised by their addresses."""
    lines = ["version: 1", "config:"]
    for key, card in cards(config).items():
        number = key.removeprefix("net")
        lines += ["    - type: physical", f"      name: eth{number}", f"      mac_address: '{card.mac}'"]
        subnets = _subnets(guest.properties(config.get(f"ipconfig{number}", ""), ""))
        lines += ["      subnets:", *subnets] if subnets else []
    servers, domains = config.get("nameserver", "").split(), config.get("searchdomain", "").split()
    if servers or domains:
        lines += ["    - type: nameserver"]
        lines += ["      address:", *(f"      - '{server}'" for server in servers)] if servers else []
        lines += ["      search:", *(f"      - '{domain}'" for domain in domains)] if domains else []
    return "".join(f"{line}\n" for line in lines)


def _subnets(given: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for key, gateway, static, auto in (("ip", "gw", "static", "dhcp4"), ("ip6", "gw6", "static6", "dhcp6")):
        if value := given.get(key):
            if "/" in value:
                lines += [f"      - type: {static}", f"        address: '{value}'"]
                lines += [f"        gateway: '{given[gateway]}'"] if gateway in given else []
            else:
                lines += [f"      - type: {'ipv6_slaac' if value == 'auto' else auto}"]
    return lines
