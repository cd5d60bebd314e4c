"""Active Directory domains, and how a gateway becomes a member of one."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from smbplan.spec.addresses import Address
from smbplan.spec.base import Definition, Secret
from smbplan.spec.hosts import HOST
from smbplan.spec.types import DOMAIN, NETBIOS, Days, Text

DOMAIN_USER = r"^[^\x00-\x1f\x7f\"/\\\[\]:;|=,+*?<>@%]{1,64}$"  # [MS-SAMR] 2.2.1
LOWEST, HIGHEST = 10_000, 2_000_000_000
LOCAL = 100_000  # what is below may be given to local accounts, unless a directory has said otherwise
LEAST = 1_000
BUILTIN = (1_990_000, 1_999_999)  # ids of what belongs to no domain: BUILTIN\Users and its like


def _realm(value: str) -> str:
    if "." not in value:
        raise ValueError(f"{value!r} is no realm — write the domain's DNS name, such as CORP.EXAMPLE")
    return value.upper()


def _range(value: Any) -> tuple[int, int]:
    """Beyond the first ids of local accounts."""
    match = re.fullmatch(r"(\d{1,10})\s*-\s*(\d{1,10})", str(value))
    first, last = value if isinstance(value, tuple) else (int(match[1]), int(match[2])) if match else (0, 0)
    if not (first >= LOWEST and first + LEAST - 1 <= last <= HIGHEST):
        hint = f"write {LEAST} or more of them, from {LOWEST} on, such as 2000000-2999999"
        raise ValueError(f"{value!r} is no range of ids — {hint}")
    if first <= BUILTIN[1] and last >= BUILTIN[0]:
        raise ValueError(f"{value!r} holds ids of BUILTIN — leave {BUILTIN[0]}-{BUILTIN[1]} out")
    return first, last


def _unit(value: str) -> str:
    """RFC 4514, as far as organisational units need it; without the domain's own part."""
    if re.fullmatch(r"OU=[^,=+<>;\"\\#\x00-\x1f]+(,OU=[^,=+<>;\"\\#\x00-\x1f]+)*", value, re.IGNORECASE):
        return value
    raise ValueError(f"{value!r} is no organisational unit — write it from the inside out, such as OU=Files,OU=Servers")


IdRange = Annotated[
    tuple[int, int],
    BeforeValidator(_range),
    Field(json_schema_extra=lambda s: (s.clear(), s.update({"type": "string", "examples": ["2000000-2999999"]}))[1]),
]
OrganizationalUnit = Annotated[str, AfterValidator(_unit)]
DomainUser = Annotated[str, Field(pattern=DOMAIN_USER)]


class Join(Definition):
    """An account that may join machines; it need not be an administrator."""

    user: DomainUser = Field(description="its name, without the domain")
    password: Secret


class Ranged(Definition):
    """Ids that a backend gives."""

    backend: str
    range: IdRange

    @model_validator(mode="after")
    def _beyond_local_ids(self) -> Self:
        if self.backend != "ad" and self.range[0] < LOCAL:
            raise ValueError(f"ids below {LOCAL} may be those of local accounts — write a range from there on")
        return self


class Mapping(Ranged):
    """How the users and groups of a domain get ids. idmap_rid(8), idmap_ad(8), idmap_autorid(8)"""

    backend: Literal["rid", "ad", "autorid"] = Field(
        "rid", description="rid: from the last part of a SID; ad: from uidNumber and gidNumber; autorid: as they come"
    )
    range: IdRange = Field((2_000_000, 2_999_999), description="first and last id")


class Trusted(Ranged):
    """How the users and groups of a trusted domain get ids. idmap_rid(8), idmap_ad(8)"""

    backend: Literal["rid", "ad"] = "rid"


class Probe(Definition):
    """An account that a proof of service logs in as."""

    password: Secret


class Domain(Definition):
    """An Active Directory domain."""

    realm: Annotated[Text, Field(pattern=DOMAIN), AfterValidator(_realm)]
    workgroup: Annotated[Text, Field(pattern=NETBIOS), AfterValidator(str.upper)] | None = Field(
        None, description="its NetBIOS name; the first part of the realm when absent"
    )
    join: Join | None = Field(
        None, description="who joins its gateways; those with an offline_join: of their own need nobody"
    )
    ou: OrganizationalUnit | None = Field(
        None, description="where machine accounts are made, such as OU=Servers; the domain's own place when absent"
    )
    servers: list[Annotated[Text, Field(pattern=HOST)]] = Field(
        [], description="domain controllers to use, in this order; those that DNS names when absent"
    )
    ad_site: Annotated[Text, Field(pattern=DOMAIN)] | None = Field(
        None, description="the Active Directory site whose controllers are used; those of every site when absent"
    )
    nameservers: list[Address] = Field([], description="of the gateways' resolver, which is left alone when absent")
    register_names: bool = Field(False, description="write the gateways' names and addresses into the domain's DNS")
    ids: Mapping = Mapping()
    trusts: dict[Annotated[str, Field(pattern=NETBIOS)], Trusted] = Field(
        {}, description="by their NetBIOS names, the domains that it trusts and whose accounts shares name"
    )
    ntlm: bool = Field(True, description="false: Kerberos only, for clients of the gateways")
    time: Literal["controllers"] | None = Field(
        None, description="controllers: the clocks of hosts and VMs follow theirs; left alone when absent"
    )
    offline: Days = Field(7, description="how long those who were seen keep their ids while no controller answers")
    probes: dict[DomainUser, Probe] = Field({}, description="accounts that shares are proved with")
    fallback: Literal["local"] | None = Field(
        None, description="local: when no controller answers at the first join, local accounts serve meanwhile"
    )

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if self.servers and self.ad_site:
            raise ValueError("servers are named already — write them, or ad_site, and leave the other out")
        return self

    @property
    def netbios(self) -> str:
        return self.workgroup or self.realm.partition(".")[0][:15]

    @property
    def maps(self) -> dict[str, str]:
        """How accounts of each domain get ids, in words: where these differ, ids do."""
        of = {self.netbios: self.ids, **{name.upper(): each for name, each in self.trusts.items()}}
        return {name: f"{each.backend} {each.range[0]}-{each.range[1]}" for name, each in of.items()}

    @property
    def ranges(self) -> dict[str, tuple[int, int]]:
        """The ids of its own accounts and of those that it trusts, by NetBIOS names; and of BUILTIN."""
        common = {} if self.ids.backend == "autorid" else {"BUILTIN": BUILTIN}
        return {
            **common,
            self.netbios: self.ids.range,
            **{name.upper(): each.range for name, each in self.trusts.items()},
        }
