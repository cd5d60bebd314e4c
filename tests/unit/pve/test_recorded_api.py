"""The lab's API is held to recorded exchanges with a real Proxmox VE 9.1: status, reason phrase and body.

The numbers of the exchanges are those of the recordings; what is not in the files is not covered: clones of
containers, high availability, metric servers, restores, services of a node, and of virtual machines

- a clone that a missing driver of qemu-img broke (snapshot_clone_resize 4 to 6), and a disk that its lock kept from
  being made (qemu_hotplug_power 5 to 7): they show that server, not Proxmox;
- the progress of copying a disk (destroy_references 18): the machines tell it, the dry ones otherwise.
"""

import errno
import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from unit.pve import qemu, replay
from unit.pve.emulated import Lab
from unit.pve.replay import DATA

from smbplan.lab.pve import guests

COVERED = {
    "auth_errors": 9,
    "backup_jobs": 26,
    "cluster_options_tags_nextid": 15,
    "destroy_references": 28,
    "encodings": 6,
    "lxc_config_put": 19,
    "lxc_create_errors": 23,
    "lxc_defaults_hotplug_clone": 15,
    "lxc_mountpoints_power": 13,
    "lxc_root_only": 16,
    "mapping_dir": 7,
    "misc_gets": 5,
    "pools": 17,
    "proxy_formats_limits": 18,
    "pveadmin_token_denials": 6,
    "qemu_agent": 35,
    "qemu_create_config": 26,
    "qemu_hotplug_power": 29,
    "snapshot_clone_resize": 19,
    "storage": 24,
    "tasks_locks_stop": 18,
    "token_privileged_options": 41,
    "users_tokens_acl": 25,
    "vmid_race": 12,
}
NET = "name=eth0,bridge=vmbr0,gw=10.99.99.2,hwaddr=BC:24:11:46:B1:CA,ip=10.99.99.100/24,type=veth"
TEXT = "line1\nline2 ä € %\n"
CT = {
    "arch": "amd64",
    "cores": "1",
    "description": "hello world\n",
    "features": "nesting=1",
    "hostname": "web100",
    "memory": "256",
    "net0": NET,
    "onboot": "1",
    "ostype": "debian",
    "rootfs": "local:100/vm-100-disk-0.raw,size=1G",
    "swap": "0",
    "tags": "prod;web",
    "unprivileged": "1",
}
LATER = {key: value for key, value in CT.items() if key != "onboot"} | {
    "cores": "2",
    "description": TEXT,
    "hostname": "newname",
    "rootfs": "local:100/vm-100-disk-0.raw,size=2G",
    "tags": "prod",
}
MOUNTS = {
    "mp0": "local:100/vm-100-disk-1.raw,mp=/data,backup=1,size=1G",
    "mp1": "/srv/data,mp=/mnt/bind,backup=1",
    "mp2": "local:100/vm-100-disk-2.raw,mp=/nobackup,size=1G",
}


def without(values: dict[str, str], *keys: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if key not in keys}


@dataclass(frozen=True)
class Scenario:
    """How things were before the recording, and what happened between its exchanges."""

    before: Callable[[Lab], object] = lambda lab: None
    between: dict[int, Callable[[Lab], object]] = field(default_factory=dict)


def _create_errors(lab: Lab) -> None:
    lab.guest(100, CT, running=True)
    lab.tester()


def _taken(lab: Lab) -> None:
    # When this was recorded, a create that was bound to fail still held the id.
    lab.settle()
    guests.claim(lab.site, 101)


def _released(lab: Lab) -> None:
    lab.remove(101)


def _root_only(lab: Lab) -> None:
    lab.guest(100, CT, running=True)
    lab.tester()
    lab.token("root@pam!r0")


def _options(lab: Lab) -> None:
    lab.guest(100, {**CT, "tags": "prod"})
    lab.machine()
    lab.tester()


def _pools(lab: Lab) -> None:
    lab.guest(100, CT)
    lab.machine(running=True)
    lab.pool("jsonpool", "by json")


def _storage(lab: Lab) -> None:
    lab.guest(100, {**LATER, **MOUNTS})
    disk = lab.vz / "images" / "200" / "vm-200-disk-0.qcow2"
    disk.parent.mkdir(parents=True)
    with disk.open("wb") as file:
        file.truncate(2 * 2**30)
    (lab.vz / "template" / "iso" / "tiny.iso").write_bytes(b"0")


