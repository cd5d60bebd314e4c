"""Runs on the lab's domain controller: makes the domain and its accounts, and then is the controller.

The port READY opens when clients get tickets and the directory answers.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

READY = 9389
TOLD = Path("/etc/lab-domain.json")
DATABASE = "/var/lib/samba/private/sam.ldb"
COMPUTER = "bf967a86-0de6-11d0-a285-00aa003049e2"  # schemaIDGUID of computers, MS-ADSC 2.21
PATIENCE = 60.0  # seconds


def provision(told: dict[str, Any]) -> None:
    """An empty domain. samba-tool(8)"""
    words = {
        "realm": told["realm"],
        "domain": told["workgroup"],
        "server-role": "dc",
        "dns-backend": "SAMBA_INTERNAL",
        "host-ip": told["address"],
        "adminpass": told["password"],
    }
    argv = ["samba-tool", "domain", "provision", "--use-rfc2307", *(f"--{key}={value}" for key, value in words.items())]
    subprocess.run([*argv, "--option=disable netbios = yes"], check=True)


def populate(told: dict[str, Any]) -> None:
    """Users, groups, members and rights. Nobody joins machines without being allowed to."""
    from samba.auth import system_session
    from samba.param import LoadParm
    from samba.samdb import SamDB

    settings = LoadParm()
    settings.load_default()
    directory = SamDB(url=DATABASE, session_info=system_session(), lp=settings)
    base = str(directory.domain_dn())
    quota = "ms-DS-MachineAccountQuota"
    directory.modify_ldif(f"dn: {base}\nchangetype: modify\nreplace: {quota}\n{quota}: 0\n")
    for unit in told["units"]:
        directory.create_ou(f"OU={unit},{base}")
    for number, (name, user) in enumerate(told["users"].items()):
        ids = {"uidnumber": 10001 + number, "gidnumber": 10000, "uid": name} if user.get("unix", True) else {}
        directory.newuser(name, told["password"], **ids)
        directory.setexpiry(f"(samAccountName={name})", 0, no_expiry_req=True)
    # Whose primary group has no id is nobody to idmap_ad(8).
    directory.modify_ldif(
        f"dn: CN=Domain Users,CN=Users,{base}\nchangetype: modify\nadd: gidNumber\ngidNumber: 10000\n"
    )
    for number, (name, members) in enumerate(told["groups"].items()):
        directory.newgroup(name, gidnumber=10101 + number, nisdomain=told["workgroup"].lower())
        directory.add_remove_group_members(name, members, add_members_operation=True)
    for name, user in told["users"].items():
        if user.get("joins"):
            sid = directory.search(base, expression=f"(samAccountName={name})", attrs=["objectSid"])[0]["objectSid"][0]
            rights = f"(OA;CI;CCDC;{COMPUTER};;{_sid(sid)})(OA;CIIO;GA;;{COMPUTER};{_sid(sid)})"
            argv = ["samba-tool", "dsacl", "set", f"--objectdn={base}", "--action=allow", f"--sddl={rights}"]
            subprocess.run([*argv, f"--URL={DATABASE}"], check=True, stdout=subprocess.DEVNULL)


def _sid(packed: bytes) -> str:
    from samba.dcerpc.security import dom_sid
    from samba.ndr import ndr_unpack

    return str(ndr_unpack(dom_sid, packed))


def serve(told: dict[str, Any]) -> int:
    """Until it is told to stop."""
    # Members get the time here, too, as from w32time; no lab sets a clock.
    subprocess.Popen(["chronyd", "-x", "-n", "local stratum 8", "allow all"], stdin=subprocess.DEVNULL)
    daemon = subprocess.Popen(["samba", "--foreground", "--no-process-group"], stdin=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE
    while not answers(told):
        if time.monotonic() > end or daemon.poll() is not None:
            daemon.terminate()
            return 1
        time.sleep(0.1)
    with socket.create_server(("", READY)) as ready:
        ready.settimeout(1)
        while daemon.poll() is None:
            try:
                ready.accept()[0].close()
            except TimeoutError:
                continue
    return daemon.returncode


def answers(told: dict[str, Any]) -> bool:
    """Whether there are tickets, and the directory can be read."""
    environment = {**os.environ, "KRB5CCNAME": "MEMORY:"}
    who = f"Administrator@{told['realm']}"
    ticket = ["kinit", "-c", "MEMORY:", who]
    done = subprocess.run(ticket, input=told["password"].encode(), capture_output=True, env=environment, check=False)
    if done.returncode:
        return False
    search = ["ldbsearch", "-H", f"ldap://{told['address']}", "-s", "base", "-b", "", "dnsHostName"]
    return subprocess.run(search, capture_output=True, check=False).returncode == 0


def main() -> int:
    told = json.loads(TOLD.read_text())
    if not Path(DATABASE).exists():
        provision(told)
        populate(told)
    return serve(told)


if __name__ == "__main__":
    sys.exit(main())
