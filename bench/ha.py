"""How long clients of a cluster are without service: `make bench-ha` tries each fault, and writes docs/failover.md.

Goes on where it was stopped. The clients run on this host, one for each floating address: they write, flush and read
all the time, and connect again to the same address when they are reset or not answered for two seconds.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from bench.ha_faults import BEFORE, FAULTS, Bench, Fault
from smbplan import templates
from smbplan.drivers.ha_client import Client
from smbplan.kinds import failover
from smbplan.lab import Lab

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "failover.md"
LAB = "bench-ha"
TUNED, STOCK = "smbplan", "stock"
SETTLE = 4.0  # seconds of service before and after
LONGEST = 90.0  # seconds that a fault is waited for
QUIET = 5.0  # seconds after a recovery within which CTDB puts the next one off
BUSY = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()  # it ends with the bench
while True: pass
"""
STOCK_TUNABLES = {
    "ControlTimeout": 60, "ElectionTimeout": 3, "KeepaliveInterval": 5, "KeepaliveLimit": 5,
    "MonitorInterval": 15, "RecoverTimeout": 30, "RerecoveryTimeout": 10, "TakeoverTimeout": 9,
}  # fmt: skip


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def prepared(folder: Path, failover: str) -> Bench:
    """A cluster of three nodes, and a fourth host; with the tunables that are in force in this process."""
    lab = Lab(LAB)
    lab.down()
    lab.up(nodes=4, shared=True, btrfs=False)
    for last in ("ha", "state"):  # what was measured before stays
        shutil.rmtree(folder / last, ignore_errors=True)
    shutil.copytree(templates.data("examples") / "ha", folder / "ha")
    site = folder / "ha" / "site.yaml"
    text = site.read_text().replace("/lab/default/", f"/lab/{LAB}/")
    text = text.replace("failover: 10s", f"failover: {failover}")
    site.write_text(text.replace("198.18.0.", f"198.18.{lab.state.number()}."))
    os.environ |= {"SMBPLAN_STATE": str(folder / "state")}
    os.environ |= {f"{name}_PASSWORD": f"{name.lower()}-Geheim-1" for name in ("ALICE", "BOB")}
    bench = Bench(lab, folder / "ha")
    bench.apply()
    bench.well()
    return bench


@contextmanager
def stock() -> Iterator[None]:
    """CTDB as it comes, but for the lock."""
    real = failover.Budget.tunables
    failover.Budget.tunables = property(lambda self: STOCK_TUNABLES)  # type: ignore[assignment, method-assign]
    failover.budget = lambda seconds: failover.Budget(30, 3, 5, 15)
    try:
        yield
    finally:
        failover.Budget.tunables = real  # type: ignore[method-assign]


def clients(bench: Bench) -> list[Client]:
    addresses = sorted(address for node in bench.status().nodes for address in node.addresses)
    return [Client(address, "drawings", "alice", "alice-Geheim-1") for address in addresses]


def attempt(bench: Bench, fault: Fault) -> dict[str, Any]:
    """One try: the longest pause that any client had, and what it lost."""
    BEFORE.get(fault.name, lambda _: None)(bench)
    bench.well()
    time.sleep(QUIET)
    running = clients(bench)
    for client in running:
        client.start()
    assert all(client.wait(30) for client in running), [client.seen.errors for client in running]
    time.sleep(SETTLE)
    since = time.monotonic()
    known = fault.strike(bench)
    struck = time.monotonic()
    served(running, struck)
    seconds = max(client.seen.longest(since) for client in running)
    repaired = time.monotonic()
    fault.repair(bench, known)
    bench.well()
    served(running, time.monotonic())
    seen = [client.stop() for client in running]
    return {
        "seconds": round(seconds, 2),
        "back": round(max(each.longest(repaired) for each in seen), 2),
        "lost": sum(each.lost for each in seen),
        "wrong": sum(each.wrong for each in seen),
        "served_again": all(each.done[-1] > struck for each in seen),
        "reconnects": sum(each.connections - 1 for each in seen),
    }


