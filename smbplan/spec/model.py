"""The definitions a person writes, typed. What a share expands to is the business of `smbplan.kinds`."""

from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self, Union

from pydantic import Field, create_model, model_validator
from pydantic.fields import FieldInfo

from smbplan.spec.base import Definition, Secret, Ssh
from smbplan.spec.domain import Domain
from smbplan.spec.ha import Ha, Node
from smbplan.spec.hosts import HOST
from smbplan.spec.proxmox import Guest, Proxmox
from smbplan.spec.types import (
    DATASET,
    FULL_NAME,
    NETBIOS,
    STORAGE,
    AbsolutePath,
    Account,
    AclEntry,
    Days,
    HostPattern,
    Id,
    Mode,
    Name,
    OptionText,
    Principal,
    ShareName,
    Size,
    Text,
    Whole,
)

OF_HOSTS = {"connection", "host", "ssh"}
OF_VMS = {"balloon", "clone", "ssh_keys", "boot_timeout"}
# The keys that can't stand at a gateway of each mode.
FOREIGN = {
    "native": set(Guest.model_fields),
    "lxc": OF_HOSTS | OF_VMS,
    "vm": {"swap"},
}
Permit = Literal["smb1", "unsigned", "guest", "anonymous", "options"]


class Gateway(Guest):
    """A host, or a container or virtual machine on Proxmox VE, that serves shares with Samba."""

    mode: Literal["native", "lxc", "vm"] = Field(
        "native", description="lxc, vm: a container or virtual machine of our own on Proxmox VE"
    )
    connection: Literal["ssh", "local", "agent"] = Field(
        "ssh", description="agent: by QEMU's guest agent, as a VM has it when this key is absent"
    )
    host: Annotated[Text, Field(pattern=HOST)] | None = Field(
        None, description="name or address for SSH; the gateway's own name when absent"
    )
    ssh: Ssh = Ssh()
    roots: list[AbsolutePath] = Field(
        ["/srv", "/mnt", "/tank", "/data", "/export"], description="folders that shares may lie in"
    )
    domain: Name | None = Field(None, description="the Active Directory domain of which it is a member")
    aliases: list[Annotated[Text, Field(pattern=HOST)]] = Field(
        [], description="more names that clients of a domain use, such as files.corp.example; they get tickets for them"
    )
    offline_join: Secret | None = Field(
        None, description="a join that was prepared elsewhere, by `net offlinejoin provision` or djoin.exe"
    )
    workgroup: Annotated[Text, Field(pattern=NETBIOS)] | None = None
    netbios_name: Annotated[Text, Field(pattern=NETBIOS)] | None = None
    description: Text | None = None
    discovery: bool = Field(True, description="announce by WS-Discovery and mDNS")
    globals: Literal["auto", "adopt"] = Field(
        "auto", description="adopt: set our [global] options on a host that has foreign shares too"
    )
    permit: list[Permit | Text] = Field([], description="weaknesses and smb.conf options that are switched on")
    options: dict[Text, OptionText | bool | int] = Field({}, description="other [global] options")
    nodes: dict[Name, Node] = Field({}, description="the nodes of a cluster, by their names; with ha:")
    ha: Ha | None = Field(None, description="floating addresses, and what else makes the nodes one cluster")

    @property
    def guest(self) -> bool:
        """Whether it is a container or a virtual machine of our own on Proxmox VE."""
        return self.mode != "native"

    @model_validator(mode="before")
    @classmethod
    def _by_agent(cls, data: Any) -> Any:
        vm = isinstance(data, dict) and data.get("mode") == "vm"
        return {"connection": "agent", **data} if vm else data

    @model_validator(mode="after")
    def _keys_of_its_mode(self) -> Self:
        wrong = sorted(self.model_fields_set & FOREIGN[self.mode])
        if wrong:
            modes = [mode for mode, foreign in FOREIGN.items() if wrong[0] not in foreign]
            words = f"{', '.join(wrong)} can't stand at a gateway of mode {self.mode}"
            raise ValueError(f"{words} — it belongs to mode: {' or '.join(modes)}")
        listed = ":vztmpl/" in (self.template or "")
        if self.mode == "lxc" and not listed:
            raise ValueError("a container needs a template — write template: local:vztmpl/NAME.tar.zst")
        if self.mode == "vm" and listed:
            raise ValueError(
                "a VM is cloned from a template that is a VM — write its name or id, or leave template out"
            )
        return self

    @model_validator(mode="after")
    def _cluster(self) -> Self:
        if not (self.nodes or self.ha):
            return self
        if self.mode == "vm":
            raise ValueError("VMs can't be nodes of a cluster yet — write mode: native or lxc")
        if not self.ha or len(self.nodes) < 2:
            raise ValueError("a cluster has nodes and floating addresses — write both nodes: (two or more) and ha:")
        wrong = sorted(self.model_fields_set & {"host", "node", "vmid"})
        if wrong:
            raise ValueError(f"{', '.join(wrong)} can't stand at a cluster — write it at its nodes")
        wrong = sorted(self.model_fields_set & {"discovery", "globals"})
        if wrong or self.connection == "local":
            raise ValueError(f"{', '.join(wrong) or 'connection: local'} can't stand at a cluster — leave it out")
        return self

    @model_validator(mode="after")
    def _way_in(self) -> Self:
        if (self.connection == "agent") != (self.mode == "vm" and self.connection != "ssh"):
            hint = "write ssh, or leave connection out" if self.mode == "vm" else "write ssh or local"
            raise ValueError(f"connection {self.connection} is no way into a gateway of mode {self.mode} — {hint}")
        if self.connection == "agent" and {"host", "ssh"} & self.model_fields_set:
            raise ValueError("host and ssh are for SSH — write connection: ssh, or leave them out")
        static = self.network.address not in (None, "dhcp") or self.host
        if self.mode == "vm" and self.connection == "ssh" and not static:
            raise ValueError("by SSH its address has to be known — write network.address, or host")
        return self


