"""Everything on a machine that a run may touch, for the comparison with *as before*.

What may differ all the same stands in exceptions.txt, one regular expression a line, with its reason.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from smbplan.lab import Lab

EXCEPTIONS = [
    line.split("  #")[0].strip()
    for line in (Path(__file__).parent / "exceptions.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]
SCRIPT = r"""
import hashlib, json, os, re, stat, subprocess
subprocess.run(["timeout", "30", "systemctl", "is-system-running", "--wait"], capture_output=True)
found = {}
def tell(path):
    info = os.lstat(path)
    content = ""
    if path.endswith(".raw"):
        content = "disk"  # what is in it is its container's own matter
    elif stat.S_ISREG(info.st_mode) and info.st_size > 1 << 24:
        content = f"{info.st_size} bytes of {info.st_mtime}"
    elif stat.S_ISREG(info.st_mode):
        content = hashlib.sha256(open(path, "rb").read()).hexdigest()[:16]
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
    found["file " + path] = [oct(info.st_mode), info.st_uid, info.st_gid, content, extra]
for top in ("/etc", "/srv", "/mnt", "/usr/local", "/var/lib", "/home", "/root", "/tank", "/run/lock",
            "/usr/lib/systemd/system"):
    for folder, names, files in os.walk(top):
        if folder.startswith(("/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd")):
            names[:] = []
            continue
        for name in names + files:
            tell(os.path.join(folder, name))
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
try:
    from samba.samba3 import param, passdb, smbconf
except ImportError:
    smbconf = None
if smbconf and os.path.exists("/var/lib/samba/registry.tdb"):
    param.get_context().load("/dev/null")
    for section in smbconf.init_reg(None).get_config():
        found[f"registry {section}"] = 1
if smbconf and os.path.exists("/var/lib/samba/private/passdb.tdb"):
    settings = param.get_context()
    settings.load("/dev/null")
    for user in passdb.PDB(settings.get("passdb backend")).search_users(0):
        found[f"passdb {user['account_name']} {user['acct_flags']}"] = 1
print(json.dumps(found))
"""


def take(lab: Lab, node: str, inside: Sequence[str] = ()) -> dict[str, object]:
    """Of a node, or of what the command line `inside` leads into from there; not before it has booted."""
    done = lab.exec(node, [*inside, "python3", "-c", SCRIPT])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: value for name, value in found.items() if not any(re.search(rule, name) for rule in EXCEPTIONS)}


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return sorted(
        f"{name}: {before.get(name)} → {after.get(name)}"
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    )
