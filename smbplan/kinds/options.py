"""smb.conf parameters in one form: names as smb.conf(5) spells them first, values without needless variety."""

from collections.abc import Mapping
from functools import lru_cache

SYNONYMS = {
    "allow hosts": "hosts allow", "deny hosts": "hosts deny", "browsable": "browseable",
    "casesignames": "case sensitive",
    "create mode": "create mask", "directory": "path", "directory mode": "directory mask", "exec": "preexec",
    "group": "force group", "printable": "print ok", "public": "guest ok", "smb encrypt": "server smb encrypt",
    "vfs object": "vfs objects", "only guest": "guest only", "timestamp logs": "debug timestamp",
    "default case": "default case", "lock dir": "lock directory", "min protocol": "server min protocol",
    "max protocol": "server max protocol", "protocol": "server max protocol", "root": "root directory",
    "username": "username", "user": "username", "users": "username", "winbind gid": "idmap gid",
}  # fmt: skip
INVERTED = {"writeable": "read only", "writable": "read only", "write ok": "read only"}
YES, NO = {"yes", "true", "on", "1"}, {"no", "false", "off", "0"}
# What `testparm -sv` of Samba 4.17 shows as Yes, No or Auto for a share.
SWITCHES = {
    "access based share enum", "acl allow execute always", "acl check permissions",
    "acl flag inherited canonicalization", "acl group control", "acl map full control", "administrative share",
    "afs share", "available", "blocking locks", "browseable", "case sensitive",
    "check parent directory delete on close", "default devmode", "delete readonly", "delete veto files",
    "dmapi support", "dos filemode", "dos filetime resolution", "dos filetimes", "durable handles", "ea support",
    "fake directory create times", "fake oplocks", "follow symlinks", "smbd force process locks",
    "force printername", "force unknown acl user", "guest ok", "guest only", "hide dot files", "hide special files",
    "hide unreadable", "hide unwriteable files", "honor change notify privilege", "inherit acls",
    "inherit permissions", "kernel oplocks", "kernel share modes", "level2 oplocks", "locking", "map acl inherit",
    "map archive", "map hidden", "map system", "msdfs root", "msdfs shuffle referrals", "nt acl support", "oplocks",
    "posix locking", "preexec close", "preserve case", "print ok", "print notify backchannel", "read only",
    "root preexec close", "short preserve case", "smbd async dosmode", "smbd getinfo ask sharemode",
    "smbd search ask sharemode", "spotlight", "store dos attributes", "strict allocate", "strict locking",
    "strict rename", "strict sync", "sync always", "use client driver", "use sendfile", "wide links",
}  # fmt: skip
# Values are lists of names; spaces and commas separate.
LISTS = {"valid users", "invalid users", "read list", "write list", "admin users", "hosts allow", "hosts deny"}
MASKS = {"create mask", "directory mask", "force create mode", "force directory mode"}
TYPED = MASKS | SWITCHES


def plain(value: str | bool | int) -> str:
    """A definition's value as smb.conf writes it."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def canonical(params: Mapping[str, str]) -> dict[str, str]:
    """Equal settings become equal dictionaries; texts and lists stay as they are written."""
    columns = _columns(tuple(params))
    found = {name: _value(name, params[key].strip()) if typed else params[key].strip() for key, name, typed in columns}
    return found if INVERTED.keys().isdisjoint(found) else _upright(params)


@lru_cache(maxsize=1024)  # a thousand shares set a few different ones
def _columns(keys: tuple[str, ...]) -> tuple[tuple[str, str, bool], ...]:
    """Of each parameter what it is called here, in the order of that, and whether its values have several forms."""
    rows = ((key, _name(key)) for key in keys)
    return tuple(sorted(((key, name, name in TYPED) for key, name in rows), key=lambda row: row[1]))


def _upright(params: Mapping[str, str]) -> dict[str, str]:
    """With those that say the opposite turned round; of two for one thing, the last one counts."""
    found: dict[str, str] = {}
    for key, value in params.items():
        name, words = _name(key), value.strip()
        if name in INVERTED and words.lower() in YES | NO:
            name, words = INVERTED[name], "no" if words.lower() in YES else "yes"
        found[name] = _value(name, words) if name in TYPED else words
    return dict(sorted(found.items()))


@lru_cache(maxsize=1024)
def _name(key: str) -> str:
    name = " ".join(key.lower().split())
    return SYNONYMS.get(name, name)


@lru_cache(maxsize=1024)
def _value(name: str, words: str) -> str:
    if name in MASKS:
        return f"{int(words, 8):04o}" if words and set(words) <= set("01234567") else words
    if words.lower() in YES | NO:
        return "yes" if words.lower() in YES else "no"
    return words


def same(name: str, one: str, other: str) -> bool:
    """Whether two canonical values of a parameter mean the same: the order of a list means nothing, but for EXCEPT."""
    if one == other or name not in LISTS:
        return one == other
    ordered = "EXCEPT" in (*split(one), *split(other))
    return split(one) == split(other) if ordered else set(split(one)) == set(split(other))


def split(words: str) -> list[str]:
    """The names in a list. Quotes, which may stand anywhere, keep a name with spaces together."""
    found, quoted, name = [], False, ""
    for letter in f"{words} ":
        if letter == '"':
            quoted = not quoted
        elif letter in " ,\t" and not quoted:
            found += [name] if name else []
            name = ""
        else:
            name += letter
    return found + ([name.strip()] if name.strip() else [])
