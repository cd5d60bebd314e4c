"""Limits of the host's kernel that a dozen containers reach: raised while a lab needs it, then as they were."""

import json
from contextlib import suppress
from pathlib import Path

from smbplan.lab.state import RUN, State, locked, write

WANTED = {
    # Counted for all user namespaces that root made, together; one systemd takes about eight.
    "fs/inotify/max_user_instances": 8192,
    # Counted for the node's user id, which all containers of all nodes share.
    "kernel/keys/maxkeys": 20000,
    "kernel/keys/maxbytes": 2000000,
}
SYS = Path("/proc/sys")
RECORD = RUN / ".kernel.json"


def raise_limits() -> None:
    """Raise what is lower, after the lab's machines are on record; a host that doesn't let us has fewer containers."""
    with locked("+kernel"):
        before = _record()
        for name, wanted in WANTED.items():
            with suppress(OSError):
                found = int((SYS / name).read_text())
                if found < wanted:
                    before[name] = found
                    write(RECORD, json.dumps(before))
                    (SYS / name).write_text(f"{wanted}\n")


def restore() -> None:
    """Put back what is still as we set it, if no lab has PVE nodes any more."""
    with locked("+kernel"):
        labs = [State(path.name) for path in RUN.iterdir() if path.is_dir()]
        if any(how.pve for lab in labs for how in lab.machines().values()):
            return
        for name, value in _record().items():
            with suppress(OSError):
                if int((SYS / name).read_text()) == WANTED.get(name):
                    (SYS / name).write_text(f"{value}\n")
        RECORD.unlink(missing_ok=True)


def _record() -> dict[str, int]:
    with suppress(OSError, ValueError):
        return dict(json.loads(RECORD.read_text()))
    return {}
