"""What the API hides from a token without an error is not taken for what is there."""

from typing import Any

import pytest

from smbplan.drivers.pve.client import Access, Client
from smbplan.drivers.pve.errors import Denied
from smbplan.drivers.pve.guests import Guests
from smbplan.drivers.pve.templates import UPLOAD, Place, must_take, roomiest


class Answers(Client):
    def __init__(self, **answers: Any) -> None:
        super().__init__(Access("https://pve1:8006", "a@pve!plan", "secret"))
        self.answers = answers

    def _request(self, method: str, path: str, params: dict[str, Any]) -> Any:
        return self.answers[path.rpartition("/")[2]]


@pytest.mark.parametrize(
    "held", [{}, {"/": {"Sys.Audit": 1}}, {"/vms": {"VM.Allocate": 1}}, {"/vmsx": {"VM.Audit": 1}}]
)
def test_who_may_see_no_container_is_not_told_that_there_is_none(held: dict[str, Any]) -> None:
    with pytest.raises(Denied, match=r"^a@pve!plan lacks VM.Audit on /vms$"):
        Guests(Answers(permissions=held, resources=[]), "x").find()


@pytest.mark.parametrize("path", ["/vms", "/vms/100", "/pool/files"])
def test_who_may_see_some_is_told_what_there_is(path: str) -> None:
    assert Guests(Answers(permissions={path: {"VM.Audit": 0}}, resources=[]), "x").find() == {}


def test_the_node_with_most_memory_needs_to_be_seen() -> None:
    rows = [{"node": "pve1", "status": "online"}, {"node": "pve2", "status": "online"}]
    with pytest.raises(Denied, match=r"^a@pve!plan lacks Sys.Audit on /nodes$"):
        roomiest(Answers(nodes=rows))
    seen = [{**row, "maxmem": 8, "mem": used} for row, used in zip(rows, (5, 2), strict=True)]
    assert roomiest(Answers(nodes=seen)) == "pve2"


def test_a_right_that_does_not_hold_below_is_one_where_it_was_given() -> None:
    place = Place("pve1", "local", False)
    must_take(Answers(permissions={"/storage/local": {UPLOAD: 0}}), place)
    with pytest.raises(Denied, match=rf"^a@pve!plan lacks {UPLOAD} on /storage/local$"):
        must_take(Answers(permissions={"/storage/local": {}}), place)
