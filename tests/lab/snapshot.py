"""Everything on a machine that a run may touch, for the comparison with *as before*.

What may differ all the same stands in exceptions.txt, one regular expression a line, with its reason.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from smbplan.lab import Lab

EXCEPTIONS = re.compile(
    "|".join(
        f"(?:{line.split('  #')[0].strip()})"
        for line in (Path(__file__).parent / "exceptions.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    )
)
SCRIPT = r"""
import hashlib, json, os, re, stat, subprocess
subprocess.run(["timeout", "30", "systemctl", "is-system-running", "--wait"], capture_output=True)
found, seen, known = {}, {}, {}
CACHE = "/run/lab-snapshot.json"  # what a file holds is read again when its change time says so
if os.path.exists(CACHE):
    known = json.load(open(CACHE))
CONF, NOTES = r"/lxc/\d+\.conf$", b"<!-- smbplan "
def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]
def tell(path):
    info = os.lstat(path)
    sign = [info.st_dev, info.st_ino, info.st_ctime_ns, info.st_size]
    was, told = known.get(path, (None, None))
    told = told if was == sign else look(path, info)
    seen[path] = sign, told
    found["file " + path] = told
    if re.search(CONF, path):  # what smbplan itself has noted there
        found["notes " + path] = digest(b"".join(line for line in open(path, "rb") if NOTES in line))
def look(path, info):
    content = ""
    if path.endswith(".raw"):
        content = "disk"  # what is in it is its container's own matter
    elif stat.S_ISREG(info.st_mode) and info.st_size > 1 << 24:
        content = f"{info.st_size} bytes of {info.st_mtime}"
    elif re.search(CONF, path):  # of what is mounted, the number means nothing
        lines = re.sub(rb"(?m)^mp\d+:", b"mp:", open(path, "rb").read()).splitlines()
        content = digest(b"\n".join(sorted(line for line in lines if NOTES not in line)))
    elif stat.S_ISREG(info.st_mode):
        content = digest(open(path, "rb").read())
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        names = []  # ZFS by FUSE has none
    extra = {}
    for name in names:
        try:
            extra[name] = os.getxattr(path, name, follow_symlinks=False).hex()
        except OSError:
            pass  # a container may not read the node's own
    return [oct(info.st_mode), info.st_uid, info.st_gid, content, extra]
for top in ("/etc", "/srv", "/mnt", "/usr/local", "/var/lib", "/home", "/root", "/tank", "/run/lock",
            "/usr/lib/systemd/system"):
    for folder, names, files in os.walk(top):
        if folder.startswith(("/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd")):
            names[:] = []
            continue
        for name in names + files:
            tell(os.path.join(folder, name))
if os.path.lexists("/usr/sbin/policy-rc.d"):
    tell("/usr/sbin/policy-rc.d")  # while it is there, nothing that is installed or upgraded starts
for name in ("passwd", "group", "shadow", "gshadow"):
    for line in open("/etc/" + name):
        found["account " + name + " " + line.strip()] = 1
status = open("/var/lib/dpkg/status").read()
for name in re.findall(r"^Package: (\S+)\nStatus: install ok installed$", status, re.M):
    found["package " + name] = 1
units = ("--no-legend", "--no-pager", "--plain", "--state=active", "--type=service,timer")
# By their names: a timer is `running` for a moment, at the full hour.
for line in subprocess.run(["systemctl", "list-units", *units], capture_output=True, text=True).stdout.splitlines():
    found["active " + line.split()[0]] = 1
has = {name: os.path.exists("/var/lib/samba/" + name) for name in ("registry.tdb", "private/passdb.tdb")}
try:
    if any(has.values()):
        from samba.samba3 import param, passdb, smbconf
except ImportError:
    has = {}
if has.get("registry.tdb"):
    param.get_context().load("/dev/null")
    for section in smbconf.init_reg(None).get_config():
        found[f"registry {section}"] = 1
if has.get("private/passdb.tdb"):
    settings = param.get_context()
    settings.load("/dev/null")
    for user in passdb.PDB(settings.get("passdb backend")).search_users(0):
        found[f"passdb {user['account_name']} {user['acct_flags']}"] = 1
with open(CACHE, "w") as file:
    json.dump(seen, file)
print(json.dumps(found))
"""


def take(lab: Lab, node: str, inside: Sequence[str] = ()) -> dict[str, object]:
    """Of a node, or of what the command line `inside` leads into from there; not before it has booted."""
    done = lab.exec(node, [*inside, "python3", "-c", SCRIPT])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: value for name, value in found.items() if not EXCEPTIONS.search(name)}


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return sorted(
        f"{name}: {before.get(name)} → {after.get(name)}"
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    )
