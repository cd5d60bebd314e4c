"""A canary in every secret field: it is in no plan, journal, log or error, in no command line and in no file."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from lab import ad, lxc
from lab.site import Site

from smbplan.drivers.secrets import REFERENCE, Secrets
from smbplan.lab import Lab
from smbplan.spec.proxmox import Proxmox

pytestmark = pytest.mark.lab
Ways = dict[str, list[str]]  # what the lab runs a command in, and by what, by a name of it
LOGS = "journalctl -q -o cat --no-pager"
# Every file that a run may have written, in whatever coding a password comes.
FILES = r"""
import base64, os, sys
wanted = [form for word in sys.stdin.read().split() for form in (
    word.encode(), word.encode("utf-16le"), word.encode().hex().encode(), base64.b64encode(word.encode()))]
for top in ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var"):
    for folder, names, files in os.walk(top):
        names[:] = [name for name in names if not os.path.ismount(os.path.join(folder, name))]
        for name in files:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 1 << 25:
                with open(path, "rb") as file:
                    data = file.read()
                if any(form in data for form in wanted):
                    print(path)
"""


class CommandLines:
    """All that are seen on this machine meanwhile, and so on every machine of a lab, which are namespaces of it."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.is_set():
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    with suppress(OSError):
                        self.seen.add(Path(entry.path, "cmdline").read_bytes())

    def __enter__(self) -> "CommandLines":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def smbplan(*words: str | Path) -> str:
    """Whatever it says."""
    argv = [sys.executable, "-m", "smbplan", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return f"{done.stdout}{done.stderr}"


def shown(site: Site, canaries: Sequence[str], spoilt: tuple[str, str], ways: Callable[[], Ways]) -> list[str]:
    """Where one of them is seen: in a plan, an apply that fails, one that succeeds, a drift and a destroy.

    The first apply fails by a file that is, `spoilt`, on a node in the place of a folder. `ways` lead into machines.
    """
    node, place = spoilt
    saved = site.folder.parent / "plan.json"
    with CommandLines() as lines:
        told = [smbplan("plan", site.folder, "--out", saved), saved.read_text()]
        site.shell(node, f"touch {place}")
        told.append(smbplan("apply", saved, "--format", "json"))
        assert '"errors": [\n    {' in told[-1], told[-1]
        site.shell(node, f"rm {place}")
        told.append(smbplan("apply", site.folder, "--yes", "--format", "text"))
        assert "Applied: " in told[-1], told[-1]
        told += [smbplan("drift", site.folder, "--format", "markdown"), smbplan("runs", "show", _last(site))]
        machines = ways()
        _ran(site, [node, "tee", "/root/planted"], canaries[0])
        assert _files(site, [node], canaries) == ["/root/planted"], "a secret in a file would be found"
        site.shell(node, "rm /root/planted")
        found = [f"a file on {name}: {path}" for name, way in machines.items() for path in _files(site, way, canaries)]
        logs = {name: _ran(site, [*way, "sh", "-c", LOGS]) for name, way in machines.items()}
        told.append(smbplan("destroy", site.folder, "--yes", "--purge", "--allow", "many-deletes"))
        assert "Applied: " in told[-1], told[-1]
    assert any(b"smbd" in line for line in lines.seen) and any(b"exec(zlib" in line for line in lines.seen)
    state = Path(os.environ["SMBPLAN_STATE"])
    kept = {f"the state file {path}": path.read_text() for path in state.rglob("*") if path.is_file()}
    assert len(kept) > 8
    outputs = {f"the output of command {number}": text for number, text in enumerate(told)}
    logged = {f"the log of {name}": text for name, text in logs.items()}
    ran = {f"the command line {line!r}": line.decode("utf-8", "replace") for line in lines.seen}
    texts = {**kept, **outputs, **logged, **ran}
    return [*found, *(name for name, text in texts.items() if any(canary in text for canary in canaries))]


def _last(site: Site) -> str:
    folders = Path(os.environ["SMBPLAN_STATE"]).glob("*/runs/*")
    return max(folder.name for folder in folders)


def _files(site: Site, way: Sequence[str], canaries: Sequence[str]) -> list[str]:
    return _ran(site, [*way, "python3", "-c", FILES], "\n".join(canaries)).split()


def _ran(site: Site, argv: Sequence[str], given: str = "") -> str:
    """By namespaces, and not by smbplan."""
    node, *rest = argv
    done = site.lab.exec(node, rest, given)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8", "replace")


def passwords(patched: pytest.MonkeyPatch, *users: str) -> list[str]:
    """That no other test has: command lines are this whole machine's."""
    found = {f"{user.upper()}_PASSWORD": f"{user}-Kanarie-{os.getpid()}" for user in users}
    for name, value in found.items():
        patched.setenv(name, value)
    return [*found.values()]


def test_users_passwords_show_nowhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries = passwords(monkeypatch, "alice", "bob", "carol")
    assert shown(site, canaries, ("pve1", "/srv/welcome"), lambda: {node: [node] for node in ("pve1", "pve2")}) == []


def test_the_password_that_joins_shows_nowhere(domain: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = ad.alone(domain, tmp_path, monkeypatch)
    assert shown(site, [ad.password(site)], ("pve1", "/srv/projects"), lambda: {"pve1": ["pve1"]}) == []
    ad.forget(site)


def test_a_tokens_secret_and_passwords_in_containers_show_nowhere(
    cluster: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = lxc.prepared(cluster, tmp_path, monkeypatch)

    def ways() -> Ways:
        inside = {name: ["lxc-attach", "-n", lxc.vmid(site, name, node), "--"] for name, node in lxc.NODES.items()}
        guests = {name: [lxc.NODES[name], *way] for name, way in inside.items()}
        return {**guests, **{node: [node] for node in lxc.NODES.values()}}

    access = Proxmox.model_validate(site.lab.proxmox).token.secret
    token = Secrets().resolve({REFERENCE: access.model_dump(exclude_none=True)})
    assert len(token) > 16
    canaries = [token, *passwords(monkeypatch, "alice", "bob")]
    assert shown(site, canaries, ("pve2", "/srv/exports"), ways) == []
