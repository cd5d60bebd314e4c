"""What tests do with a site on a lab."""

import re
from dataclasses import dataclass
from pathlib import Path

from smbplan import app
from smbplan.drivers.channel import Channel
from smbplan.drivers.targets import Connect
from smbplan.engine.kind import Options
from smbplan.lab import Lab


@dataclass
class Site:
    lab: Lab
    folder: Path

    def plan(self, connect: Connect = Channel, **options: object) -> app.Planned:
        return app.plan(self.folder, Options(**options), connect)  # type: ignore[arg-type]

    def apply(self, connect: Connect = Channel, **options: object) -> app.Applied:
        return app.apply(self.plan(**options), connect=connect)

    def applied(self, **options: object) -> app.Applied:
        """Apply, which must succeed."""
        done = self.apply(**options)
        assert done.outcome.name == "applied", done.outcome.problems
        return done

    def differences(self, **options: object) -> list[str]:
        return [f"{change.action} {change.address}" for change in self.plan(**options).plan.changes]

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))

    def run(self, node: str, *argv: str, stdin: str | None = None) -> str:
        """The output of a command in a node, which must succeed."""
        done = self.lab.exec(node, list(argv), stdin)
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout.decode()

    def shell(self, node: str, script: str) -> str:
        return self.run(node, "sh", "-ec", script)

    def smb(self, user: str, share: str, commands: str, node: str = "pve1") -> str:
        """What a real client on another machine says. `user` "" is a guest."""
        address = self.address(node)
        login = ["-U", f"{user}%{user}-Geheim-1"] if user else ["-N"]
        done = self.lab.exec("client", ["smbclient", *login, f"//{address}/{share}", "-c", commands])
        return re.sub(r"^Can't load.*\n", "", (done.stdout + done.stderr).decode(), flags=re.M)

    def address(self, node: str = "pve1") -> str:
        return next(each.address for each in self.lab.status().nodes if each.name == node)


def guest_share(path: str) -> str:
    """An smb.conf with the share `probe`, where guests write as root."""
    return f"""[global]
  server role = standalone server
  map to guest = bad user
  disable netbios = yes
[probe]
  path = {path}
  guest ok = yes
  read only = no
  force user = root
"""
