"""Everything on a machine that a run may touch, for the comparison with *as before*.

What may differ all the same stands in exceptions.txt, one regular expression a line, with its reason.
"""

import json
import re
from pathlib import Path

from smbplan.lab import Lab

EXCEPTIONS = [
    line.split("  #")[0].strip()
    for line in (Path(__file__).parent / "exceptions.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]
SCRIPT = r"""
import hashlib, json, os, stat, subprocess
found = {}
def tell(path):
    info = os.lstat(path)
    content = ""
    if stat.S_ISREG(info.st_mode):
        content = hashlib.sha256(open(path, "rb").read()).hexdigest()[:16]
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        names = []  # ZFS by FUSE has none
    extra = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names}
    found["file " + path] = [oct(info.st_mode), info.st_uid, info.st_gid, content, extra]
for top in ("/etc", "/srv", "/mnt", "/usr/local", "/var/lib", "/home", "/root", "/tank", "/run/lock"):
    for folder, names, files in os.walk(top):
        if folder.startswith(("/var/lib/dpkg", "/var/lib/apt", "/var/lib/systemd")):
            names[:] = []
            continue
        for name in names + files:
            tell(os.path.join(folder, name))
for name in ("passwd", "group", "shadow", "gshadow"):
    for line in open("/etc/" + name):
        found["account " + name + " " + line.strip()] = 1
def lines(what, *argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    for line in filter(None, done.stdout.splitlines()):
        found[what + " " + line.strip()] = 1
lines("package", "dpkg-query", "-W")
lines("unit", "systemctl", "list-unit-files", "--no-legend", "--no-pager")
units = ("--no-legend", "--no-pager", "--plain", "--state=active", "--type=service,timer")
lines("active", "systemctl", "list-units", *units)
if os.path.exists("/var/lib/samba/registry.tdb"):
    read = "param.get_context().load('/dev/null'); print(*smbconf.init_reg(None).get_config(), sep='\\n')"
    lines("registry", "python3", "-c", "from samba.samba3 import smbconf, param; " + read)
if os.path.exists("/var/lib/samba/private/passdb.tdb"):
    lines("passdb", "pdbedit", "-L", "-s", "/dev/null")
print(json.dumps(found))
"""


def take(lab: Lab, node: str) -> dict[str, object]:
    done = lab.exec(node, ["python3", "-c", SCRIPT])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: value for name, value in found.items() if not any(re.search(rule, name) for rule in EXCEPTIONS)}


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return sorted(
        f"{name}: {before.get(name)} → {after.get(name)}"
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    )
