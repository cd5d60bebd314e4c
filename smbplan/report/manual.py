"""Steps as commands for a person: what to type when smbplan could not finish. One renderer for each type of object."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from smbplan.drivers.agent.core import is_open
from smbplan.drivers.agent.files import header
from smbplan.engine.step import Call, Move, Nature, Step
from smbplan.report import clusters, guests
from smbplan.report.typed import IMAGES, image, literal, word, words

TITLE = "When its cause is gone, `smbplan recover` finishes it; or else these commands do, in this order"


MACHINE = "/etc/machine-id"


def commands(steps: Sequence[Step], homes: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """The commands that undo stranded steps, or finish the irreversible ones, each with the host to type it on.

    `homes` are of what clusters serve: marks and before-images there are the cluster's, and none of its nodes'.
    """
    return [_at_home(line, homes.get(line.partition("# ")[0])) for line in _commands(steps)]


def _at_home(line: str, home: str | None) -> str:
    return line.replace(MACHINE, f"{home}/identity").replace(IMAGES, f"{home}/runs/") if home else line


def _commands(steps: Sequence[Step]) -> list[str]:
    found, known, gone = [], guests.known(steps), set[str]()
    for step in steps:
        op = step.do if step.nature is Nature.IRREVERSIBLE else step.undo
        if step.target in gone:
            continue  # with its guest
        if isinstance(op, Move) and op.key.type in guests.RENDER:
            found += guests.commands(op, step.target, known)
            gone |= {op.key.name} if op.key.type in guests.WHOLE and op.after is None else set()
        elif isinstance(op, Move) and op.key.type in clusters.RENDER:
            found += clusters.RENDER[op.key.type](op)
        elif isinstance(op, Move) and op.options.get("delete_data"):
            found += [f"{step.target}# {line}" for line in _deletion(op.key.type, op.key.name)]
        elif isinstance(op, Move) and op.key.type in UNSEEN and is_open(op.after):
            found.append(f"{step.target}# {_unseen(op.key.type, op.key.name)}")
        elif isinstance(op, Move):
            more = {"options": op.options} if op.key.type == "member" else {}
            lines = RENDER[op.key.type](op.key.name, op.before, op.after, **more)
            found += [f"{step.target}# {line}" for line in lines]
        elif isinstance(op, Call):
            found += [f"{step.target}# {line}" for line in _call(op)]
    return found


def _call(op: Call) -> list[str]:
    share = word(op.arguments.get("share", ""))
    return {
        "reload": ["smbcontrol smbd reload-config"],
        "daemon-reload": ["systemctl daemon-reload"],
        "winbind": ["net cache flush", "systemctl restart winbind"],
        "close": [f"smbcontrol smbd close-share {share}"],
    }.get(op.name, [])


def _deletion(type_: str, name: str) -> list[str]:
    gone, kept = word(f"{name}.smbplan-deleted"), word(f"{name}.smbplan-deleted/.snapshots")
    each = f"find {kept} -mindepth 1 -maxdepth 1 -exec btrfs subvolume delete {{}} +"
    return {
        "directory": [f"rm -r {gone}"],
        "subvolume": [f"! test -d {kept} || {each}", f"btrfs subvolume delete {gone}"],
        "dataset": [f"zfs destroy -r {word(name)}"],
    }[type_]


def _sealed(mark: str, thing: str) -> str:
    """A mark as its host makes it, see drivers.agent.core.seal."""
    words = f"'%s\\0%s\\0%s' \"$(cat {MACHINE})\" {word(thing)} {word(mark)}"
    return f'{word(mark)}/"$(printf {words} | sha256sum | cut -c1-10)"'


XATTR = "python3 -I -c 'import os, sys; os.setxattr(sys.argv[1], \"trusted.smbplan\", sys.argv[2].encode())'"


# What nobody could see when it was planned, as what lies behind a mount, its host has kept: drivers.agent.core.move.
UNSEEN = {
    "directory": (
        "Directory",
        "do(['chown', f\"{was['owner']}:{was['group']}\", name]), do(['setfacl', '-b', '-k', name]), "
        "do(['setfacl', '--set', ','.join(was['acl']), name]), "
        "was['default'] and do(['setfacl', '-d', '--set', ','.join(was['default']), name]), "
        "os.chmod(name, os.stat(name).st_mode & 0o777 | int(was['special']) << 9)",
    ),
    "service": (
        "Service",
        "do(['systemctl', 'enable' if was['enabled'] else 'disable', name]), "
        "do(['systemctl', 'start' if was['active'] else 'stop', name])",
    ),
}


def _unseen(type_: str, name: str) -> str:
    """Where the host has kept nothing, nothing was changed."""
    class_, does = UNSEEN[type_]
    head = "import json, os, sys; from glob import glob; from subprocess import check_call as do; name = sys.argv[1]"
    script = f"{head}; [({does}) for was in map(json.load, map(open, glob(sys.argv[2])[-1:]))]"
    kept = shlex.quote(image(f"{class_} {name}"))
    return f"SYSTEMCTL_SKIP_SYSV=1 python3 -I -c {shlex.quote(script)} {word(name)} {kept}"


UNMARK = "python3 -I -c 'import os, sys; os.removexattr(sys.argv[1], \"trusted.smbplan\")'"


# What was below a folder that was made uniform, as its host has kept it: drivers.agent.below.
RESTORE = """import json, os, sys; from glob import glob
rows = {row["inode"]: row for each in glob(sys.argv[2])[-1:] for row in map(json.loads, open(each))}
def put(at, row):
    os.chown(at, -1, row["gid"])
    [os.removexattr(at, name) for name in os.listxattr(at) if name.startswith("system.posix_acl")]
    os.chmod(at, row["mode"])
    [os.setxattr(at, name, bytes.fromhex(acl)) for name, acl in row["acl"].items()]
