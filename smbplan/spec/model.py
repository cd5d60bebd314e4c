"""The definitions a person writes, typed. What a share expands to is the business of `smbplan.kinds`."""

from typing import Annotated, Any, Literal, Self, Union

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from smbplan.spec.types import (
    DATASET,
    FULL_NAME,
    HOST,
    NETBIOS,
    AbsolutePath,
    Account,
    AclEntry,
    Days,
    HostPattern,
    Mode,
    Name,
    OptionText,
    Principal,
    ShareName,
    Size,
    Text,
)

Permit = Literal["smb1", "unsigned", "guest", "anonymous", "options"]


class Definition(BaseModel):
    """A part of the definitions: frozen, and closed against unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Secret(Definition):
    """Where a secret is found: an environment variable, a file's first line, or a command's first line."""

    env: Text | None = Field(None, description="name of an environment variable")
    file: Text | None = Field(None, description="path of a file; its first line is the secret")
    command: list[Text] | None = Field(None, description="a command and its arguments; prints the secret")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(value is not None for value in (self.env, self.file, self.command)) != 1:
            raise ValueError("a secret has one source — write exactly one of env, file, command")
        return self


class Ssh(Definition):
    """How SSH reaches a gateway. Host keys are always checked."""

    user: Text = "root"
    port: int | None = Field(None, ge=1, le=65535)
    identity: Text | None = Field(None, description="private key file")
    config: Text | None = Field(None, description="ssh_config file to use")
    sudo: bool = Field(False, description="become root by sudo (needs NOPASSWD)")


class Gateway(Definition):
    """A host that serves shares with Samba."""

    mode: Literal["native"] = "native"
    connection: Literal["ssh", "local"] = "ssh"
    host: Annotated[Text, Field(pattern=HOST)] | None = Field(
        None, description="name or address for SSH; the gateway's own name when absent"
    )
    ssh: Ssh = Ssh()
    roots: list[AbsolutePath] = Field(
        ["/srv", "/mnt", "/tank", "/data", "/export"], description="folders that shares may lie in"
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


class Storage(Definition):
    """Where the data of a share lies. Data is kept when a share goes, unless on_destroy says delete."""

    directory: AbsolutePath | None = None
    btrfs: AbsolutePath | None = Field(None, description="path of a subvolume")
    zfs: Annotated[Text, Field(pattern=DATASET)] | None = Field(
        None, description="name of a dataset, such as tank/projects; mounted at /tank/projects"
    )
    quota: Size | None = None
    on_destroy: Literal["keep", "delete"] = "keep"

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(value is not None for value in (self.directory, self.btrfs, self.zfs)) != 1:
            raise ValueError("storage has one place — write exactly one of directory, btrfs, zfs")
        if self.zfs and {".", ".."} & set(self.zfs.split("/")):
            raise ValueError(f"{self.zfs!r} is no dataset — leave '.' and '..' out")
        if self.quota and self.directory:
            raise ValueError("a directory has no quota — use btrfs or zfs storage, or leave quota out")
        return self

    @property
    def path(self) -> str:
        return self.directory or self.btrfs or f"/{self.zfs}"


class Access(Definition):
    """Who may do what: users, @groups, or * for every user with a password here."""

    read: list[Principal] = []
    write: list[Principal] = []
    admin: list[Principal] = []
    deny: list[Principal] = []

    @property
    def granted(self) -> list[str]:
        return list(dict.fromkeys([*self.read, *self.write, *self.admin]))


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
    uid: int | None = Field(None, ge=1000, le=59999)
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
    gid: int | None = Field(None, ge=1000, le=59999)
    members: list[Account] = []
    gateways: list[Name] | None = None
    external: bool = False


def _partial(model: type[Definition], name: str) -> type[Definition]:
    """The same keys with none of them required: what `defaults` may hold."""
    fields: dict[str, Any] = {
        key: (Union[field.annotation, None], Field(None, description=field.description))  # noqa: UP007 - a value
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
    defaults: Defaults = Defaults()
    gateways: dict[Name, Gateway] = {}
    users: dict[Account, User] = {}
    groups: dict[Account, Group] = {}
    shares: dict[Name, Share] = {}
