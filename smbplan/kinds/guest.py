"""Gateways that are guests of Proxmox VE: what containers and virtual machines have in common."""

from collections.abc import Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Action, Change, Hazard, Options, Removal
from smbplan.engine.resource import Key, Record
from smbplan.engine.step import Nature
from smbplan.kinds.names import shares_of
from smbplan.spec.clusters import ClusterNode
from smbplan.spec.model import Gateway, Share, Site

CLUSTER = "@proxmox"  # the target; no gateway can have this name
TAG = "smbplan"
PARKED = "-parked"  # after the name of one that is kept; DNS allows 63 characters
POWER = "guest.power"


def host(site: Site, gateway: str) -> str:
    """The target on which the storage of a gateway's shares lies: itself, or the node below a guest."""
    found = site.gateways[gateway]
    return f"{CLUSTER}:{found.node}" if found.guest else gateway


def power(gateway: str) -> str:
    """The address of what everything inside a guest waits for."""
    return f"{POWER}.{gateway}"


def binds(site: Site, gateway: str) -> dict[str, Share]:
    """The shares of a guest whose storage is a folder of its node. A cluster has one folder for all shares."""
    found = site.gateways[gateway]
    guest = found.guest and not isinstance(found, ClusterNode)
    return {name: share for name, share in shares_of(site, gateway).items() if guest and not share.storage.volume}


def answers(gateway: Gateway) -> dict[str, Any]:
    """How it is known that a VM has booted: by its guest agent, or by SSH at an address; within so many seconds."""
    ssh = gateway.host or str(gateway.network.address).partition("/")[0]
    return {"within": gateway.boot_timeout, "ssh": ssh if gateway.connection == "ssh" else ""}


def told(facts: Mapping[str, Any], gateway: str) -> Mapping[str, Any]:
    """What the cluster tells of a gateway's guest besides its state: running, protected, drops."""
    found: Mapping[str, Any] = facts.get("guests", {}).get(gateway, {})
    return found


def enter(told: Mapping[str, Any], command: str) -> str:
    """What runs a command in a guest, for a shell of its node."""
    run = "pct exec" if told.get("type") == "lxc" else "qm guest exec"
    return f"`{run} {told.get('vmid')} -- {command}` on {told.get('node')}"


def warning(gateway: str, told: Mapping[str, Any]) -> str:
    """What a person is told of settings that a running VM gets when it starts again; "" of none."""
    late = told.get("waiting") or ()
    if not late:
        return ""
    verb = "waits" if len(late) == 1 else "wait"
    restart = f"`qm reboot {told['vmid']}` on {told['node']}"
    return f"gateway.{gateway}: {', '.join(late)} {verb} for its next start: {restart}"


def waits(change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> bool:
    """Whether a change of what `GATEWAY:NAME` names meets a guest that runs and goes on running."""
    gateway = owner(change)
    state = changes.get(power(gateway))
    return bool(told(facts, gateway).get("running")) and (state is None or state.action is not Action.DELETE)


def owner(change: Change) -> str:
    """The gateway whose guest an object `GATEWAY:NAME` is in, or is."""
    key = change.resource.key if change.resource else change.record.key if change.record else Key("", "")
    return key.name.partition(":")[0]


def removal(
    live: Mapping[str, Any], plain: Mapping[str, Any], record: Record, options: Options, known: bool
) -> Removal:
    """Stopped and kept, without its name and network; or removed, if no volume is left that is to stay.

    `plain` is the canonical form of its live state; `known`: all its volumes are of shares that give them up.
    """
    unseen, volumes = frozenset({"volumes"}), live.get("volumes") or []
    mortal = options.delete_data and record.on_destroy == "delete" and known
    if options.purge and (mortal or not volumes):
        return Removal(None, Nature.IRREVERSIBLE, "a guest that was removed can't be brought back", open=unseen)
    name = live["hostname"].removesuffix(PARKED)[: 63 - len(PARKED)] + PARKED
    words = "has volumes, which stay" if options.purge else "is stopped and kept; --purge removes it"
    kept = {**plain, "onboot": False, "networks": {}, "hostname": name}
    return Removal(kept, Nature.PARKED, reason=words, parked=True, open=unseen)


def on_destroy(site: Site, gateway: str) -> str:
    """Whether all of its volumes may go with it."""
    storages = (share.storage for share in shares_of(site, gateway).values())
    return "keep" if any(storage.volume and storage.on_destroy == "keep" for storage in storages) else "delete"


def protected(change: Change, what: str, does: str) -> Hazard:
    """A removal that Proxmox would refuse when all else is gone."""
    return Hazard(
        change.address,
        f"{what} is protected, so that Proxmox never {does}",
        "write protection: false at the gateway and apply that first",
    )


def chosen(change: Change, move: str) -> Iterator[Hazard]:
    """What a guest got when it was created, and can't get anew. `move` is the command that moves its root disk."""
    ways = {
        "vmid": "write the vmid that it has, or leave the key out",
        "storage": f"write the storage that its root disk is on, or move that with `{move}` on its node first",
    }
    for key, hint in ways.items():
        if change.after[key] != change.before[key]:
            words = f"its {key} is {change.before[key]}, and can't become {change.after[key]} in a guest that exists"
            yield Hazard(change.address, words, hint, origin=change.resource.origin if change.resource else None)


def elsewhere(change: Change, what: str, move: str) -> Iterator[Hazard]:
    """Storage of a share that would have to be on another storage; `move` is the command that moves it."""
    has, asked = change.before["volume"], change.after["volume"]
    if asked != has:
        origin = change.resource.origin if change.resource else None
        words = f"{what} would move from {has} to {asked}"
        yield Hazard(change.address, words, f"move it with `{move}` on the node first", origin=origin)


def drops(change: Change, told: Mapping[str, Any]) -> Iterator[str]:
    """What Proxmox drops along with a guest that is removed."""
    if change.removal and change.removal.after is None:
        yield from (f"goes with it: {each}" for each in told.get("drops", ()))


def shrinking(change: Change, what: str, asked: int, has: int) -> Iterator[Hazard]:
    """A disk (in bytes) that would have to become smaller."""
    if asked < has:
        yield Hazard(
            change.address,
            f"{what} would shrink from {has >> 20} MiB to {asked >> 20} MiB, which Proxmox can't do",
            "write the size that it has, or a larger one",
            origin=change.resource.origin if change.resource else None,
        )
