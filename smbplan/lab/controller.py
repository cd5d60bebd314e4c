"""The controller of a lab's Active Directory domain: a machine with Samba as AD DC, and some accounts."""

import json
import secrets
from pathlib import Path
from typing import Any

from smbplan.lab.dc import TOLD
from smbplan.lab.state import CONTROLLER, State, enable, write

SCRIPT = Path(__file__).with_name("dc.py")
UNIT = """[Unit]
Description=Domain controller of the lab
After=network.target
[Service]
ExecStart=/usr/bin/python3 -B /usr/local/sbin/lab-controller
"""
# Everybody has the password in State.password.
ACCOUNTS: dict[str, Any] = {
    "units": ["Servers"],
    "users": {"joiner": {"joins": True}, "anna": {}, "bert": {}, "jörg": {}, "nobody.special": {}},
    "groups": {
        "Engineers": ["anna"],
        "Sales Team": ["bert"],
        "All Staff": ["Engineers", "Sales Team"],
        "Größe": ["jörg"],
    },
}


def write_seed(state: State, realm: str, address: str) -> None:
    """What makes a machine the controller when it starts."""
    seed = state.seed(CONTROLLER)
    if not state.password.exists():
        write(state.password, f"Aa1-{secrets.token_urlsafe(12)}\n")
    told = {
        "realm": realm,
        "workgroup": workgroup(realm),
        "address": address,
        "password": state.password.read_text().strip(),
        **ACCOUNTS,
    }
    write(seed / str(TOLD).lstrip("/"), json.dumps(told))
    write(seed / "usr/local/sbin/lab-controller", SCRIPT.read_text(), 0o755)
    write(seed / "etc/systemd/system/lab-controller.service", UNIT, 0o644)
    enable(seed, "lab-controller.service", "multi-user.target")


def workgroup(realm: str) -> str:
    """The domain's NetBIOS name."""
    return realm.partition(".")[0].upper()[:15]
