"""A plan of many containers on many nodes, behind a network that delays: how many round trips depend on each other.

Nothing runs there. The API is the lab's emulated one, with files for containers; what agents answer, on nodes and
inside, is replayed at the drivers.
"""

import json
import os
import re
import shutil
import socket
import socketserver
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.measure import RUNS, Cost, Row
from bench.relay import Relay
from smbplan import app
from smbplan.drivers.channel import Channel
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.pve import config as guest
from smbplan.drivers.wire import encode
from smbplan.engine.execute import Execution
from smbplan.engine.kind import Options
from smbplan.engine.outcome import Entry, Result
from smbplan.engine.step import Work
from smbplan.kinds.guest import CLUSTER
from smbplan.lab.pve import auth, backend, certificates, files, guestconf, server, usercfg
from smbplan.lab.pve.__main__ import initialise
from smbplan.lab.pve.site import Site, load_machines
from smbplan.lab.pve.usercfg import Token

GATEWAYS, NODES, FIRST = 1000, 16, 100  # the last one is the first container's id
TRIP, LONG = 0.020, 0.5  # seconds for a round trip; the second is so long that nothing else counts
TOKEN, SECRET = "root@pam!bench", "BENCH_SECRET"
TEMPLATE = "debian-12-standard_12.12-1_amd64.tar.zst"
HEAD = """\
version: 1
site: bench-many
proxmox: {{endpoint: "https://127.0.0.1:{port}", token: {{id: {token}, secret: {{env: {secret}}}}}, ca_file: {ca}}}
defaults:
  gateway: {{mode: lxc, template: "local:vztmpl/{template}", disk: 1GiB, discovery: false}}
users:
  carol: {{password: {{env: CAROL_PASSWORD}}}}
gateways:
"""
GATEWAY = "  g{number}: {{node: n{node}, network: {{address: {address}}}}}\n"
SHARE = "  s{number}: {{gateway: g{number}, storage: {{volume: local, size: 64MiB}}, access: {{write: [carol]}}}}\n"
FACTS = {"samba": True, "systemd": True, "apt": True, "pct": False, "release": "Debian GNU/Linux 12 (bookworm)"}


