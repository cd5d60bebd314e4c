"""A proof of service finds where smbd listens, and waits while the server is short of something."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from smbplan.drivers.agent import samba


class StatusError(Exception):
    """As Samba's own NTSTATUSError: a code, signed or not, and its words."""


def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samba.time, "sleep", lambda seconds: None)
    answers: list[object] = [StatusError(0xC0000017, "no memory"), StatusError(0xC0000205 - 2**32, "busy"), "there"]

    def connect() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert samba.patiently(connect) == "there"


@pytest.mark.parametrize("error", [StatusError(0xC000006D, "logon failure"), OSError("no route"), StatusError()])
def test_what_is_no_shortage_is_told_at_once(error: Exception) -> None:
    tries = []

    def connect() -> None:
        tries.append(1)
        raise error

    with pytest.raises(type(error)):
        samba.patiently(connect)
    assert len(tries) == 1


def test_one_that_stays_busy_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samba, "PATIENCE", 0.0)
    with pytest.raises(StatusError, match="no memory"):
        samba.patiently(lambda: (_ for _ in ()).throw(StatusError(0xC0000017, "no memory")))


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0A00000A:01BD 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:01BD 0100007F:C350 06 00000000:00000000 03:00000100 00000000     0        0 0 3 0
   2: 0100007F:101D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
"""


class Kernel:
    """Its tables of connections, and a clock that goes on while somebody sleeps. proc_net_tcp(5)"""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, opens: float) -> None:
        self.now, self.reads, self._opens = 1000.0, 0, opens
        samba._listening.cache_clear()
        monkeypatch.setattr(samba, "read_text", self._table)
        monkeypatch.setattr(samba, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep))

    def _table(self, path: Path) -> str:
        self.reads += 1
        return TABLE if path.name == "tcp" and self.now >= self._opens else TABLE.replace(":01BD 0000", ":1010 0000")

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


def test_where_smbd_listens_is_not_looked_up_for_each_of_a_thousand_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, door = Kernel(monkeypatch, opens=0.0), samba.Door()
    assert {door.address() for _ in range(1000)} == {"10.0.0.10"}  # whoever connects to it otherwise is no listener
    assert kernel.reads == 2  # one for each family
    kernel.now += 0.2
    door.address()
    assert kernel.reads == 4


def test_smbd_that_starts_is_waited_for_and_one_that_does_not_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel(monkeypatch, opens=1003.0)
    assert samba.Door().address() == "10.0.0.10" and 3.0 <= kernel.now - 1000 < 3.5
    kernel, door = Kernel(monkeypatch, opens=5000.0), samba.Door()
    assert door.address() == "127.0.0.1" and kernel.now - 1000 >= samba.LISTEN
    waited = kernel.now
    for _ in range(1000):
        assert door.address() == "127.0.0.1"
    assert kernel.now == waited
