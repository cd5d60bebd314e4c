"""What a token must be allowed on a cluster for a site, and the commands that allow it. pveum(1)

Which request needs what is in the published API schemas (`permissions`); those of 8.4 and 9.1 agree in all of this
but for commands in VMs.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from smbplan.spec.model import Site

OWN = "smbplan@pve!apply"  # the token to make where that of an administrator is in use


@dataclass(frozen=True, slots=True)
class Role:
    """A role of smbplan's own: the same for every site."""

    name: str
    privileges: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """A role at a path, and with `below` at all paths below it, too."""

    path: str
    role: Role
    below: bool = False


Held = Mapping[
    str, Mapping[str, int]
]  # {path: {privilege: 1 if it holds below the path}}, as /access/permissions tells

GUESTS = Role(
    "smbplan-guests",
    (
        "VM.Allocate",  # create, remove, nesting
        "VM.Audit",
        "VM.Config.CPU",
        "VM.Config.Disk",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.Options",  # description and tags, where the mark is
        "VM.PowerMgmt",
    ),
)
MACHINES = (
    *GUESTS.privileges,
    "VM.Clone",
    "VM.Config.CDROM",  # a drive for cloud-init, where the template has none
    "VM.Config.Cloudinit",
)
AGENT = {8: "VM.Monitor", 9: "VM.GuestAgent.Unrestricted"}  # to run commands in VMs, by the major version
MAPPINGS = Role("smbplan-mappings", ("Mapping.Audit", "Mapping.Modify", "Mapping.Use"))
VOLUMES = Role("smbplan-volumes", ("Datastore.AllocateSpace",))
TEMPLATES = Role("smbplan-templates", ("Datastore.Audit",))
NETWORK = Role("smbplan-network", ("SDN.Use",))
POOL = Role("smbplan-pools", ("Pool.Allocate", "Pool.Audit"))
NODES = Role("smbplan-nodes", ("Sys.Audit",))
STARTUP = Role("smbplan-startup", ("Sys.Modify",))
INSTEAD = {"Datastore.Audit": "Datastore.AllocateSpace"}  # a template may be read with either


def grants(site: Site, version: str = "", bases: Collection[str] = (), bridges: Collection[str] = ()) -> list[Grant]:
    """Exactly what the site's guests need, by path, on a Proxmox VE of this version (the newest where it is unknown).

    `bases`: storages on which the templates of its linked clones lie; `bridges`: those that templates of its VMs have.
    Bridges are those of the nodes (zone `localnetwork`); a tagged one needs the path of its VLAN only.
    """
    gateways = [gateway for gateway in site.gateways.values() if gateway.guest]
    if not gateways:
        return []
    machines = {name for name, gateway in site.gateways.items() if gateway.mode == "vm"}
    folders = any(share.gateway in machines and not share.storage.volume for share in site.shares.values())
    storage = {gateway.storage for gateway in gateways}
    storage |= {share.storage.volume for share in site.shares.values() if share.storage.volume} | {*bases}
    templates = {(gateway.template or "").partition(":")[0] for gateway in gateways if gateway.mode == "lxc"} - storage
    networks = {(gateway.network.bridge, gateway.network.vlan) for gateway in gateways}
    bridges = {"/".join(str(part) for part in parts if part is not None) for parts in networks} | {*bridges}
    placed = all(gateway.node for gateway in gateways if gateway.mode == "lxc")
    ordered = any(gateway.startup for gateway in gateways if gateway.mode == "vm")
    pools = {gateway.pool for gateway in gateways if gateway.pool}
    return [
        Grant("/", NODES),  # the nodes' addresses
        *([Grant("/", STARTUP)] if ordered else []),  # a VM's place among all guests of its node
        *([] if placed else [Grant("/nodes", NODES, below=True)]),  # their free memory
        *(Grant(f"/pool/{name}", POOL) for name in sorted(pools)),
        *(Grant(f"/sdn/zones/localnetwork/{bridge}", NETWORK) for bridge in sorted(bridges)),
        *(Grant(f"/storage/{name}", VOLUMES) for name in sorted(storage)),
        *(Grant(f"/storage/{name}", TEMPLATES) for name in sorted(templates)),
        *([Grant("/mapping/dir", MAPPINGS, below=True)] if folders else []),
        Grant("/vms", _guests(version) if machines else GUESTS, below=True),  # ids are known when guests are made
    ]


def _guests(version: str) -> Role:
    agent = AGENT[8 if version.startswith("8.") else 9]
    return Role("smbplan-machines", tuple(sorted((*MACHINES, agent))))


def missing(grant: Grant, held: Held) -> list[str]:
    """The privileges of a grant that are not held."""
    return [
        name
        for name in grant.role.privileges
        if not any(_holds(held, grant, each) for each in (name, INSTEAD.get(name)) if each)
    ]


def _holds(held: Held, grant: Grant, privilege: str) -> bool:
    """What is granted nearest to a path counts; what is granted above it only if it holds below, too."""
    if grant.path in held:
        propagates = held[grant.path].get(privilege)
        return bool(propagates) if grant.below else propagates is not None
    parts = grant.path.strip("/").split("/")
    for count in reversed(range(len(parts))):
        above = held.get("/" + "/".join(parts[:count]), {})
        if any(above.values()):
            return bool(above.get(privilege))
    return False


def commands(token: str, wanted: Sequence[Grant], roles: Mapping[str, Iterable[str]], there: bool) -> list[str]:
    """For a shell of a node: make the token with its user (unless they are there), and give both what is wanted.

    `roles` are those that the cluster has, with their privileges.
    """
    user, _, name = token.partition("!")
    found = [line for role in dict.fromkeys(grant.role for grant in wanted) for line in _role(role, roles)]
    if not there:
        if user != "root@pam":
            found.append(f"pveum user add {user} --comment smbplan")
        found.append(f"pveum user token add {user} {name} --privsep 1")
    # A token has no more than its user: both are given it. root@pam has everything.
    who = f"--tokens '{token}'" if user == "root@pam" else f"--users {user} --tokens '{token}'"
    found += [
        f"pveum acl modify {grant.path} {who} --roles {grant.role.name} --propagate {int(grant.below)}"
        for grant in wanted
    ]
    return found


def _role(role: Role, roles: Mapping[str, Iterable[str]]) -> Iterator[str]:
    lacking = [name for name in role.privileges if name not in roles.get(role.name, ())]
    if role.name not in roles:
        yield f"pveum role add {role.name} --privs {','.join(role.privileges)}"
    elif lacking:
        yield f"pveum role modify {role.name} --privs {','.join(lacking)} --append 1"
