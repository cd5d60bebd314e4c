"""Commands for a person about guests of Proxmox VE and what is in their settings. pct(1), qm(1)

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
# Volumes, as `pct config` shows them: a mount point that isn't a folder of the node, or one that is not mounted. Disks
# of ours in a VM have a serial number.
DATA = {"pct": r"^(mp[0-9]+: [^\/]|unused)", "qm": r"^(unused|[a-z]+[0-9]+: .*,serial=)"}
OURS_AND_EMPTY = "awk '/MARK/ {ours=1} /DATA/ {data=1; print} END {exit !ours || data}'"
FOLDERS = {"pct": "lxc", "qm": "qemu-server"}
WHOLE = ("container", "machine")
MACHINES = ("machine", "disk", "virtiofs", "mapping")  # types of objects that only VMs have


@dataclass(frozen=True, slots=True)
class Guest:
    """A gateway's guest as commands name it."""

    gateway: str
    id: str
    node: str
    tool: str = "pct"  # pct, qm

    @property
    def conf(self) -> str:
        """On its node."""
        return f"/etc/pve/{FOLDERS[self.tool]}/{self.id}.conf"

    @property
    def ours_and_empty(self) -> str:
        """A test that succeeds for one with our mark and without any data."""
        test = OURS_AND_EMPTY.replace("MARK", MARK).replace("DATA", DATA[self.tool])
        return f"{self.tool} config {self.id} | {test}"


def known(steps: Iterable[Step]) -> dict[str, Guest]:
    """The guests that were found with our mark before the run, by gateway."""
    found = {}
    for move in _whole(steps):
        state, tool = move.before or {}, "pct" if move.key.type == "container" else "qm"
        if state.get("mark"):
            found[move.key.name] = Guest(move.key.name, str(state["vmid"]), state["node"], tool)
    return found


def _whole(steps: Iterable[Step]) -> list[Move]:
    """Of guests as such."""
    moves = (step.do for step in steps if isinstance(step.do, Move))
    return [move for move in moves if move.key.type in WHOLE]


def gone(done: Iterable[Step]) -> set[str]:
    """The gateways whose guests were removed, with all that was in them."""
    return {move.key.name for move in _whole(done) if move.after is None}


def within(step: Step, gateways: Collection[str]) -> bool:
    """Whether what the step is about is in one of their guests, or in its settings."""
    of = step.do.key.name.partition(":")[0] if isinstance(step.do, Move) and step.do.key.type in RENDER else ""
    return step.target in gateways or of in gateways


def commands(op: Move, target: str, found: dict[str, Guest]) -> list[str]:
    """What brings one object of a guest from a state to another, with the nodes to type it on.

    A guest that isn't found yet is to be looked up first; `found` has it from then on.
    """
    gateway, _, path = op.key.name.partition(":")
    tool = "qm" if op.key.type in MACHINES or "answers" in op.options else "pct"
    look = f"{target}# {_look(gateway, tool)}  # tells NODE and ID of what follows"
    lines = [] if gateway in found else [look]
    guest = found.setdefault(gateway, Guest(gateway, "ID", "NODE", tool))
    return lines + [f"{target}:{guest.node}# {line}" for line in RENDER[op.key.type](guest, path, op)]


def _look(gateway: str, tool: str) -> str:
    """Shows /etc/pve/nodes/NODE/…/ID.conf of guests with our mark and this name, whole or parked; see kinds.guest."""
    key = "hostname" if tool == "pct" else "name"
    name = f"^{key}: {gateway[:56]}({gateway[56:]}|-parked)$"
    return f"grep -l '^#.*{MARK}' /etc/pve/nodes/*/{FOLDERS[tool]}/*.conf | xargs -r grep -HE '{name}'"


def _guest(guest: Guest, path: str, op: Move) -> list[str]:
    before, after, tool = op.before, op.after, guest.tool
    if after is None:
        loosen = [f"{tool} set {guest.id} --protection 0"] if before and before.get("protection") else []
        gone = f"{guest.ours_and_empty} && {tool} destroy {guest.id}"
        return [f"{tool} stop {guest.id}", *loosen, f"{gone}  # with volumes it stays, for their data would go with it"]
    if before is None:
        return [f"# the guest of {guest.gateway} was removed; smbplan apply makes it anew, without its volumes"]
    plain = ("hostname", "cores", "memory", "swap", "balloon", "onboot", "protection")
    changed = [
        f"--{'name' if key == 'hostname' and tool == 'qm' else key} {shlex.quote(str(_number(after[key])))}"
        for key in plain
        if after.get(key) not in (None, "") and after[key] != before.get(key)
    ]
    lines = [f"{tool} set {guest.id} {' '.join(changed)}"] if changed else []
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
    return [f"{guest.tool} {'stop' if op.after is None else 'start'} {guest.id}"]


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


def _disk(guest: Guest, serial: str, op: Move) -> list[str]:
    if op.after is not None:
        return [f"qm config {guest.id}  # the disk {serial} keeps its size"]
    found = f"$(qm config {guest.id} | awk -F: '/,serial={serial}(,|$)/ {{print $1}}')"
    return [f"qm disk unlink {guest.id} --idlist {found}  # it is unused then; delete it if it holds no data"]


def _virtiofs(guest: Guest, mapping: str, op: Move) -> list[str]:
    if op.after is not None:
        return [f"qm set {guest.id} --virtiofs9 {mapping},expose-acl=1,expose-xattr=1  # any free virtiofsN"]
    return [
        f"qm set {guest.id} --delete $(qm config {guest.id} | awk -F: '/^virtiofs[0-9]+: {mapping},/ {{print $1}}')"
    ]


def _mapping(guest: Guest, mapping: str, op: Move) -> list[str]:
    if op.after is None:
        return [f"pvesh delete /cluster/mapping/dir/{mapping}"]
    places = " ".join(f"--map node={node},path={path}" for node, path in sorted(op.after["nodes"].items()))
    where = f"/cluster/mapping/dir/{mapping}" if op.before else f"/cluster/mapping/dir --id {mapping}"
    return [f"pvesh {'set' if op.before else 'create'} {where} {places}"]


RENDER: dict[str, Callable[[Guest, str, Move], list[str]]] = {
    "container": _guest,
    "machine": _guest,
    "disk": _disk,
    "virtiofs": _virtiofs,
    "mapping": _mapping,
    "volume": _volume,
    "power": _power,
    "bind": _bind,
    "idmap": _idmap,
    "entry": _entry,
}