for _, names, files, top in os.fwalk(sys.argv[1]):
    same = os.fstat(top).st_dev
    names[:] = [name for name in names if os.lstat(f"/proc/self/fd/{top}/{name}").st_dev == same]
    for name in names + files:
        try:
            file = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=top)
        except FileNotFoundError:
            continue
        info = os.fstat(file)
        if info.st_uid == rows.get(info.st_ino, {}).get("uid") and info.st_mode & 0o170000 != 0o120000:
            put(f"/proc/self/fd/{file}", rows[info.st_ino])
        os.close(file)
"""


def _below(path: str) -> str:
    return f"python3 -I -c {word(RESTORE)} {word(path)} {shlex.quote(image(f'below {path}'))}"


def _path(name: str, before: Any, after: Any) -> list[str]:
    path = word(name)
    if after is None:
        return [f"rmdir {path}"]
    lines = [f"mkdir -p {path}"] if before is None else []
    if after.get("mark") and (before or {}).get("mark") != after["mark"]:
        lines.append(f"{XATTR} {path} {_sealed(after['mark'], name)}")
    if (before or {}).get("mark") and not after.get("mark"):
        lines.append(f"{UNMARK} {path}")
    if "owner" not in after:  # a node's folder, whose owners are set from inside its container
        return lines
    lines.append(f"chown {word(after['owner'])}:{word(after['group'])} {path}")
    lines.append(f"setfacl -b -k {path}")
    lines.append(f"setfacl --set {word(','.join(after['acl']))} {path}")
    if after["default"]:
        lines.append(f"setfacl -d --set {word(','.join(after['default']))} {path}")
    lines.append(
        f"chmod {'u' if int(after['special']) & 4 else 'g' if int(after['special']) & 2 else 'o'}+s {path}"
        if int(after["special"])
        else f"chmod a-s {path}"
    )
    return [*lines, *([_below(after.get("path") or name)] if after.get("deviating") is not None else [])]


def _subvolume(name: str, before: Any, after: Any) -> list[str]:
    path = word(name)
    if after is None:
        return [f"btrfs subvolume delete {path}"]
    limit = [f"btrfs qgroup limit {word(after['quota'] or 'none')} {path}"] if after.get("quota") is not None else []
    make = [f"btrfs subvolume create {path}"] if before is None else []
    return [*make, *limit, *_path(name, before or {"mark": None}, after)]


def _dataset(name: str, before: Any, after: Any) -> list[str]:
    if after is None:
        path = (before or {}).get("path") or f"/{name}"
        gone = f"for n in 1 2 3 4 5; do zfs destroy {word(name)} && break; sleep 1; done"  # it may be busy for a moment
        return [gone, f"rmdir {word(path)} 2>/dev/null || :  # which ZFS may leave"]
    return [
        *([f"zfs create -p {word(name)}"] if before is None else []),
        f"zfs set quota={word(after.get('quota') or 'none')} {word(name)}",
        *([f"zfs set smbplan:mark={_sealed(after['mark'], name)} {word(name)}"] if after.get("mark") else []),
        *_path(f"/{name}", after, after),
    ]


def _user(name: str, before: Any, after: Any) -> list[str]:
    user, full_name = word(name), word((after or {}).get("full_name") or "")
    if after is None:
        return [f"userdel {user}"]
    if before is None:
        make = f"useradd -M -N -g users -d /nonexistent -s /usr/sbin/nologin -u {word(after['uid'])} {user}"
        return [make, f"usermod -c {full_name} {user}"]
    if not after.get("mark"):
        return [f"usermod -c {full_name} {user}"]
    # Who it belongs to stands behind the name, and at its end whether it is parked: passwd(5)
    mark = f"\"$(getent passwd {user} | grep -o ',,,,[^:!]*')\"{shlex.quote('!') if after['locked'] else ''}"
    return [f"usermod -c {full_name}{mark} {user}"]


def _group(name: str, before: Any, after: Any) -> list[str]:
    if after is None:
        return [f"groupdel {word(name)}"]
    make = [f"groupadd -g {word(after['gid'])} {word(name)}"] if before is None else []
    return [*make, f"gpasswd -M {word(','.join(after['members']))} {word(name)}"]


# By the binding: a hash would be seen in a command line.
PASSWORD = (
    "import sys; from glob import glob; from samba.samba3 import param, passdb; told = param.get_context(); "
    'told.load("/etc/samba/smb.conf"); users = passdb.PDB(told.get("passdb backend")); '
    "user = users.getsampwnam(sys.argv[1]); user.nt_passwd = bytes.fromhex(open(glob(sys.argv[2])[-1]).read()); {when}"
    "users.update_sam_account(user)"
)


def _password(name: str, before: Any, after: Any) -> list[str]:
    user = word(name)
    if after is None:
        return [f"smbpasswd -x {user}"]
    turned = [f"smbpasswd -{'d' if after['disabled'] else 'e'} {user}"]
    if before and before["password"] == after["password"]:
        return turned
    new = f'new=$(head -c 16 /dev/urandom | base64); printf \'%s\\n\' "$new" "$new" | smbpasswd -s -a {user}'
    when = f"user.pass_last_set_time = {int(after['changed'])}; " if after.get("changed") is not None else ""
    restore = shlex.quote(PASSWORD.format(when=when))
    return [*([] if before else [new]), f"python3 -I -c {restore} {user} {word(image(f'password:{name}'))}", *turned]


def _file(name: str, before: Any, after: Any) -> list[str]:
    path = word(name)
    if after is None:
        folder = PurePosixPath(name).parent
        ours = [f"rmdir --ignore-fail-on-non-empty {word(folder)}"] if folder.name == "smbplan" else []
        return [f"rm -f {path}", *ours]
    mode = [f"chmod {word(after['mode'])} {path}"] if "mode" in after else []
    if not after.get("mark"):
        return [f"printf %s {word(after['content'])} > {path}", *mode]
    begin, end = header(name)
    first = f"{word(begin)}{_sealed(after['mark'], name)}{word(end) if end else ''}"
    return [
        f"mkdir -p {word(PurePosixPath(name).parent)}",
        f"printf '%s\\n%s' {first} {word(after['content'])} > {path}",
        *mode,
    ]


def _smbconf(name: str, before: Any, after: Any) -> list[str]:
    path, kept = word(name), image(f"smbconf:{name}")
    if after is None:  # Debian's own was kept
        return [f'for each in {kept}; do if [ -s "$each" ]; then cat "$each" > {path}; else rm -f {path}; fi; done']
    if after.get("foreign"):
        return [f"editor {path}  # the line `include = {word(after['include'] or before.get('include'))}`"]
    return _file(name, before, after)


def _share(name: str, before: Any, after: Any) -> list[str]:
    lines = [] if before is None else [f"net conf delshare {word(name)}"]
    if after is None:
        return lines
    section = words([f"[{name}]", *(f"{key} = {value}" for key, value in after["params"].items())])
    mark = f" 'smbplan:mark = '{_sealed(after['mark'], name.lower())}" if after.get("mark") else ""
    return [*lines, f"printf '%s\\n' {section}{mark} | net conf import /dev/stdin {word(name)}"]


def _packages(name: str, before: Any, after: Any) -> list[str]:
    was, stays = (set((state or {}).get("installed") or ()) for state in (before, after))
    gone = sorted(was - stays)
    return [f"apt-get purge {words(gone)}"] if gone else []


def _filesystem(name: str, before: Any, after: Any) -> list[str]:
    if after is None:
        return [f"lsblk -o NAME,SERIAL  # then `wipefs -a` of the disk {word(name)}, only if nothing is on it"]
    return [f"lsblk -o NAME,SERIAL  # the file system of the disk {word(name)} keeps its size"]


def _service(name: str, before: Any, after: Any) -> list[str]:
    if after is None:
        return [f"SYSTEMCTL_SKIP_SYSV=1 systemctl disable --now {word(name)}"]
    return [
        f"SYSTEMCTL_SKIP_SYSV=1 systemctl {'enable' if after['enabled'] else 'disable'} {word(name)}",
        f"systemctl {'start' if after['active'] else 'stop'} {word(name)}",
    ]


def _subid(name: str, before: Any, after: Any) -> list[str]:
    kind, line = name[0], f"root:{name[2:]}"
    path, known = word(f"/etc/sub{kind}id"), literal(line).replace("/", r"\/")
    return [f"sed -i {word(f'/^{known}$/d')} {path}" if after is None else f"echo {word(line)} >> {path}"]


def _view(name: str, before: Any, after: Any) -> list[str]:
    path = word(name)
    return (
        [f"mkdir -p {path}"]
        if after
        else [f"umount {path}/* || :; rmdir {path}/* || :; rmdir -p --ignore-fail-on-non-empty {path}"]
    )


def _member(name: str, before: Any, after: Any, options: Mapping[str, Any]) -> list[str]:
    state, zone = after or before, f".{name}".lower()
    names = [f"{state['name']}{zone}".lower(), *(each for each in state["aliases"] or () if each.endswith(zone))]
    listed = [word(each) for each in names] if state["registered"] is True else []
    if after is None:
        who = f"  # somebody who may delete {word(before['name'])} from {word(name)}"
        return [
            *(f"net ads dns unregister {each} -U USER{who}" for each in listed),
            f"net ads leave -U USER{who}",
            "! grep -q '\"keytab\": false' /var/lib/smbplan/member.json || rm -f /etc/krb5.keytab",
        ]
    who = f"  # somebody who may join {word(after['name'])} to {word(name)}"
    units = "/".join(part.partition("=")[2] for part in reversed((options.get("ou") or "").split(",")))
    join = words(["net", "ads", "join", "--no-dns-updates", *([f"createcomputer={units}"] if units else [])])
    register = [
        f"net ads dns register {words([each, *(options.get('floating') or ())])} -U USER{who}"
        for each in names
        if listed
    ]
    return [f"{join} -U USER{who}", *register]


def _principals(name: str, before: Any, after: Any) -> list[str]:
    return ["rm -f /var/lib/smbplan/principals.json"] if after is None else []


def _nss(name: str, before: Any, after: Any) -> list[str]:
    wanted = ", ".join(map(word, (after or {}).get("databases") or ())) or "none"
    return [f"editor /etc/nsswitch.conf  # {word(name)} is asked for: {wanted}"]


def _hosts(name: str, before: Any, after: Any) -> list[str]:
    return [f"editor /etc/hosts  # {'with' if after and after['listed'] else 'without'} {word(name)}"]


def _resolver(name: str, before: Any, after: Any) -> list[str]:
    servers = words((after or {}).get("nameservers") or ()) or "none"
    return [f"editor {word(name)}  # nameserver: {servers}"]


def _time(name: str, before: Any, after: Any) -> list[str]:
    servers = words((after or {}).get("servers") or ()) or "no servers of smbplan"
    return [f"editor /etc/chrony/sources.d/smbplan.sources  # {servers}; then chronyc reload sources"]


def _controllers(name: str, before: Any, after: Any) -> list[str]:
    if after is None:
        return [f"rm -f {word(name)}"]
    servers = words(after["servers"] or ()) or f"the controllers of the site {word(after['ad_site'])}"
    return [f"editor {word(name)}  # password server = {servers}"]


RENDER: dict[str, Callable[..., list[str]]] = {
    "subid": _subid,
    "view": _view,
    "directory": _path,
    "subvolume": _subvolume,
    "dataset": _dataset,
    "user": _user,
    "group": _group,
    "password": _password,
    "file": _file,
    "smbconf": _smbconf,
    "share": _share,
    "packages": _packages,
    "service": _service,
    "filesystem": _filesystem,
    "controllers": _controllers,
    "time": _time,
    "member": _member,
    "principals": _principals,
    "nss": _nss,
    "hosts": _hosts,
    "resolver": _resolver,
}
