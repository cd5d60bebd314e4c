"""The commands that are compared: smbplan, its peers as their users and as experts would use them, and plain scripts.

Peers are installed from PyPI into an environment of their own. Each tool has a host of its own, and all are alike.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import sites
from bench.measure import Side
from smbplan.lab import Lab

HERE = Path(__file__).parent / "peers"
PEERS = ("ansible>=11,<12", "pyinfra>=3.5,<4", "octodns>=1.13,<2")
HOSTS = {"smbplan": "pve1", "ansible": "pve2", "pyinfra": "pve3", "script": "pve4"}
SECRETS = {f"{name.upper()}_PASSWORD": word for name, word in sites.PASSWORDS.items()}


def installed(folder: Path) -> Path:
    """The peers' own environment, made when it is not there."""
    done = folder / "peers" / ".done"
    if not done.exists() or done.read_text() != repr(PEERS):
        venv.create(folder / "peers", with_pip=True, clear=True)
        python = folder / "peers" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *PEERS], check=True)
        done.write_text(repr(PEERS))
    return folder / "peers" / "bin"


@dataclass(frozen=True)
class Sides:
    """Makes them, on the hosts of a lab."""

    lab: Lab
    folder: Path
    peers: Path  # the folder of their programs

    def fresh(self, tool: str, proved: bool = True) -> None:
        """The tool's host as new; without passwords its users are there already, for whoever needs them."""
        self.lab.reset(HOSTS[tool])
        if not proved:
            add = "; ".join(f"useradd -M -N -g users {user}" for user in sites.PASSWORDS)
            self.shell(tool, add)

    def shell(self, tool: str, script: str) -> str:
        done = self.lab.exec(HOSTS[tool], ["sh", "-ec", script])
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        return done.stdout.decode()

    def ssh(self, *words: str) -> list[str]:
        return ["ssh", "-F", str(self.lab.ssh_config), *words]

    def smbplan(
        self, verb: str, count: int, *words: str, proved: bool = True, changed: str = "", code: int = 0
    ) -> Side:
        name = f"{count}-{'proved' if proved else 'plain'}{'-changed' if changed else ''}"
        site = sites.smbplan(
            self.folder / "smbplan" / name, count, HOSTS["smbplan"], self.lab.ssh_config, proved, changed
        )
        argv = [sys.executable, "-m", "smbplan", verb, str(site), *words]
        env = {**SECRETS, "SMBPLAN_STATE": str(self.folder / "state")}
        return Side(f"smbplan {verb}", argv, env, code=code)

    def ansible(self, playbook: str, count: int, *words: str, proved: bool = True) -> Side:
        inventory = self.folder / "inventory.ini"
        options = f"-F {self.lab.ssh_config} -o ControlMaster=auto -o ControlPersist=60s"
        inventory.write_text(
            f"{HOSTS['ansible']} ansible_ssh_common_args='{options}' ansible_python_interpreter=/usr/bin/python3\n"
        )
        argv = [str(self.peers / "ansible-playbook"), "-i", str(inventory)]
        argv += ["-e", f"@{sites.variables(self.folder, count, proved)}", str(HERE / "ansible" / f"{playbook}.yml")]
        env = {"ANSIBLE_PIPELINING": "1", "ANSIBLE_HOME": str(self.folder / "ansible"), "ANSIBLE_FORKS": "20"}
        env |= {"ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_NOCOWS": "1", "LC_ALL": "C.UTF-8"}
        return Side(f"Ansible, {playbook}", [*argv, *words], env)

    def pyinfra(self, count: int, *words: str, expert: bool = True) -> Side:
        inventory = self.folder / "inventory.py"
        known = {
            "ssh_user": "root",
            "ssh_hostname": self.address("pyinfra"),
            "ssh_key": str(self.lab.ssh_config.parent / "id_ed25519"),
            "ssh_known_hosts_file": str(self.lab.ssh_config.parent / "known_hosts"),
        }
        inventory.write_text(f"hosts = [({HOSTS['pyinfra']!r}, {json.dumps(known)})]\n")
        argv = [str(self.peers / "pyinfra"), str(inventory), str(HERE / "pyinfra" / "folders.py"), *words]
        env = {"BENCH_VARIABLES": str(sites.variables(self.folder, count)), **({} if expert else {"BENCH_EACH": "1"})}
        return Side("pyinfra" if expert else "pyinfra, a fact for each folder", argv, env)

    def address(self, tool: str) -> str:
        return next(node.address for node in self.lab.status().nodes if node.name == HOSTS[tool])

    def floor(self) -> Side:
        """What smbplan's host is, only collected."""
        return Side("only collecting", self.ssh(HOSTS["smbplan"], "sh", "-s"), stdin=HERE / "floor.sh")

    def by_hand(self, count: int, proved: bool) -> Side:
        """The work of a first apply as a script."""
        from jinja2 import Environment, FileSystemLoader

        text = Environment(loader=FileSystemLoader(HERE), keep_trailing_newline=True).get_template("apply.sh.j2")
        script = self.folder / f"apply-{count}.sh"
        script.write_text(text.render(json.loads(sites.variables(self.folder, count, proved).read_text())))
        return Side("a script by hand", self.ssh(HOSTS["script"], "sh", "-s"), stdin=script)

    def octodns(self, records: int, drift: bool = False) -> Side:
        """As its users have it: definitions in YAML, compared with a provider, which keeps its records in YAML, too."""
        folder = self.folder / f"octodns-{records}{'-drift' if drift else ''}"
        sites.octodns(folder, records, drift)
        argv = [str(self.peers / "octodns-sync"), "--config-file", str(folder / "config.yaml")]
        return Side("octodns-sync, YAML on both sides", argv)

    def engine(self, count: int) -> Side:
        """The engine alone, with definitions from YAML."""
        site = sites.smbplan(self.folder / "smbplan" / f"engine-{count}", count, "files", Path("/dev/null"), False)
        return self.python("smbplan's engine, definitions in YAML", ["-m", "bench.engine", str(site)])

    def python(self, name: str, argv: Sequence[str], program: str | None = None) -> Side:
        """A program of this bench, by smbplan's interpreter or by another one."""
        return Side(name, [program or sys.executable, *argv], {"PYTHONPATH": os.fspath(HERE.parents[1])})