class Storage(Definition):
    """Where the data of a share lies. Data is kept when a share goes, unless on_destroy says delete."""

    directory: AbsolutePath | None = None
    btrfs: AbsolutePath | None = Field(None, description="path of a subvolume")
    zfs: Annotated[Text, Field(pattern=DATASET)] | None = Field(
        None, description="name of a dataset, such as tank/projects; mounted at /tank/projects"
    )
    volume: Annotated[Text, Field(pattern=STORAGE)] | None = Field(
        None, description="a storage of Proxmox VE that holds a volume or disk for the guest; mounted at /srv/NAME"
    )
    mount: AbsolutePath = Field("/srv", description="where the volume is in the guest; /srv/NAME when absent")
    size: Whole | None = Field(
        None, description="of the volume, in whole MiB (rounded up); it can grow, and never shrinks"
    )
    backup: bool = Field(False, description="the volume is part of the guest's backups")
    quota: Size | None = None
    ids: Literal["shifted", "same"] = Field(
        "shifted",
        description="of the owners of a node's folder in a container: 100000 higher on the node, or the same as there",
    )
    on_destroy: Literal["keep", "delete"] = "keep"

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(value is not None for value in (self.directory, self.btrfs, self.zfs, self.volume)) != 1:
            raise ValueError("storage has one place — write exactly one of directory, btrfs, zfs, volume")
        if (self.volume is None) != (self.size is None):
            raise ValueError("a volume has a size, and nothing else has — write volume: STORAGE and size: 32GiB")
        if self.zfs and {".", ".."} & set(self.zfs.split("/")):
            raise ValueError(f"{self.zfs!r} is no dataset — leave '.' and '..' out")
        if self.quota and self.directory:
            raise ValueError("a directory has no quota — use btrfs or zfs storage, or leave quota out")
        return self

    @property
    def path(self) -> str:
        return self.directory or self.btrfs or (f"/{self.zfs}" if self.zfs else self.mount)


class Lists(NamedTuple):
    """Access lists that can be looked up."""

    read: tuple[str, ...]
    write: tuple[str, ...]
    admin: tuple[str, ...]
    deny: tuple[str, ...]

    @property
    def granted(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.read, *self.write, *self.admin)))


class Access(Definition):
    """Who may do what: users, @groups, or * for every user with a password here."""

    read: list[Principal] = []
    write: list[Principal] = []
    admin: list[Principal] = []
    deny: list[Principal] = []

    @cached_property
    def granted(self) -> tuple[str, ...]:
        return self.lists.granted

    @cached_property
    def lists(self) -> "Lists":
        """What a thousand shares have a few different ones of."""
        return Lists(tuple(self.read), tuple(self.write), tuple(self.admin), tuple(self.deny))


