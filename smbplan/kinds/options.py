"""smb.conf parameters in one form: names as smb.conf(5) spells them first, values without needless variety."""

from collections.abc import Mapping

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
# Values are lists of names; spaces and commas separate, and the order means nothing.
LISTS = {"valid users", "invalid users", "read list", "write list", "admin users", "hosts allow", "hosts deny"}
# 1 and 0 are numbers here.
NUMBERS = {"max connections", "create mask", "directory mask", "force create mode", "force directory mode"}


def plain(value: str | bool | int) -> str:
    """A definition's value as smb.conf writes it."""
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def canonical(params: Mapping[str, str]) -> dict[str, str]:
    """Equal settings become equal dictionaries."""
    found: dict[str, str] = {}
    for key, value in params.items():
        name = " ".join(key.lower().split())
        words = " ".join(str(value).split())
        if name in INVERTED and words.lower() in YES | NO:
            name, words = INVERTED[name], "no" if words.lower() in YES else "yes"
        name = SYNONYMS.get(name, name)
        found[name] = _value(name, words)
    return dict(sorted(found.items()))


def _value(name: str, words: str) -> str:
    if name in LISTS:
        return " ".join(sorted(split(words)))
    if name in NUMBERS:
        return f"{int(words, 8):04o}" if "mask" in name or "mode" in name else words
    if words.lower() in YES:
        return "yes"
    return "no" if words.lower() in NO else words


def split(words: str) -> list[str]:
    """The names in a list; quotes keep a name with spaces together."""
    found, rest = [], words
    while rest := rest.lstrip(" ,\t"):
        prefix = ""
        while rest and rest[0] in "@+&":
            prefix, rest = prefix + rest[0], rest[1:]
        if rest.startswith('"'):
            name, _, rest = rest[1:].partition('"')
            found.append(f'{prefix}"{name}"' if " " in name else prefix + name)
        else:
            end = next((index for index, letter in enumerate(rest) if letter in " ,\t"), len(rest))
            found.append(prefix + rest[:end])
            rest = rest[end:]
    return found
