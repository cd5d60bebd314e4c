"""examples/ad on a lab with a domain: what the tests of it share."""

import base64
import shutil
from pathlib import Path

import pytest
from lab.conftest import EXAMPLES
from lab.faults import FAULTS, Fault, Pool
from lab.site import Site

from smbplan import app
from smbplan.lab import Lab

REALM = "CORP.TEST"
DESTROY = {"destroy": True, "allow": frozenset({"many-deletes"})}
# Counters and times are no part of *as before*; nor are tombstones, which DNS keeps, too, and a zone's serial number.
COUNTERS = (
    "uSNChanged", "whenChanged", "uSNCreated", "rIDNextRID", "rIDPreviousAllocationPool", "replUpToDateVector",
    "lastLogon", "logonCount", "lastLogonTimestamp", "badPwdCount", "badPasswordTime", "replPropertyMetaData",
)  # fmt: skip
DIRECTORY = "ldbsearch -H /var/lib/samba/private/sam.ldb --cross-ncs '(objectClass=*)' '*' replPropertyMetaData"


def prepared(lab: Lab, folder: Path, patched: pytest.MonkeyPatch, guests: bool = False) -> Site:
    """The site in a folder, for this lab; with its guests, or without."""
    patched.setenv("SMBPLAN_LAB", lab.name)
    patched.setenv("ALICE_PASSWORD", "alice-Geheim-1")
    patched.setenv("SMBPLAN_STATE", str(folder / "state"))
    shutil.copytree(EXAMPLES / "ad", folder / "ad")
    if not guests:
        (folder / "ad" / "guests.yaml").unlink()
    for path in (folder / "ad").glob("*.yaml"):
        text = path.read_text().replace("/lab/default/", f"/lab/{lab.name}/")
        path.write_text(text.replace("198.18.0.", f"198.18.{lab.state.number()}."))
    return Site(lab, folder / "ad")


def alone(lab: Lab, folder: Path, patched: pytest.MonkeyPatch) -> Site:
    """The site without its guests, on a host as new and a directory that does not know it."""
    lab.reset("pve1")
    site = prepared(lab, folder, patched)
    forget(site)
    return site


def fails_to_leave(site: Site) -> None:
    """A destroy that fails after it has left the domain: the gateway comes back."""
    connections = Pool()
    planned = site.plan(atomic=True, **DESTROY)
    (step,) = [step for step in planned.plan.steps if step.id == "samba.config.files"]
    fault = Fault(step, FAULTS[0])
    done = app.apply(planned, connect=connections.connect(fault))
    connections.close()
    assert (fault.struck, done.outcome.name) == (True, "rolled_back"), done.outcome.problems
    assert site.differences() == []
    assert "news" in kerberos(site, "bert", "projects", "get n -")


def directory(site: Site) -> set[str]:
    """Every object with each of its attributes, but for COUNTERS and what was deleted."""
    text = site.shell("dc1", DIRECTORY).replace("\n ", "")
    found = set()
    for entry in text.split("\n\n"):
        rows = [row for row in entry.splitlines() if row and row[0] != "#"]
        if not rows or "dNSTombstoned: TRUE" in rows or not rows[0].startswith("dn:"):
            continue
        found |= {f"{rows[0]}: {row}" for row in rows if row.partition(":")[0] not in COUNTERS and not is_start(row)}
    return found


def is_start(row: str) -> bool:
    """Of authority (SOA), with the serial number of a zone. [MS-DNSP] 2.3.2.2"""
    name, _, value = row.partition(":: ")
    return name == "dnsRecord" and base64.b64decode(value)[2:4] == b"\x06\0"


def password(site: Site) -> str:
    return site.lab.state.password.read_text().strip()


def administered(site: Site, command: str) -> str:
    """The output of samba-tool on the controller, as its administrator."""
    return site.shell("dc1", f"samba-tool {command}")


def forget(site: Site) -> None:
    """What a test that failed, or that ends as a member, has left in the directory."""
    who = ["-U", "Administrator", f"--password={password(site)}"]
    site.lab.exec("dc1", ["samba-tool", "computer", "delete", "FILES"])
    for name in ("files", "shares", "second"):
        site.lab.exec("dc1", ["samba-tool", "dns", "delete", "dc1", "corp.test", name, "A", site.address(), *who])


def kerberos(
    site: Site, user: str, share: str, commands: str, host: str = "files.corp.test", realm: str = REALM, at: str = ""
) -> str:
    """What a client says that has a ticket, and no password; at an address that is one of the host's, if told."""
    script = f"""
        export KRB5CCNAME=/tmp/ticket-{user}
        kinit '{user}@{realm}' >/dev/null
        smbclient --use-kerberos=required -N {f"-I {at}" if at else ""} //{host}/{share} -c '{commands}' 2>&1 || :
    """
    done = site.lab.exec("client", ["sh", "-c", script], f"{password(site)}\n")
    return (done.stdout + done.stderr).decode()


def with_its_ticket(site: Site, user: str, share: str, commands: str) -> str:
    """The same with the tickets of the last time, on a client that does not wait for the controller's DNS."""
    script = f"""
        grep -q files.corp /etc/hosts || echo {site.address()} files.corp.test >>/etc/hosts
        cp /etc/resolv.conf /tmp/resolv.conf; echo 'nameserver 127.0.0.1' >/etc/resolv.conf
        export KRB5CCNAME=/tmp/ticket-{user}
        smbclient --use-kerberos=required -N //files.corp.test/{share} -c '{commands}' 2>&1
        cp /tmp/resolv.conf /etc/resolv.conf
    """
    return site.lab.exec("client", ["sh", "-c", script]).stdout.decode()


def ntlm(site: Site, user: str, share: str, commands: str, node: str = "pve1", workgroup: str = "CORP") -> str:
    argv = ["smbclient", "--use-kerberos=off", "-A", "/dev/stdin", f"//{site.address(node)}/{share}", "-c", commands]
    done = site.lab.exec("client", argv, f"username={user}\npassword={password(site)}\ndomain={workgroup}\n")
    return (done.stdout + done.stderr).decode()
