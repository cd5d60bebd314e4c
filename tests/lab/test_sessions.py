"""Who loses a right loses it in the sessions that are open, too."""

import subprocess
import time

import pytest
from lab.site import Site

pytestmark = pytest.mark.lab


def test_sessions_end_when_their_right_is_taken_away(site: Site) -> None:
    site.applied()
    login = f"smbclient -U carol%carol-Geheim-1 //{site.address()}/projects"
    session = f"(echo ls; sleep 1; touch /tmp/in; sleep 7; echo ls) | {login}"
    site.shell("client", f"rm -f /tmp/in /tmp/ended; ({session}; touch /tmp/ended) >/tmp/said 2>&1 </dev/null &")
    site.shell("client", "for _ in $(seq 100); do [ -e /tmp/in ] && exit; sleep 0.05; done; cat /tmp/said; exit 1")
    assert "carol" in site.shell("pve1", "smbstatus -b")
    site.edit("shares.yaml", 'read: ["@office"]}\n    recycle', "read: [bob]}\n    recycle")
    site.applied()
    site.shell("client", "for _ in $(seq 150); do [ -e /tmp/ended ] && exit; sleep 0.1; done; exit 1")
    said = site.shell("client", "cat /tmp/said")
    assert "NT_STATUS" in said.split("blocks available", 1)[1], said


@pytest.mark.parametrize(("old", "new"), [("[engineers, office]}", "[office]}"), ("bob: {", "bob: {enabled: false, ")])
def test_sessions_end_when_a_user_leaves_a_group_or_goes(site: Site, old: str, new: str) -> None:
    site.applied()
    login = ["smbclient", "-U", "bob%bob-Geheim-1", f"//{site.address()}/projects"]
    command = site.lab.command("client", login)
    session = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert session.stdin is not None
    session.stdin.write("mkdir before\n")
    session.stdin.flush()
    for _ in range(100):
        if "before" in site.shell("pve1", "ls /mnt/btrfs/projects"):
            break
        time.sleep(0.05)
    site.edit("people.yaml", old, new)
    site.applied()
    session.communicate("mkdir after\nquit\n")
    assert site.shell("pve1", "ls /mnt/btrfs/projects").split() == ["before"]