class Hosts(Definition):
    allow: list[HostPattern] = []
    deny: list[HostPattern] = []


class Recycle(Definition):
    expire: Days = 30


class PreviousVersions(Definition):
    schedule: Literal["hourly", "daily", "weekly"] = "hourly"
    keep: int = Field(24, ge=1, le=1000, description="number of snapshots that stay")


class Permissions(Definition):
    """Owner, mode and POSIX ACL of the share's root; absent parts follow from `access`."""

    owner: Account = "root"
    group: Account | None = None
    mode: Mode | None = None
    acl: list[AclEntry] | None = None
    recursive: bool = False


class Share(Definition):
    """One SMB share."""

    gateway: Name
    storage: Storage
    name: ShareName | None = Field(None, description="what clients see; the key when absent")
    comment: Text = ""
    preset: Literal["default", "private", "public", "archive", "media", "homes", "time-machine", "plain"] = "default"
    access: Access = Access()
    guest: Literal["no", "read", "write"] = "no"
    permissions: Permissions | Literal["keep"] = Permissions()
    hosts: Hosts = Hosts()
    encryption: Literal["off", "desired", "required"] = "desired"
    recycle: Recycle | bool = False
    previous_versions: PreviousVersions | bool = False
    time_machine: bool = False
    max_size: Size | None = Field(None, description="what Time Machine may fill")
    homes: bool = Field(False, description="a folder for each user, who sees only that one")
    audit: bool = False
    windows_acls: bool = Field(False, description="keep the ACLs that Windows sets, word for word")
    multi_protocol: bool = Field(False, description="the data is also reached by NFS or local programs")
    hidden: bool = False
    max_connections: int | None = Field(None, ge=1, le=100000)
    allow_overlap: bool = Field(False, description="may lie on, in or around the path of another share")
    prevent_destroy: bool = False
    options: dict[Text, OptionText | bool | int] = Field(
        {}, description="other smb.conf options; need permit: [options]"
    )


class User(Definition):
    """A local user of the gateways whose shares name it."""

    password: Secret | None = None
    full_name: Annotated[Text, Field(pattern=FULL_NAME)] = ""
    uid: Id | None = None
    groups: list[Account] = []
    gateways: list[Name] | None = Field(None, description="where the user exists; follows from the shares when absent")
    external: bool = Field(False, description="exists already and is never changed")
    enabled: bool = True

    @model_validator(mode="after")
    def _has_password(self) -> Self:
        if not self.external and self.password is None:
            raise ValueError("a user needs a password — write password: {env: …}, or external: true")
        return self


class Group(Definition):
    gid: Id | None = None
    members: list[Account] = []
    gateways: list[Name] | None = None
    external: bool = False


def _typed(field: FieldInfo) -> Any:
    """The field's type with what pydantic has taken off it."""
    extra = [Field(json_schema_extra=field.json_schema_extra)] if field.json_schema_extra else []
    notes = [*field.metadata, *extra]
    return Annotated[field.annotation, *notes] if notes else field.annotation


def _partial(model: type[Definition], name: str) -> type[Definition]:
    """The same keys with none of them required: what `defaults` may hold."""
    fields: dict[str, Any] = {
        key: (Union[_typed(field), None], Field(None, description=field.description))  # noqa: UP007 - a value
        for key, field in model.model_fields.items()
    }
    return create_model(name, __base__=Definition, **fields)


GatewayDefaults = _partial(Gateway, "GatewayDefaults")
ShareDefaults = _partial(Share, "ShareDefaults")


class Defaults(Definition):
    gateway: GatewayDefaults | None = None  # type: ignore[valid-type]
    share: ShareDefaults | None = None  # type: ignore[valid-type]


class Site(Definition):
    """Everything that is defined for one site."""

    version: Literal[1]
    site: Name
    proxmox: Proxmox | Literal["lab"] | None = Field(
        None,
        description="the cluster of gateways that are guests; lab: the one that `smbplan lab up --nodes 3` makes",
    )
    defaults: Defaults = Defaults()
    gateways: dict[Name, Gateway] = {}
    users: dict[Account, User] = {}
    groups: dict[Account, Group] = {}
    domains: dict[Name, Domain] = {}
    shares: dict[Name, Share] = {}
