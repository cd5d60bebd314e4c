"""What happens to a cluster of the lab, and how it is put right again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smbplan import app, ha
from smbplan.engine.kind import Options
from smbplan.lab import Lab, network
from smbplan.lab.node import Node
from smbplan.lab.tools import run

MACHINES = {"files1": "pve1", "files2": "pve2", "files3": "pve3", "files4": "pve4"}


@dataclass
class Bench:
    """A site on a lab."""

    lab: Lab
    folder: Path

    def status(self) -> ha.Status:
        return ha.status(app.validate(self.folder).site, "files")

    def apply(self, **options: object) -> None:
        done = app.apply(app.plan(self.folder, Options(**options)))  # type: ignore[arg-type]
        assert done.outcome.name == "applied", done.outcome.problems

    def edit(self, old: str, new: str) -> None:
        path = self.folder / "site.yaml"
        text = path.read_text()
        assert old in text, old
        path.write_text(text.replace(old, new))

    def shell(self, node: str, script: str) -> str:
        done = self.lab.exec(MACHINES[node], ["sh", "-c", script])
        return done.stdout.decode()

    def serving(self, leader: bool) -> str:
        """A node that has an address, and leads, or doesn't."""
        return next(node.name for node in self.status().nodes if node.addresses and node.leader is leader)

    def group(self, node: str) -> Path:
        return Node(self.lab.state, MACHINES[node], self.lab.state.number() or 0).group

    def link(self, node: str, state: str) -> None:
        run(["ip", "-n", network.bridge_netns(self.lab.name), "link", "set", MACHINES[node], state])

    def well(self, within: float = 180.0, patience: float = 60.0) -> None:
        """Return when every node is, and every address is served; a node that stays banned is taken back."""
        since = time.monotonic()
        while not (status := self.status()).good:
            lasted = time.monotonic() - since
            if lasted > within:
                raise RuntimeError(f"not well after {within:.0f} s: {status}")
            for node in status.nodes if lasted > patience else ():
                if node.health == "banned":
                    self.shell(node.name, "ctdb unban")
            time.sleep(0.5)


@dataclass(frozen=True)
class Fault:
    """`strike` returns what `repair` needs to know."""

    name: str
    strike: Callable[[Bench], str]
    repair: Callable[[Bench, str], None]


def _off(leader: bool) -> Callable[[Bench], str]:
    """As when the power goes: nothing is sent any more, not even a farewell; and nothing in memory survives."""

    def strike(bench: Bench) -> str:
        node = bench.serving(leader)
        bench.link(node, "down")
        (bench.group(node) / "cgroup.freeze").write_text("1")
        return node

    return strike


def _on(bench: Bench, node: str) -> None:
    """As after a boot: nothing of what ran is there, nor the addresses that it had."""
    space = network.netns(bench.lab.name, MACHINES[node])
    for address in app.validate(bench.folder).site.gateways["files"].ha.addresses:  # type: ignore[union-attr]
        run(["ip", "-n", space, "addr", "del", address, "dev", "eth0"], check=False)
    for unit in ("ctdb.service", "smbd.service"):
        for group in bench.group(node).rglob(unit):
            (group / "cgroup.kill").write_text("1")
    (bench.group(node) / "cgroup.freeze").write_text("0")
    bench.link(node, "up")
    bench.shell(node, "systemctl start ctdb")


def _cut(leader: bool) -> Callable[[Bench], str]:
    def strike(bench: Bench) -> str:
        node = bench.serving(leader)
        bench.link(node, "down")
        return node

    return strike


def _joined(bench: Bench, node: str) -> None:
    bench.link(node, "up")


def _killed(program: str) -> Callable[[Bench], str]:
    def strike(bench: Bench) -> str:
        node = bench.serving(leader=False)
        bench.shell(node, f"killall -9 {program}")
        return node

    return strike


def _nothing(bench: Bench, node: str) -> None:
    """It comes back by itself."""


def _moved(bench: Bench) -> str:
    status = bench.status()
    home, goal = status.nodes[0], status.nodes[1]
    ha.move(app.validate(bench.folder).site, "files", home.addresses[0], goal.name)
    return f"{home.addresses[0]} {home.name}"


def _moved_back(bench: Bench, what: str) -> None:
    ha.move(app.validate(bench.folder).site, "files", *what.split())


def _fourth(bench: Bench) -> str:
    return f"      files4: {{host: pve4, address: {network.machine_address(bench.lab.state.number() or 0, 'pve4')}}}\n"


def _added(bench: Bench) -> str:
    bench.edit("    ha:\n", f"{_fourth(bench)}    ha:\n")
    bench.apply()
    return ""


def _removed(bench: Bench) -> str:
    bench.edit(_fourth(bench), "")
    bench.apply()
    return ""


def _out_again(bench: Bench, _: str) -> None:
    _removed(bench)


def _with_a_fourth(bench: Bench) -> None:
    """That serves an address, too."""
    _added(bench)
    bench.well()
    address = next(node.addresses[0] for node in bench.status().nodes if node.addresses)
    ha.move(app.validate(bench.folder).site, "files", address, "files4")


def _changed(bench: Bench) -> str:
    bench.edit("Files that stay", "Files that have changed")
    bench.apply()
    return ""


def _changed_back(bench: Bench, _: str) -> None:
    bench.edit("Files that have changed", "Files that stay")
    bench.apply()


FAULTS: Sequence[Fault] = (
    Fault("power off, not the leader", _off(False), _on),
    Fault("power off, the leader", _off(True), _on),
    Fault("ctdbd killed", _killed("ctdbd"), _nothing),
    Fault("smbd killed", _killed("smbd"), _nothing),
    Fault("network cut, not the leader", _cut(False), _joined),
    Fault("network cut, the leader", _cut(True), _joined),
    Fault("address moved", _moved, _moved_back),
    Fault("node added", _added, _out_again),
    Fault("node removed", _removed, _nothing),
    Fault("global option changed", _changed, _changed_back),
)
BEFORE = {"node removed": _with_a_fourth}
"""What has to be so first."""
