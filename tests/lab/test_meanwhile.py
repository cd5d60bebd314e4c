"""Somebody changes by hand what a plan is about to change: that step is refused, and the others go on as always."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab.faults import Fault, Faulty, Pool
from torture.grounds import GROUNDS, ground

from smbplan import app
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.engine.step import Step
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
# What is edited, where, how, and what shows that the edit is still there.
EDITS: Mapping[str, tuple[str, str, str]] = {
    "samba.share.projects": (
        "pve1",
        "net conf setparm projects comment byhand",
        "net conf getparm projects comment | grep byhand",
    ),
    "samba.config.files": (
        "pve1",
        "echo '# byhand' >>/etc/samba/smb.conf",
        "grep byhand /etc/samba/smb.conf",
    ),
    "posix.user.files.alice": (
        "pve1",
        "sed -i 's/Alice Adams/byhand/' /etc/passwd",
        "grep ^alice.*byhand /etc/passwd",
    ),
    "samba.user.files.alice": (
        "pve1",
        "printf 'Byhand-1\\nByhand-1\\n' | smbpasswd -s alice",
        """pdbedit -Lw alice | grep -i "$(python3 -c 'from samba.credentials import Credentials
alice = Credentials(); alice.set_password("Byhand-1"); print(bytes(alice.get_nt_hash()).hex())')\"""",
    ),
    "posix.group.files.engineers": ("pve1", "gpasswd -d bob engineers", "! id -nG bob | grep engineers"),
    "btrfs.subvolume.projects": (
        "pve1",
        "setfacl -m u:carol:rwx /mnt/btrfs/projects",
        "getfacl -p /mnt/btrfs/projects | grep user:carol:rwx",
    ),
    "file.projects.snapshot-timer": (
        "pve1",
        "echo '# byhand' >>/etc/systemd/system/smbplan-snapshot-projects.timer",
        "grep byhand /etc/systemd/system/smbplan-snapshot-projects.timer",
    ),
    "directory.books": ("pve2", "setfacl -m u:bob:rwx /srv/books", "getfacl -p /srv/books | grep user:bob:rwx"),
}


class Editor(Faulty, Channel):
    """Somebody edits when the step's operation is on its way."""

    def request(self, verb: str, timeout: float = 900.0, **arguments: Any) -> Any:
        fault = self.fault
        assert isinstance(fault, Edit)
        here = verb == "perform" and self.endpoint.name == fault.step.target and not fault.struck
        if here and any(Fault.name(op) == fault.wanted for op in arguments["ops"]):
            fault.struck = True
            fault.edit()
        return super().request(verb, timeout, **arguments)


class Edit(Fault):
    edit: Callable[[], object]


def by(pool: Pool, step: Step, edit: Callable[[], object]) -> Callable[[Endpoint, Counts], Channel]:
    fault = Edit(step, "")
    fault.edit = edit

    def channel(endpoint: Endpoint, counts: Counts) -> Channel:
        return pool.found(endpoint.name, fault, lambda: Editor(endpoint, counts))  # type: ignore[no-any-return]

    return channel


@pytest.mark.parametrize("during", [False, True], ids=["between plan and apply", "during apply"])
def test_what_somebody_changes_meanwhile_stays(machines: Lab, tmp_path: Path, during: bool) -> None:
    with ground(GROUNDS["quickstart, changed"], machines, tmp_path) as here:
        for address, (node, script, still) in EDITS.items():
            planned = here.site.plan(**here.wish)
            steps = {step.id: step for step in planned.plan.steps}
            edit, pool = partial(here.site.shell, node, script), Pool()
            if not during:
                edit()
            done = app.apply(planned, connect=by(pool, steps[address], edit) if during else Channel)
            pool.close()
            refused = [each.address for each in done.outcome.problems]
            assert refused == [address], (address, done.outcome.problems)
            assert "somebody else" in done.outcome.problems[0].summary
            here.site.shell(node, still)
            the_others_are_done(done.outcome.statuses, steps, address)
            here.back()


def the_others_are_done(statuses: Mapping[str, object], steps: Mapping[str, Step], address: str) -> None:
    """Only what shares a unit with the refused step, or stands on it, was not done."""
    units = {*steps[address].units}
    gone = {name for name, step in steps.items() if units & {*step.units} or address in step.after}
    left = [name for name, status in statuses.items() if str(status) != "done" and name not in gone]
    assert left == []
