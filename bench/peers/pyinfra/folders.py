"""One template, and one fact for the ACLs of all folders, as an expert writes it; or, as others do, one for each."""

import json
import os
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase, StringCommand
from pyinfra.operations import files, server, systemd

DATA = json.loads(Path(os.environ["BENCH_VARIABLES"]).read_text())
EACH = "BENCH_EACH" in os.environ
ACL = "u::rwx,g::-,g:crew:rwx,g:readers:rx,m::rwx,o::-"
SET = f"{ACL},{','.join(f'd:{each}' for each in ACL.split(','))}"
WANTED = """user::rwx
group::---
group:crew:rwx
group:readers:r-x
mask::rwx
other::---
default:user::rwx
default:group::---
default:group:crew:rwx
default:group:readers:r-x
default:mask::rwx
default:other::---""".splitlines()


class Acls(FactBase):  # type: ignore[misc]
    """{path: lines} of folders."""

    default = dict

    def command(self, paths: str) -> StringCommand:
        return StringCommand(f"getfacl -pE {paths} 2>/dev/null || true")

    def process(self, output: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in output:
            if line.startswith("# file: "):
                lines = found.setdefault(line.removeprefix("# file: "), [])
            elif line and not line.startswith("#"):
                lines.append(line)
        return found


class Known(FactBase):  # type: ignore[misc]
    """Samba's users."""

    default = list

    def command(self) -> str:
        return "pdbedit -L"

    def process(self, output: list[str]) -> list[str]:
        return [line.partition(":")[0] for line in output]


def deploy() -> None:
    for member in DATA["members"]:
        server.group(group=member["group"])
        server.user(
            user=member["user"],
            group="users",
            groups=[member["group"]],
            home="/nonexistent",
            shell="/usr/sbin/nologin",
            ensure_home=False,
        )
    template = str(Path(__file__).parents[1] / "ansible" / "smb.conf.j2")
    written = files.template(template, "/etc/samba/smb.conf", shares=DATA["shares"], comment=DATA["comment"])
    known: Any = host.get_fact(Known)
    for user, password in DATA["passwords"].items():
        if user not in known:
            server.shell(f"printf '%s\\n%s\\n' {password} {password} | smbpasswd -s -a {user}")
    for share in DATA["shares"]:
        files.directory(share["path"], user="root", group="root", mode="2770")
    all_at_once = [f"{DATA['root']}/*"]
    acls: dict[str, Any] = {}
    for paths in [share["path"] for share in DATA["shares"]] if EACH else all_at_once:
        acls |= host.get_fact(Acls, paths=paths)
    wrong = [share["path"] for share in DATA["shares"] if acls.get(share["path"]) != WANTED]
    if wrong:
        server.shell([f"setfacl --set {SET} {path}; chmod g+s {path}" for path in wrong])
    systemd.service("smbd", enabled=True, running=True)
    if written.will_change:
        server.shell("testparm -s >/dev/null 2>&1 && smbcontrol smbd reload-config")


deploy()