class Agents:
    """What is inside all containers, in memory: a runner that makes it, and what agents answer of it afterwards."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._states: dict[str, dict[tuple[str, str], Any]] = {}
        self._records: dict[str, dict[str, Any]] = {}

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        for op in (encode(work.op) for work in works):
            if "type" in op:
                self._states.setdefault(target, {})[op["type"], op["name"]] = op["after"]
                self._records.setdefault(target, {})[op["address"]] = op["record"]
        return [Result(True)] * len(works)

    def copy(self, number: int) -> None:
        """Another gateway is as the first one."""
        name, first = f"g{number}", self._states["g1"]
        self._states[name] = {(type_, like(key, number)): like(state, number) for (type_, key), state in first.items()}
        self._records[name] = like(self._records["g1"], number)

    def answer(self, node: str, request: Any) -> Any:
        if request["verb"] == "containers":
            return self._containers(node)
        if request["verb"] == "inside":
            return {
                name: json.dumps({"ok": self._read(name, json.loads(line))}) for name, line in request["lines"].items()
            }
        return {"held": None, "unfinished": [], "runs": [], "lease": None}

    def _containers(self, node: str) -> dict[str, Any]:
        running = self._folder / node / "dry"
        return {
            path.stem: {"text": path.read_text(), "running": "pid" in (running / path.stem).read_text(), "rules": 0}
            for path in (self._folder / "pve" / "nodes" / node / "lxc").glob("*.conf")
        }

    def _read(self, gateway: str, request: Any) -> Any:
        states = self._states.get(gateway, {})
        told = [[type_, name, {"state": states.get((type_, name))}] for type_, name, _ in request["keys"]]
        facts = {**FACTS, "machine": gateway, "time": time.time()}
        return {"facts": facts, "states": told, "records": self._records.get(gateway, {}), "peers": {}}


class Listening(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 256


def listening(agents: Agents) -> Listening:
    """Answers lines as agents on nodes do; the first one tells on which."""

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            node = ""
            for line in self.rfile:
                request = json.loads(line)
                node = request.get("node", node)
                answer = {"ready": node} if "node" in request else {"ok": agents.answer(node, request)}
                self.wfile.write(json.dumps(answer).encode() + b"\n")

    found = Listening(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return found


class Replayed(Channel):
    """A way to a node, or into a container, that leads to what is replayed."""

    port = 0
    _socket: socket.socket | None = None

    def open(self) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.counts.connections += 1
            self._exchange(json.dumps({"node": self.endpoint.name}).encode() + b"\n", 60.0)

    @property
    def ended(self) -> bool:
        return False

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _exchange(self, line: bytes, timeout: float) -> bytes:
        assert self._socket is not None
        self._socket.sendall(line)
        found = [b""]
        while not found[-1].endswith(b"\n"):
            found.append(self._socket.recv(1 << 20))
        self.counts.sent += len(line)
        self.counts.received += sum(map(len, found))
        return b"".join(found)


class Notes:
    """Nobody reads them."""

    def write(self, entries: Sequence[Entry]) -> None:
        """See engine.execute."""


@contextmanager
def api(folder: Path, nodes: int) -> Iterator[int]:
    """The port of the first node of an emulated cluster."""
    root, vz = folder / "pve", folder / "vz"
    names = [f"n{number}" for number in range(nodes)]
    initialise(root, dict.fromkeys(names, "127.0.0.1"), "9.1", "root-password")
    (root / "storage.cfg").write_text(f"dir: local\n\tpath {vz}\n\tcontent rootdir,images,vztmpl\n\tshared 1\n")
    (vz / "template" / "cache").mkdir(parents=True)
    (vz / "template" / "cache" / TEMPLATE).write_bytes(b"0")
    with usercfg.changing(root) as config:
        config.tokens[TOKEN] = Token(privsep=0)
    auth.set_token(root, TOKEN, os.environ[SECRET])
    members, servers = json.loads((root / ".members").read_text()), []
    for name in names:
        local = folder / name
        (local / "tasks").mkdir(parents=True)
        machines = partial(load_machines, "dry", root, name, local)
        site = Site(name, root, local, backend.Dry(root, name, local), auth_delay=0, open_machines=machines)
        running = server.Server(site, ("127.0.0.1", 0), *certificates.ensure(site, "127.0.0.1"))
        threading.Thread(target=running.serve_forever, daemon=True).start()
        members["nodelist"][name]["port"] = running.server_port
        servers.append(running)
    files.write(root / ".members", json.dumps(members))
    try:
        yield servers[0].server_port
    finally:
        for running in servers:
            running.shutdown()


def written(folder: Path, gateways: int, nodes: int, port: int) -> Path:
    numbers = range(1, gateways + 1)
    head = HEAD.format(port=port, token=TOKEN, secret=SECRET, ca=folder / "pve" / "pve-root-ca.pem", template=TEMPLATE)
    rows = [GATEWAY.format(number=each, node=each % nodes, address=address(each)) for each in numbers]
    (folder / "site").mkdir(exist_ok=True)
    text = [head, *rows, "shares:\n", *(SHARE.format(number=each) for each in numbers)]
    (folder / "site" / "site.yaml").write_text("".join(text))
    return folder / "site"


def copied(folder: Path, number: int, nodes: int) -> None:
    """The container of another gateway, like that of the first one."""
    first, vmid = folder / "pve" / "nodes" / f"n{1 % nodes}" / "lxc" / f"{FIRST}.conf", FIRST - 1 + number
    config = guestconf.parse(first.read_text())
    values = like(config.values, number)
    told = {
        **like(guest.told(config.values), number),
        "mark": guest.sealed(f"bench-many/lxc.container.g{number}", vmid),
    }
    disk, other = (f":{each}/vm-{each}-" for each in (FIRST, vmid))
    told["volumes"] = json.loads(json.dumps(told["volumes"]).replace(disk, other))
    for name, value in values.items():
        values[name] = value.replace(disk, other).replace(address(1), address(number))
    config.values = {**values, "description": guest.described({}, told)}
    node = f"n{number % nodes}"
    files.write(folder / "pve" / "nodes" / node / "lxc" / f"{vmid}.conf", guestconf.render(config))
    shutil.copy(folder / f"n{1 % nodes}" / "dry" / str(FIRST), folder / node / "dry" / str(vmid))


def like(data: Any, number: int) -> Any:
    """What is said of the first gateway and its share, of another one."""
    return json.loads(re.sub(r"\b([gs])1\b", rf"\g<1>{number}", json.dumps(data)))


def address(number: int) -> str:
    return f"10.{number // 250}.{number % 250}.2/24"


class Cloud:
    """An emulated cluster with gateways that are all as they should be, behind relays."""

    def __init__(self, folder: Path, gateways: int, nodes: int, port: int) -> None:
        agents = Agents(folder)
        self._relays = Relay(port), Relay(listening(agents).server_address[1])
        self._site = written(folder, 1, nodes, self._relays[0].port)
        Replayed.port = self._relays[1].port
        self._make(agents)
        for number in range(2, gateways + 1):
            agents.copy(number)
            copied(folder, number, nodes)
        written(folder, gateways, nodes, self._relays[0].port)

    def _make(self, agents: Agents) -> None:
        planned = app.plan(self._site, Options(), Replayed)
        with Fleet(planned.plan.site, planned.endpoints, Replayed) as fleet:
            fleet.begin("run", [CLUSTER])

            def run(target: str, works: Sequence[Work]) -> Sequence[Result]:
                return fleet.run(target, works) if target == CLUSTER else agents.run(target, works)

            done = Execution(planned.plan.steps, SimpleNamespace(run=run), Notes()).run()
        if done.name != "applied":
            raise RuntimeError(f"the gateways were not made: {done.problems[:3]}")

    def plan(self, trip: float) -> Cost:
        """With so many seconds for a round trip. Raises RuntimeError where there is something to do."""
        for relay in self._relays:
            relay.delay = trip / 2
        began = time.monotonic()
        planned = app.plan(self._site, Options(), Replayed)
        cost = Cost(time.monotonic() - began, 0.0, 0.0, sum(each.round_trips for each in planned.counts.values()))
        if planned.plan.changes:
            raise RuntimeError(f"there is something to do: {[change.address for change in planned.plan.changes[:9]]}")
        return cost


@contextmanager
def cloud(folder: Path, gateways: int, nodes: int) -> Iterator[Cloud]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ |= {SECRET: "secret", "CAROL_PASSWORD": "carol-Geheim-1", "SMBPLAN_STATE": str(folder / "state")}
    with api(folder, nodes) as port:
        yield Cloud(folder, gateways, nodes, port)


def dependent(folder: Path) -> list[Row]:
    """What a long way adds to a plan, the way itself, and the plan with 20 ms."""
    with cloud(folder / "many", GATEWAYS, NODES) as made:
        pairs = [(made.plan(0.0), made.plan(LONG), made.plan(TRIP)) for _ in range(RUNS)]
    added = [Cost(long.wall - short.wall, 0.0, 0.0) for short, long, _ in pairs]
    return [
        Row(f"what {LONG} s for a round trip adds", added),
        Row("one round trip", [Cost(LONG, 0.0, 0.0)] * RUNS),
        Row("the plan, with 20 ms for a round trip", [usual for *_, usual in pairs]),
    ]


def requests(folder: Path) -> list[Row]:
    """Of plans of more and of fewer gateways on as many nodes."""
    rows = []
    for count in (GATEWAYS, GATEWAYS // 10):
        with cloud(folder / "many", count, NODES) as made:
            cost = made.plan(0.0)
            rows.append(Row(f"{count} gateways, {cost.requests:.0f} requests", [cost]))
    return rows


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, cloud(Path(place), int(sys.argv[1]), int(sys.argv[2])) as here:
        for way in (0.0, LONG, TRIP, 0.0, LONG, TRIP):
            print(way, here.plan(way))
