"""Value types of the definitions: every one is a single line of text or a number, checked where it is read."""

import base64
import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from smbplan.spec.hosts import HOST

SIZE_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50}
RESERVED_SHARES = {"global", "homes", "printers", "print$", "ipc$", "admin$"}
LOCAL = re.compile(r"@?[A-Za-z_][A-Za-z0-9_.-]{0,31}")
FOREIGN = re.compile(r"@?[A-Za-z0-9_-]{1,15}\\[^\"/\\\[\]:;|=,+*?<>@%\x00-\x1f\x7f]{1,64}")
_SHARE_FORBIDDEN = set('%<>*?|/\\+=;:",[]')


def _size(value: Any) -> int:
    """Bytes of `500GiB`; plain numbers are bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGTP]iB)?", str(value))
    if not match or not float(match[1]):
        raise ValueError(f"{value!r} is no size — write a number with KiB, MiB, GiB or TiB, such as 500GiB")
    return int(float(match[1]) * SIZE_UNITS[match[2] or ""])


def _whole(value: Any) -> int:
    """Proxmox keeps sizes in MiB: with one that isn't whole, no plan would ever be the last."""
    return max(-(-_size(value) // 2**20), 1) * 2**20


def _memory(value: Any) -> int:
    """pct.conf(5) and qm.conf(5) know no less."""
    found = _whole(value)
    if found < 16 * 2**20:
        raise ValueError(f"{value!r} is too little for a guest — write 16MiB or more, such as 512MiB")
    return found


def _days(value: Any) -> int:
    match = re.fullmatch(r"([1-9]\d{0,4})\s*(d|w)?", str(value))
    if not match or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number of days — write 30d or 4w")
    return int(match[1]) * (7 if match[2] == "w" else 1)


def _mode(value: Any) -> str:
    if not re.fullmatch(r"[0-7]{3,4}", str(value)):
        raise ValueError(f"{value!r} is no file mode — write three or four octal digits, such as 2770")
    return f"{int(str(value), 8):04o}"


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r} is not absolute — begin the path with /")
    if any(part in ("", ".", "..") for part in value.rstrip("/").split("/")[1:]):
        raise ValueError(f"{value!r} is not plain — leave out '.', '..' and doubled slashes")
    if '"' in value or "%" in value:
        raise ValueError(f"{value!r} holds a character that smb.conf would expand — leave out % and quotes")
    if len(value) > 1024:
        raise ValueError("the path is longer than 1024 characters — shorten it")
    return value.rstrip("/") or "/"


def _share_name(value: str) -> str:
    if value.lower() in RESERVED_SHARES:
        raise ValueError(f"{value!r} is reserved by Samba — choose another name for the share")
    bad = sorted(set(value) & _SHARE_FORBIDDEN)
    if bad:
        raise ValueError(f"{value!r} holds {' '.join(bad)}, which Samba can't serve — leave it out")
    if value != value.strip():
        raise ValueError(f"{value!r} begins or ends with a space — leave it out")
    return value


def _principal(value: str) -> str:
    """Of a domain, with what no name there may hold: [MS-SAMR] 2.2.1"""
    local, foreign = LOCAL.fullmatch(value), FOREIGN.fullmatch(value)
    plain = value == value.rstrip(" .") and "\\ " not in value and not re.search(r"[^\S ]", value)
    if value == "*" or local or (foreign and plain):
        return value
    raise ValueError(f"{value!r} is no user or group — write alice, @engineers, 'CORP\\alice', or * for every user")


def _id(value: int) -> int:
    """adduser(8) keeps 60000 to 65535 for itself."""
    if 60000 <= value <= 65535:
        raise ValueError(f"{value} is reserved by Debian — write 1000 to 59999, or more than 65535")
    return value


def _host_pattern(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9.:/_-]+|ALL", value):
        return value
    raise ValueError(f"{value!r} is no host or network — write 192.0.2.0/24, 2001:db8::/32 or a name")


def _endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        sound = parts.port != 0 and ("[" not in value or ipaddress.IPv6Address(parts.hostname or ""))
    except ValueError:
        sound = False
    if not sound or any(len(label) > 63 for label in str(parts.hostname).split(".")):
        raise ValueError(f"{value!r} leads nowhere — {RULES[ENDPOINT]}")
    return value


def _acl_entry(value: str) -> str:
    if re.fullmatch(r"(user|group):[A-Za-z_][A-Za-z0-9_.-]{0,31}:[r-][w-][x-]", value):
        return value
    raise ValueError(f"{value!r} is no ACL entry — write group:engineers:rwx or user:alice:r-x")


def _ssh_key(value: str) -> str:
    """Proxmox has `ssh-keygen -l` look at each: the type's name comes first in the key, too."""
    kind, body = value.split(" ")[:2]
    parts = _strings(body)
    if len(parts) < 2 or parts[0] != kind.encode():
        raise ValueError(f"{value[:40]!r} is no whole key — {RULES[SSH_KEY]}")
    return value


def _strings(body: str) -> list[bytes]:
    """The strings that base64 holds, each behind its length (RFC 4251, 5); none where they are not whole."""
    try:
        rest = base64.b64decode(body, validate=True)
    except ValueError:
        return []
    found = []
    while rest:
        end = 4 + int.from_bytes(rest[:4], "big")
        if end > len(rest):
            return []
        found.append(rest[4:end])
        rest = rest[end:]
    return found


NAME, ACCOUNT, LINE = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$", r"^[a-z_][a-z0-9_-]{0,31}$", r"^[^\x00-\x1f\x7f]*$"
NETBIOS = r"^[A-Za-z0-9_-]{1,15}$"
DATASET, FULL_NAME = r"^[A-Za-z][\w.:-]*(/[\w.:-]+)+$", r"^[^:,/]*$"
STORAGE = r"^[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]$"
TEMPLATE = r"^([A-Za-z][A-Za-z0-9._-]*:vztmpl/[A-Za-z0-9._+~-]+|[A-Za-z0-9][A-Za-z0-9.-]*)$"
SSH_KEY = r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,2}( [^\x00-\x1f\x7f]*)?$"
TOKEN = r"^[^\s:/!@]+@[A-Za-z0-9.-]+![A-Za-z][A-Za-z0-9._-]+$"
ENDPOINT = r"^https://([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$"
POOL = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}$"
FINGERPRINT, GUEST_TAG = r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$", r"^[a-z0-9_][a-z0-9_+.-]*$"
DOMAIN = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
STARTUP = r"^(order=[0-9]+(,up=[0-9]+)?(,down=[0-9]+)?|up=[0-9]+(,down=[0-9]+)?|down=[0-9]+)$"
# The patterns in words, for a person whose text doesn't match.
RULES = {
    NAME: "use letters, digits, - and _, beginning with a letter or digit, at most 63",
    ACCOUNT: "use small letters, digits, - and _, beginning with a letter, at most 32",
    LINE: "leave line breaks and control characters out",
    HOST: "write a host name or an address",
    NETBIOS: "use letters, digits, - and _, at most 15",
    DATASET: "write the dataset with its pool, such as tank/projects",
    FULL_NAME: "leave : , and / out",
    STORAGE: "write the name of a storage of Proxmox VE, such as local",
    TEMPLATE: "write storage:vztmpl/file, such as local:vztmpl/debian-12-samba_1_amd64.tar.zst; or a VM's name or id",
    SSH_KEY: "write a line of authorized_keys, such as ssh-ed25519 AAAA… name",
    TOKEN: "write the token as user@realm!name",
    ENDPOINT: "write https://host:8006",
    FINGERPRINT: "write 32 pairs of hex digits, as `pvenode cert info` shows them",
    POOL: "write the pool's name, such as gateways or site/gateways",
    GUEST_TAG: "use small letters, digits and _ + . -",
    STARTUP: "write order=1,up=30,down=60 or less of it, in this order",
    DOMAIN: "write a DNS name",
}
Name = Annotated[str, StringConstraints(pattern=NAME)]
Account = Annotated[str, StringConstraints(pattern=ACCOUNT)]
ShareName = Annotated[str, StringConstraints(min_length=1, max_length=80), AfterValidator(_share_name)]
Text = Annotated[str, StringConstraints(max_length=255, pattern=LINE)]
OptionText = Annotated[str, StringConstraints(max_length=4096, pattern=LINE)]
AbsolutePath = Annotated[str, AfterValidator(_path)]
Principal = Annotated[str, AfterValidator(_principal)]
Id = Annotated[int, Field(ge=1000, le=2_000_000_000), AfterValidator(_id)]
HostPattern = Annotated[str, AfterValidator(_host_pattern)]
AclEntry = Annotated[str, AfterValidator(_acl_entry)]
_SIZE_SCHEMA = {"type": ["string", "integer"], "examples": ["500GiB"]}
Size = Annotated[int, BeforeValidator(_size), Field(json_schema_extra=lambda s: s.update(_SIZE_SCHEMA))]
# Sizes on Proxmox.
Whole = Annotated[int, BeforeValidator(_whole), Field(json_schema_extra=lambda s: s.update(_SIZE_SCHEMA))]
Memory = Annotated[int, BeforeValidator(_memory), Field(json_schema_extra=lambda s: s.update(_SIZE_SCHEMA))]
_DAYS_SCHEMA = {"type": ["string", "integer"], "examples": ["30d", "4w"]}
Days = Annotated[int, BeforeValidator(_days), Field(json_schema_extra=lambda s: s.update(_DAYS_SCHEMA))]
_MODE_SCHEMA = {"type": ["string", "integer"], "examples": ["2770"]}
Mode = Annotated[str, BeforeValidator(_mode), Field(json_schema_extra=lambda s: s.update(_MODE_SCHEMA))]
SshKey = Annotated[Text, Field(pattern=SSH_KEY), AfterValidator(_ssh_key)]
Endpoint = Annotated[str, StringConstraints(max_length=255, pattern=ENDPOINT), AfterValidator(_endpoint)]
