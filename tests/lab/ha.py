"""examples/ha on a lab: what the tests of it share."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab import ad, snapshot
from lab.conftest import EXAMPLES
from lab.faults import Fault
from lab.site import Site

from smbplan.drivers.ha import Ha
from smbplan.drivers.ha_client import Client, Seen
from smbplan.lab import Lab

NODES = {"files1": "pve1", "files2": "pve2", "files3": "pve3"}
DESTROY = {"destroy": True, "allow": frozenset({"many-deletes"})}
SHARED = "/mnt/shared"
PERFORM = Ha._perform


def prepared(lab: Lab, folder: Path, patched: pytest.MonkeyPatch, example: str = "ha") -> Site:
    """The site in a folder, for this lab."""
    patched.setenv("SMBPLAN_LAB", lab.name)
    for name in ("ALICE", "BOB"):
        patched.setenv(f"{name}_PASSWORD", f"{name.lower()}-Geheim-1")
    patched.setenv("SMBPLAN_STATE", str(folder / "state"))
    shutil.copytree(EXAMPLES / example, folder / "ha")
    for path in (folder / "ha").glob("*.yaml"):
        text = path.read_text().replace("/lab/default/", f"/lab/{lab.name}/")
        path.write_text(text.replace("198.18.0.", f"198.18.{lab.state.number()}."))
    return Site(lab, folder / "ha")


def fresh(lab: Lab, folder: Path, patched: pytest.MonkeyPatch, example: str = "ha") -> Site:
    """On nodes as new, which share nothing yet."""
    lab.exec("pve1", ["sh", "-c", f"find {SHARED} -mindepth 1 ! -name lab-lock -delete"])
    lab.reset(*(name for name in lab.state.machines() if name.startswith("pve")))
    return prepared(lab, folder, patched, example)


def outsiders(lab: Lab, folder: Path, patched: pytest.MonkeyPatch) -> Site:
    """examples/ha-ad, on nodes as new, and in a directory that knows no computer of that name."""
    made = fresh(lab, folder, patched, "ha-ad")
    who = ["-U", "Administrator", f"--password={ad.password(made)}"]
    lab.exec("dc1", ["samba-tool", "computer", "delete", "FILES"])
    for name in ("files", "shares"):
        for last in (61, 62, 63):
            words = ["dc1", "corp.test", name, "A", floating(made, last), *who]
            lab.exec("dc1", ["samba-tool", "dns", "delete", *words])
    return made


def seen(site: Site) -> dict[str, dict[str, object]]:
    """All nodes as they are."""
    return {node: snapshot.take(site.lab, node) for node in NODES.values()}


def as_before(site: Site, before: dict[str, dict[str, object]]) -> list[str]:
    """What is different now."""
    now = seen(site)
    return [line for node in before for line in snapshot.differences(before[node], now[node])]


def strike(patched: pytest.MonkeyPatch, fault: Fault) -> None:
    """The fault, where it is one of the cluster itself: an agent that a connection leads to does not see it."""

    def perform(self: Ha, request: Any) -> list[Any]:
        if fault.step.target != self.endpoint.name:
            return list(PERFORM(self, request))
        return fault.strike(lambda **arguments: PERFORM(self, arguments), dict(request))

    patched.setattr(Ha, "_perform", perform)


def floating(site: Site, last: int) -> str:
    return f"198.18.{site.lab.state.number()}.{last}"


def smb(site: Site, address: str, share: str, commands: str, user: str = "alice") -> str:
    """What a client says at an address."""
    argv = ["smbclient", "-U", f"{user}%{user}-Geheim-1", f"//{address}/{share}", "-c", commands]
    done = site.lab.exec("client", argv)
    return (done.stdout + done.stderr).decode()


def at(site: Site, last: int, user: str, commands: str, host: str = "files.corp.test") -> str:
    """What a client with a ticket says of the share `projects` at one of the addresses."""
    return ad.kerberos(site, user, "projects", commands, host, at=floating(site, last))


def serves_everywhere(site: Site) -> list[str]:
    """The floating addresses, at each of which the same folder is served."""
    addresses = [floating(site, last) for last in (61, 62, 63)]
    for number, address in enumerate(addresses):
        assert "NT_STATUS" not in smb(site, address, "drawings", f"mkdir f{number}"), address
    assert all(f"f{number}" in smb(site, addresses[0], "drawings", "ls") for number in range(3)), "one folder"
    return addresses


@contextmanager
def served(site: Site, *addresses: str) -> Iterator[Callable[[], list[Seen]]]:
    """Clients read and write at these addresses meanwhile; afterwards the call tells what they have met with."""
    clients = [Client(each, "drawings", "alice", "alice-Geheim-1") for each in addresses]
    for client in clients:
        client.start()
    try:
        assert all(client.wait(60) for client in clients), [client.seen.errors for client in clients]
        yield lambda: [client.stop() for client in clients]
    finally:
        for client in clients:
            client.stop()
