"""Tasks that end well, with warnings, with an error, or not at all."""

from typing import Any, cast

import pytest

from smbplan.drivers.pve import tasks
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import TaskFailed, Unreachable

UPID = "UPID:pve1:000012B1:0004406B:6B02F01B:vzcreate:130:root@pam:"


class Node:
    """Answers for one task, and a clock that its sleeps move on."""

    def __init__(self, *statuses: str | None, log: tuple[str, ...] = (), stops: bool = True) -> None:
        self.statuses, self.log, self.stops = list(statuses), log, stops
        self.now, self.looks, self.deleted = 0.0, 0, False

    def get(self, path: str, **_: Any) -> Any:
        assert path.startswith(f"nodes/pve1/tasks/{UPID}/")
        if path.endswith("/log"):
            return [{"n": number, "t": line} for number, line in enumerate(self.log, 1)]
        self.looks += 1
        if self.deleted and self.stops:
            return {"status": "stopped", "exitstatus": "interrupted by signal"}
        status = self.statuses.pop(0) if self.statuses else None
        return {"status": "running"} if status is None else {"status": "stopped", "exitstatus": status}

    def delete(self, path: str) -> None:
        assert path == f"nodes/pve1/tasks/{UPID}"
        self.deleted = True

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, timeout: float = 100.0) -> list[str]:
        return tasks.wait(cast(Client, self), UPID, timeout, lambda: self.now, self.sleep)


def test_an_answer_without_a_task_is_done_at_once() -> None:
    assert tasks.wait(cast(Client, Node()), None) == []


def test_looks_become_rarer() -> None:
    node = Node(*[None] * 20, "OK")
    assert node.wait() == []
    assert (node.looks, node.now) == (21, pytest.approx(28.93, abs=0.01))


def test_warnings_are_a_success_that_is_told() -> None:
    lines = ("extracting archive", "WARN: Systemd 252 detected. You may need to enable nesting.", "TASK WARNINGS: 1")
    assert Node(None, "WARNINGS: 1", log=lines).wait() == [lines[1]]
    assert Node("WARNINGS: 2").wait() == ["WARNINGS: 2"]


def test_an_error_quotes_the_end_of_the_log() -> None:
    node = Node("unable to create CT 130", log=tuple(f"line {number}" for number in range(40)))
    with pytest.raises(TaskFailed) as failed:
        node.wait()
    assert failed.value.summary == "task vzcreate on pve1 failed: unable to create CT 130"
    assert failed.value.detail.splitlines() == [f"line {number}" for number in range(28, 40)]


@pytest.mark.parametrize(("stops", "words"), [(True, "was aborted"), (False, "does not stop")])
def test_a_task_that_takes_too_long_is_aborted(stops: bool, words: str) -> None:
    node = Node(stops=stops)
    with pytest.raises(TaskFailed, match=f"longer than 5 s and {words}"):
        node.wait(5.0)
    assert node.deleted


def test_a_task_is_waited_for_while_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """pveproxy is started anew, as by an upgrade: the task goes on meanwhile."""

    class Away(Node):
        def get(self, path: str, **params: Any) -> Any:
            if 1.0 < self.now < 20.0:
                raise Unreachable("nothing answers on that port")
            return super().get(path, **params)

    node = Away(*[None] * 8, "OK")
    assert node.wait() == []
    assert node.now > 20.0
    monkeypatch.setattr(tasks, "AWAY", 10.0)
    with pytest.raises(Unreachable):
        Away(*[None] * 20).wait()