def _locks(lab: Lab) -> None:
    lab.guest(100, {**LATER, **MOUNTS, "tags": "B;a;C"})
    lab.tester()
    lab.hold(True)
    # Seven older failures, and the one that the recording shows.
    older = "UPID:pve1:00000001:00000001:6B02EC0{}:vzstart:100:root@pam: 6B02EC0{} failed\n"
    text = "could not activate storage 'nosuch': storage 'nosuch' does not exist"
    text += " could not get storage information for 'nosuch': storage 'nosuch' does not exist"
    last = f"UPID:pve1:000009E4:0003000E:6B02ECE7:vzdump:100:root@pam: 6B02ECE7 {text}\n"
    (lab.site.local / "tasks" / "index").write_text("".join(older.format(n, n) for n in range(7)) + last)


def _backup_running(lab: Lab) -> None:
    while "lock" not in guests.load(lab.site, 100).values:
        time.sleep(0.01)
    log = next(path for path in (lab.site.local / "tasks").glob("?/*vzdump*"))
    while "creating vzdump archive" not in log.read_text():
        time.sleep(0.01)


def _race(lab: Lab) -> None:
    lab.guest(100, CT)
    lab.guest(130, {**CT, "rootfs": "local:130/vm-130-disk-0.raw,size=1G"})


def _privileged(lab: Lab) -> None:
    lab.tester()
    lab.token("root@pam!r0")


def _denials(lab: Lab) -> None:
    lab.guest(100, CT)
    lab.tester()


def _users(lab: Lab) -> None:
    lab.guest(100, CT, running=True)


def _references(lab: Lab) -> None:
    lab.tester()
    lab.give("/vms/100", "tester@pve!t1", "PVEAuditor")
    qemu.machine(lab)
    qemu.share(lab)


def _proxy(lab: Lab) -> None:
    lab.tester()
    lab.token("root@pam!r0")
    text = (lab.site.root / ".members").read_text()
    text = text.replace('"nodelist": {', '"nodelist": {"pve2": {"id": 2, "online": 0, "ip": "10.99.99.254"},')
    (lab.site.root / ".members").write_text(text)


def _jobs(lab: Lab) -> None:
    lab.tester()
    lab.pool("jsonpool", "by json")


def _forget_second_job(lab: Lab) -> None:
    # The job with schedule */15 was gone when the list was recorded.
    path = lab.site.root / "jobs.cfg"
    parts = path.read_text().split("\n\n")
    path.write_text("\n\n".join(part for part in parts if "*/15" not in part))


def _learn_jobs(lab: Lab) -> None:
    """Which of today's ids stands for which recorded one: by what the jobs say."""
    listed = next(s for s in replay.recordings("backup_jobs") if s["n"] == 17)["body"]["data"]
    from smbplan.lab.pve import backup

    def key(job: dict[str, Any]) -> tuple[str, ...]:
        return tuple(str(job.get(name)) for name in ("vmid", "pool", "storage", "maxfiles"))

    now = {key(job): ident for ident, job in backup.load(lab.site).items()}
    lab.client.known |= {job["id"]: now[key(job)] for job in listed}


REMOVE_145 = lambda lab: lab.remove(145)  # noqa: E731
SCENARIOS: dict[str, Scenario] = {
    "auth_errors": Scenario(),
    "backup_jobs": Scenario(_jobs, {17: _forget_second_job, 24: _learn_jobs}),
    "cluster_options_tags_nextid": Scenario(_options),
    "destroy_references": Scenario(_references),
    "encodings": Scenario(lambda lab: lab.guest(100, CT, running=True)),
    "lxc_config_put": Scenario(lambda lab: lab.guest(100, CT, running=True)),
    "lxc_create_errors": Scenario(_create_errors, {6: _taken, 10: _released, 12: _taken}),
    "lxc_defaults_hotplug_clone": Scenario(),
    "lxc_mountpoints_power": Scenario(lambda lab: lab.guest(100, LATER, running=True, pending={"arch": "arm64"})),
    "lxc_root_only": Scenario(_root_only),
    "mapping_dir": Scenario(),
    "misc_gets": Scenario(lambda lab: (lab.guest(100, {**LATER, "tags": "B;a;C"}), lab.machine(running=True))),
    "pools": Scenario(_pools),
    "proxy_formats_limits": Scenario(_proxy),
    "pveadmin_token_denials": Scenario(_denials),
    "qemu_agent": Scenario(qemu.agent),
    "qemu_create_config": Scenario(qemu.create),
    "qemu_hotplug_power": Scenario(lambda lab: qemu.machine(lab, running=True)),
    "snapshot_clone_resize": Scenario(
        lambda lab: (
            qemu.machine(lab),
            lab.guest(100, without({**LATER, "rootfs": CT["rootfs"]}, "tags"), running=True, pending={"arch": "arm64"}),
        )
    ),
    "storage": Scenario(_storage),
    "tasks_locks_stop": Scenario(_locks, {1: _backup_running}),
    "token_privileged_options": Scenario(
        _privileged,
        dict.fromkeys((8, 20, 28), REMOVE_145) | dict.fromkeys((18, 31, 37, 39), lambda lab: lab.remove(146)),
    ),
    "users_tokens_acl": Scenario(_users),
    "vmid_race": Scenario(_race),
}


