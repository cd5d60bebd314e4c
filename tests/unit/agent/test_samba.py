"""What a proof of service makes of a server that is short of something: for a moment, it waits."""

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
