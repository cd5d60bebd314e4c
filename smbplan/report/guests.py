"""Commands for a person about guests of Proxmox VE and what is in their settings. pct(1), qm(1)

A name is no proof: somebody else's guest may have it, too. An id counts only from a state that carries our mark; else a
person looks for the mark first. Nothing here deletes a volume.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from smbplan.engine.step import Move, Step
from smbplan.report.typed import literal, word

# Our comment in the notes; what is packed into it, or percent-encoded, doesn't matter here.
MARK = "<!-- smbplan "
# Volumes, as `pct config` shows them: a mount point that isn't a folder of the node, or one that is not mounted. Disks
# of ours in a VM have a serial number.
DATA = {"pct": r"^(mp[0-9]+: [^\/]|unused)", "qm": r"^(unused|[a-z]+[0-9]+: .*,serial=)"}
OURS_AND_EMPTY = "awk '/MARK/ {ours=1} /DATA/ {data=1; print} END {exit !ours || data}'"
FOLDERS = {"pct": "lxc", "qm": "qemu-server"}
MAKING = {"pct": "create", "qm": "clone"}  # the lock of one that is being made
WHOLE = ("container", "machine")
MACHINES = ("machine", "disk", "virtiofs", "mapping")  # types of objects that only VMs have


@dataclass(frozen=True, slots=True)
class Guest:
    """A gateway's guest as commands name it."""

    gateway: str
    id: str  # a number, or what a person has to fill in
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
            found[move.key.name] = Guest(move.key.name, str(int(state["vmid"])), word(state["node"]), tool)
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
    name = word(f"^{key}: {literal(gateway[:56])}({literal(gateway[56:])}|-parked)$")
    return f"grep -l '^#.*{MARK}' /etc/pve/nodes/*/{FOLDERS[tool]}/*.conf | xargs -r grep -HE {name}"


def _guest(guest: Guest, path: str, op: Move) -> list[str]:
    before, after, tool = op.before, op.after, guest.tool
    if after is None:
        loosen = [f"{tool} set {guest.id} --protection 0"] if before and before.get("protection") else []
        gone = f"{guest.ours_and_empty} && {tool} destroy {guest.id}"
        making = (
            f"{tool} config {guest.id} | grep -qxE 'lock: ({MAKING[tool]}|destroyed)' && {tool} unlock {guest.id} || :"
        )
        return [
            f"{making}  # when nothing makes or removes it any more",
            f"{tool} stop {guest.id}",
            *loosen,
            f"{gone}  # with volumes it stays, for their data would go with it",
        ]
    if before is None:
        return [f"# the guest of {word(guest.gateway)} was removed; smbplan apply makes it anew, without its volumes"]
    plain = ("hostname", "cores", "memory", "swap", "balloon", "onboot", "protection")
    changed = [
        f"--{'name' if key == 'hostname' and tool == 'qm' else key} {word(_number(after[key]))}"
        for key in plain
        if after.get(key) not in (None, "") and after[key] != before.get(key)
    ]
    lines = [f"{tool} set {guest.id} {' '.join(changed)}"] if changed else []
    old, new = before.get("pool") or "", after.get("pool") or ""
    if new != old:
        how = f"--poolid {word(new)} --allow-move 1" if new else f"--poolid {word(old)} --delete 1"
        lines.append(f"pvesh set /pools {how} --vms {guest.id}")
    return lines


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _volume(guest: Guest, path: str, op: Move) -> list[str]:
    if op.after is not None:
        return [f"pct config {guest.id}  # the volume at {word(path)} keeps its size"]
    if op.options.get("delete_data"):
        return [f"pct config {guest.id}  # delete its unused volume"]
    return [f"{_unmounted(guest, path)}  # it is unused then; delete it if it holds no data"]


def _unmounted(guest: Guest, path: str) -> str:
    return f"pct set {guest.id} --delete $(pct config {guest.id} | awk -F: {_first(f',mp={path},')})"


def _first(part: str, line: str = "") -> str:
    """For awk: the key of a setting that has this part."""
    return f"-v at={word(part)} '{line}index($0 \",\", at) {{print $1}}'"


def _power(guest: Guest, path: str, op: Move) -> list[str]:
    return [f"{guest.tool} {'stop' if op.after is None else 'start'} {guest.id}"]


def _bind(guest: Guest, path: str, op: Move) -> list[str]:
    if op.after is None:
        return [_unmounted(guest, path)]
    free = f'$(n=0; while pct config {guest.id} | grep -q "^mp$n:"; do n=$((n+1)); done; echo $n)'
    return [f"pct set {guest.id} --mp{free} {word(op.after['volume'])},mp={word(path)}"]


def _idmap(guest: Guest, path: str, op: Move) -> list[str]:
    lines = [f"lxc.idmap: {line}" for line in (op.after or {"map": []})["map"]]
    return [f"sed -i '/^lxc.idmap/d' {guest.conf}", *(f"echo {word(line)} >> {guest.conf}" for line in lines)]


def _entry(guest: Guest, path: str, op: Move) -> list[str]:
    from smbplan.drivers.pve.config import entry  # not for every plan

    gone, new = (word(entry(state["source"], path)) if state else "" for state in (op.before, op.after))
    out = f"kept=$(grep -vxF {gone} {guest.conf}) && printf '%s\\n' \"$kept\" > {guest.conf}"
    return [*([out] if gone else []), *([f"echo {new} >> {guest.conf}"] if new else [])]


def _disk(guest: Guest, serial: str, op: Move) -> list[str]:
    if op.after is not None:
        return [f"qm config {guest.id}  # the disk {word(serial)} keeps its size"]
    found = f"$(qm config {guest.id} | awk -F: {_first(f',serial={serial},')})"
    return [f"qm disk unlink {guest.id} --idlist {found}  # it is unused then; delete it if it holds no data"]


def _virtiofs(guest: Guest, mapping: str, op: Move) -> list[str]:
    if op.after is not None:
        return [f"qm set {guest.id} --virtiofs9 {word(mapping)},expose-acl=1,expose-xattr=1  # any free virtiofsN"]
    return [
        f"qm set {guest.id} --delete $(qm config {guest.id} | awk -F: {_first(f': {mapping},', '/^virtiofs/ && ')})"
    ]


def _mapping(guest: Guest, mapping: str, op: Move) -> list[str]:
    if op.after is None:
        return [f"pvesh delete /cluster/mapping/dir/{word(mapping)}"]
    places = " ".join(f"--map {word(f'node={node},path={path}')}" for node, path in sorted(op.after["nodes"].items()))
    where = f"/cluster/mapping/dir/{word(mapping)}" if op.before else f"/cluster/mapping/dir --id {word(mapping)}"
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
