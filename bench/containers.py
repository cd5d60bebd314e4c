"""An apply of many containers against what it can not be faster than: its longest chain, its work on all processors."""

import os
import shutil
import sys
from pathlib import Path

from bench.measure import RUNS, Cost, Row, Side
from smbplan.lab import Lab
from smbplan.store import runs

COUNT, NODES, LAB = 30, ("pve1", "pve2"), "bench-lxc"
SITE = """\
version: 1
site: bench-lxc
proxmox: lab
defaults:
  gateway: {mode: lxc, template: "local:vztmpl/debian-12-samba_1_amd64.tar.zst", disk: 1GiB, discovery: false}
users:
  carol: {password: {env: CAROL_PASSWORD}}
gateways:
"""
GATEWAY = "  g{number}: {{node: {node}, network: {{address: {net}.{host}/24, gateway: {net}.1}}}}\n"
SHARE = "  s{number}: {{gateway: g{number}, storage: {{volume: local, size: 64MiB}}, access: {{write: [carol]}}}}\n"


def rows(folder: Path) -> list[Row]:
    """What applies took, and what they had to take. A machine that does other things takes longer."""
    lab = Lab(LAB)
    lab.down()
    lab.up(nodes=len(NODES), pve=True, client=False)
    state = folder / "state-lxc"
    env = {"SMBPLAN_LAB": LAB, "SMBPLAN_STATE": str(state), "CAROL_PASSWORD": "carol-Geheim-1"}
    os.environ.update(env)  # for reading its runs
    argv = [sys.executable, "-m", "smbplan"]
    site = str(_site(lab, folder / "smbplan" / "lxc"))
    taken, needed = list[Cost](), list[Cost]()
    try:
        for _ in range(RUNS):
            lab.reset()  # a destroy parks containers, and the next apply would take them back
            shutil.rmtree(state, ignore_errors=True)
            before = _busy()
            cost, _said = Side("apply", [*argv, "apply", site, "--yes"], env).run()
            work = (_busy() - before) / (os.cpu_count() or 1)
            chain = _longest()
            taken.append(cost)
            needed.append(Cost(max(chain, work), work, 0.0))
            print(f"  {cost.wall:.1f} s; longest chain {chain:.1f} s, work on all processors {work:.1f} s", flush=True)
    finally:
        lab.down()
    return [Row(f"smbplan apply, {COUNT} containers", taken), Row("its longest chain, or its work", needed)]


def _site(lab: Lab, folder: Path) -> Path:
    net = str(lab.proxmox["endpoint"]).removeprefix("https://").rpartition(".")[0]
    numbers = range(1, COUNT + 1)
    gateways = (
        GATEWAY.format(number=number, node=NODES[number % len(NODES)], net=net, host=120 + number) for number in numbers
    )
    folder.mkdir(parents=True, exist_ok=True)
    text = SITE + "".join(gateways) + "shares:\n" + "".join(SHARE.format(number=number) for number in numbers)
    (folder / "site.yaml").write_text(text)
    return folder


def _busy() -> float:
    """Seconds that all processors together were not idle since the machine started. proc_stat(5)"""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _longest() -> float:
    """Seconds of the chain of steps in the last run that took longest, each from its beginning to its end."""
    run = runs.runs("bench-lxc")[0]
    began, took = dict[str, float](), dict[str, float]()
    for line in run.lines():
        if line["status"] == "doing":
            began[line["step"]] = float(line["time"])
        elif line["status"] == "done":
            took[line["step"]] = float(line["time"]) - began[line["step"]]
    chains = dict[str, float]()
    for step in run.steps():  # in topological order
        chains[step.id] = took.get(step.id, 0.0) + max((chains[name] for name in step.after), default=0.0)
    return max(chains.values())