def _macs(name: str) -> Iterator[str]:
    """The recorded addresses of that file in the order they were made, so that digests are the same."""
    yield from {
        "lxc_defaults_hotplug_clone": ["BC:24:11:3B:55:1C", "BC:24:11:A8:0C:9D"],
        "qemu_create_config": ["BC:24:11:AA:D4:22"],
        "qemu_hotplug_power": ["BC:24:11:28:E0:4A"],
        "destroy_references": ["BC:24:11:3D:88:70"],
    }.get(name, [])
    while True:
        yield "BC:24:11:00:00:01"


def _differences(lab: Lab, sample: dict[str, Any]) -> list[str]:
    status, reason, body = lab.client.send(sample)
    lab.client.learn(sample["body"], body)
    head = f"[{sample['n']}] {sample['request']['method']} {sample['request']['path']}"
    wanted, got = lab.client.normal(sample["body"]), lab.client.normal(body)
    pairs = (("status", sample["status"], status), ("reason", sample["reason"], reason), ("body", wanted, got))
    return [f"{head}: {what}\n  recorded {old}\n  lab      {new}" for what, old, new in pairs if old != new]


@pytest.mark.parametrize("name", sorted(set(SCENARIOS) - {"vmid_race"}))
def test_answers_are_as_recorded(lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    macs = _macs(name)
    monkeypatch.setattr(guests, "new_mac", lambda site: next(macs))
    qemu.as_recorded(name, monkeypatch)

    _no_route(monkeypatch)
    scenario = SCENARIOS[name]
    scenario.before(lab)
    found: list[str] = []
    for sample in replay.recordings(name):
        if sample["n"] in scenario.between:
            scenario.between[sample["n"]](lab)
        found += _differences(lab, sample)
    assert not found, "\n".join(found)


def _no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recordings' second node has an address that nothing answers at."""
    connect = http.client.HTTPSConnection.connect

    def refusing(self: http.client.HTTPSConnection) -> None:
        if self.host == "10.99.99.254":
            raise OSError(errno.EHOSTUNREACH, "unreachable")
        connect(self)

    monkeypatch.setattr(http.client.HTTPSConnection, "connect", refusing)


def test_of_four_creates_of_one_id_one_succeeds(lab: Lab) -> None:
    """The first four of `vmid_race` were sent at once; what follows is replayed in order."""
    _race(lab)
    lab.hold(True)
    samples = {sample["n"]: sample for sample in replay.recordings("vmid_race")}
    racers = [samples[n] for n in (0, 1, 2, 4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lab.client.send, racers))
    lab.hold(False)

    def comparable(status: int, reason: str, body: Any) -> str:
        return json.dumps([status, reason, lab.client.normal(body)], sort_keys=True)

    recorded = sorted(comparable(s["status"], s["reason"], s["body"]) for s in racers)
    assert sorted(comparable(*answer) for answer in answers) == recorded
    won = next(body for status, _, body in answers if status == 200)
    lab.client.learn(samples[2]["body"], won)
    found = [text for n in (3, *range(5, 12)) for text in _differences(lab, samples[n])]
    assert not found, "\n".join(found)


def test_the_recordings_are_all_replayed() -> None:
    """What is covered is said here, so that nothing drops out unseen."""
    assert {path.stem: len(replay.recordings(path.stem)) for path in DATA.glob("*.json")} == COVERED
    assert set(SCENARIOS) == set(COVERED)
    assert sum(COVERED.values()) == 452