def served(running: list[Client], after: float) -> None:
    """Return when every client has been served for a while."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end and not all(client.seen.done[-1] > after for client in running):
        time.sleep(0.1)
    time.sleep(SETTLE)


def soak(bench: Bench, minutes: float) -> dict[str, Any]:
    """No fault, and all cores busy: nobody may take anything over."""
    before = {node.name: node.addresses for node in bench.status().nodes}
    busy = [subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE) for _ in range(os.cpu_count() or 2)]
    running, since = clients(bench), time.time()
    try:
        for client in running:
            client.start()
        time.sleep(minutes * 60)
        seen = [client.stop() for client in running]
    finally:
        for process in busy:
            process.kill()
    log = "".join(
        bench.shell(node, f"journalctl -q -u ctdb -o cat --since @{since:.0f}")
        for node in ("files1", "files2", "files3")
    )
    after = {node.name: node.addresses for node in bench.status().nodes}
    return {
        "minutes": minutes,
        "given_up": log.count(" is dead"),
        "elections": log.count("Start election"),
        "moved": before != after,
        "seconds": round(max(each.longest() for each in seen), 2),
        "lost": sum(each.lost + each.wrong for each in seen),
    }


def table(found: list[dict[str, Any]]) -> str:
    rows = [
        "| What happens | tries | minimum | median | maximum | coming back | flushed and lost | stock tunables |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        mine = [each for each in found if each["fault"] == fault.name]
        ours, theirs = ([each for each in mine if each["with"] == name] for name in (TUNED, STOCK))
        if ours:
            seconds, back = ([each[key] for each in ours] for key in ("seconds", "back"))
            numbers = f"{min(seconds):.1f} | {median(seconds):.1f} | {max(seconds):.1f}"
            again = f"{median(back):.1f} ({min(back):.1f}–{max(back):.1f})"
            lost = sum(each["lost"] + each["wrong"] for each in ours)
            stocked = [each["seconds"] for each in theirs]
            beside = (
                f"{median(stocked):.1f} ({min(stocked):.1f}–{max(stocked):.1f}; {len(stocked)})" if stocked else "–"
            )
            rows.append(f"| {fault.name} | {len(ours)} | {numbers} | {again} | {lost} | {beside} |")
    return "\n".join(rows)


INTRODUCTION = """# Failover, measured

Seconds for which a client had no service: the longest pause of three clients, one for each floating address of
`examples/ha` with `failover: 10s`. `make bench-ha` writes this page, on the lab: real ctdbd and smbd, three nodes in
namespaces of one machine with two cores. *Power off* means that the node is frozen and its link cut, so that nothing of
it is heard any more; its lock is free three seconds later. A client writes, flushes and reads all the time. When its
connection is reset, or an answer takes two seconds, it connects again to the same address; each one has come to work
again in that way. *Coming back*: the longest pause while the fault is put right. Beside it the medians with CTDB's own
tunables, and how many tries these had.
"""


def page(found: list[dict[str, Any]]) -> str:
    words = [INTRODUCTION, table(found), ""]
    for each in [each for each in found if each["fault"] == "soak"][-1:]:
        words.append(
            f"{each['minutes']:.0f} minutes without a fault, all cores busy: {each['given_up']} nodes given up, "
            f"{each['elections']} elections, addresses moved: {'yes' if each['moved'] else 'none'}, longest pause "
            f"{each['seconds']:.1f} s, {each['lost']} flushed writes lost.\n"
        )
    return "\n".join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--stock-tries", type=int, default=5)
    parser.add_argument("--soak", type=float, default=10.0, help="minutes")
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "smbplan" / "bench-ha")
    told = parser.parse_args()
    told.work.mkdir(parents=True, exist_ok=True)
    results = told.work / "results.jsonl"
    for name, tries in ((TUNED, told.tries), (STOCK, told.stock_tries)):
        run(told, results, name, tries)
    found = records(results)
    PAGE.write_text(page(found))
    print(page(found))
    Lab(LAB).down()


def run(told: argparse.Namespace, results: Path, name: str, tries: int) -> None:
    def missing() -> Iterator[tuple[Fault, int]]:
        for number in range(tries):
            for fault in FAULTS:
                done = [each for each in records(results) if (each["fault"], each["with"]) == (fault.name, name)]
                if told.only in fault.name and len(done) <= number:
                    yield fault, number

    def note(**words: Any) -> None:
        with results.open("a") as file:
            file.write(json.dumps(words) + "\n")
        print(json.dumps(words), flush=True)

    soaks = name == TUNED and told.soak and not told.only
    soaks = soaks and not any(each["fault"] == "soak" for each in records(results))
    if not soaks and not any(missing()):
        return
    with stock() if name == STOCK else nullcontext():
        bench = prepared(told.work, "2min" if name == STOCK else "10s")  # CTDB's own can't promise ten seconds
        for fault, number in missing():
            note(**{"with": name}, fault=fault.name, number=number, **attempt(bench, fault))
        if soaks:
            note(**{"with": name}, fault="soak", **soak(bench, told.soak))


if __name__ == "__main__":
    main()
