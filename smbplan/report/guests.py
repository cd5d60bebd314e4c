"""Commands for a person about guests of Proxmox VE and what is in their settings. pct(1)

A name is no proof: somebody else's guest may have it, too. An id counts only from a state that carries our mark; else a
person looks for the mark first. Nothing here deletes a volume.
"""

import shlex
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from smbplan.engine.step import Move, Step

# Our comment in the notes; what is packed into it, or percent-encoded, doesn't matter here.
MARK = "<!-- smbplan "
# Volumes, as `pct config` shows them: a mount point that isn't a folder of the node, or one that is not mounted.
OURS_AND_EMPTY = f"awk '/{MARK}/ {{ours=1}} /^(mp[0-9]+: [^\\/]|unused)/ {{data=1; print}} END {{exit !ours || data}}'"


@dataclass(frozen=True, slots=True)
class Guest:
    """A gateway's guest as commands name it."""

    gateway: str
    id: str
    node: str

    @property
    def conf(self) -> str:
        """On its node."""
        return f"/etc/pve/lxc/{self.id}.conf"


def known(steps: Iterable[Step]) -> dict[str, Guest]:
    """The guests that were found with our mark before the run, by gateway."""
    moves = [step.do for step in steps if isinstance(step.do, Move) and step.do.key.type == "container"]
    states = ((move.key.name, move.before or {}) for move in moves)
    return {name: Guest(name, str(state["vmid"]), state["node"]) for name, state in states if state.get("mark")}


def gone(done: Iterable[Step]) -> set[str]:
    """The gateways whose guests were removed, with all that was in them."""
    moves = [step.do for step in done if isinstance(step.do, Move) and step.do.key.type == "container"]
    return {move.key.name for move in moves if move.after is None}


def within(step: Step, gateways: Collection[str]) -> bool:
    """Whether what the step is about is in one of their guests, or in its settings."""
    of = step.do.key.name.partition(":")[0] if isinstance(step.do, Move) and step.do.key.type in RENDER else ""
    return step.target in gateways or of in gateways


def commands(op: Move, target: str, found: dict[str, Guest]) -> list[str]:
    """What brings one object of a guest from a state to another, with the nodes to type it on.

    A guest that isn't found yet is to be looked up first; `found` has it from then on.
    """
    gateway, _, path = op.key.name.partition(":")
    lines = [] if gateway in found else [f"{target}# {_look(gateway)}  # tells NODE and ID of what follows"]
    guest = found.setdefault(gateway, Guest(gateway, "ID", "NODE"))
    return lines + [f"{target}:{guest.node}# {line}" for line in RENDER[op.key.type](guest, path, op)]


def _look(gateway: str) -> str:
    """Shows /etc/pve/nodes/NODE/lxc/ID.conf of guests with our mark and this name, whole or parked; see kinds.guest."""
    name = f"^hostname: {gateway[:56]}({gateway[56:]}|-parked)$"
    return f"grep -l '^#.*{MARK}' /etc/pve/nodes/*/lxc/*.conf | xargs -r grep -E '{name}'"


def _container(guest: Guest, path: str, op: Move) -> list[str]:
    before, after = op.before, op.after
    if after is None:
        loosen = [f"pct set {guest.id} --protection 0"] if before and before.get("protection") else []
        gone = f"pct config {guest.id} | {OURS_AND_EMPTY} && pct destroy {guest.id}"
        return [f"pct stop {guest.id}", *loosen, f"{gone}  # with volumes it stays, for their data would go with it"]
    if before is None:
        return [f"# container {guest.gateway} was removed; smbplan apply makes it anew, without its volumes"]
    plain = ("hostname", "cores", "memory", "swap", "onboot", "protection")
    changed = [f"--{key} {shlex.quote(str(_number(after[key])))}" for key in plain if after[key] != before.get(key)]
    lines = [f"pct set {guest.id} {' '.join(changed)}"] if changed else []
    old, new = before.get("pool") or "", after.get("pool") or ""
    if new != old:
        how = f"--poolid {new} --allow-move 1" if new else f"--poolid {old} --delete 1"
        lines.append(f"pvesh set /pools {how} --vms {guest.id}")
    return lines


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _volume(guest: Guest, path: str, op: Move) -> list[str]:
    if op.after is not None:
        return [f"pct config {guest.id}  # the volume at {path} keeps its size"]
    if op.options.get("delete_data"):
        return [f"pct config {guest.id}  # delete its unused volume"]
    return [f"{_unmounted(guest, path)}  # it is unused then; delete it if it holds no data"]


def _unmounted(guest: Guest, path: str) -> str:
    mounted = f"awk -F: -v at={shlex.quote(f',mp={path},')} 'index($0 \",\", at) {{print $1}}'"
    return f"pct set {guest.id} --delete $(pct config {guest.id} | {mounted})"


def _power(guest: Guest, path: str, op: Move) -> list[str]:
    return [f"pct {'stop' if op.after is None else 'start'} {guest.id}"]


def _bind(guest: Guest, path: str, op: Move) -> list[str]:
    if op.after is None:
        return [_unmounted(guest, path)]
    return [f"pct set {guest.id} --mp9 {shlex.quote(op.after['volume'])},mp={shlex.quote(path)}  # any free mpN"]


def _idmap(guest: Guest, path: str, op: Move) -> list[str]:
    lines = [f"lxc.idmap: {line}" for line in (op.after or {"map": []})["map"]]
    return [f"sed -i '/^lxc.idmap/d' {guest.conf}", *(f"echo {shlex.quote(line)} >> {guest.conf}" for line in lines)]


def _entry(guest: Guest, path: str, op: Move) -> list[str]:
    way = (
        f"write the lxc.mount.entry of {path} from {op.after['source']}"
        if op.after
        else f"take the lxc.mount.entry of {path} out"
    )
    return [f"editor {guest.conf}  # {way}"]


RENDER: dict[str, Callable[[Guest, str, Move], list[str]]] = {
    "container": _container,
    "volume": _volume,
    "power": _power,
    "bind": _bind,
    "idmap": _idmap,
    "entry": _entry,
}
