"""Guests that something else works on: Proxmox refuses to change them, which leaves nothing to undo."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.pve.gateways import Gateways, defined
from unit.pve.test_gateways import BOX

from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import Locked
from smbplan.drivers.pve.setter import Setter
from smbplan.engine.step import Call, Status, Step
from smbplan.kinds.guest import CLUSTER

pytestmark = pytest.mark.usefixtures("requests_follow_the_published_schema")


@contextmanager
def locked(gateways: Gateways) -> Iterator[None]:
    """By a backup, say."""
    conf = gateways.lab.site.root / "nodes/pve1/lxc/100.conf"
    text = conf.read_text()
    conf.write_text(f"{text}lock: backup\n")
    yield
    assert conf.read_text() == f"{text}lock: backup\n", "nothing was changed"
    conf.write_text(text)


def test_a_change_that_a_lock_keeps_from_beginning_needs_no_undo(gateways: Gateways) -> None:
    gateways.apply(defined())
    steps = gateways.plan(defined(cores=1)).steps
    with locked(gateways):
        done = gateways.run(steps)
    assert (done.name, done.statuses[BOX]) == ("rolled_back", Status.CANCELLED)
    assert done.problems[0].summary == "Proxmox: CT is locked (backup)"
    assert "backup has ended" in done.problems[0].hint
    gateways.apply(defined(cores=1))


def test_nothing_is_stranded_by_an_undo_that_would_meet_the_same_lock(gateways: Gateways) -> None:
    """A plain refusal was told as what only a person can repair."""
    gateways.apply(defined())
    record = gateways.fleet.read(CLUSTER, {})[0].records[BOX].as_json()
    forget, remember = Call("forget", {"address": BOX}), Call("remember", {"record": record})
    with locked(gateways):
        done = gateways.run((Step("forget", BOX, CLUSTER, "", forget, remember),))
    assert (done.name, done.statuses["forget"], done.stranded) == ("rolled_back", Status.CANCELLED, [])


def test_one_that_is_locked_in_the_midst_of_a_change_is_not_untouched(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in another pool by then, or has lines in its configuration that no API call sets."""
    gateways.lab.pool("one", "")
    gateways.apply(defined())
    real = Client.put

    def put(self: Client, path: str, /, **params: Any) -> Any:
        if path == "pools":
            return real(self, path, **params)
        with locked(gateways):
            return real(self, path, **params)

    made = gateways.plan(defined(cores=1, pool="one")).steps
    monkeypatch.setattr(Client, "put", put)
    assert gateways.run(made).statuses[BOX] is not Status.CANCELLED
    there = gateways.cluster
    guest, client = there.guests.find()["box"], there.guests.client
    assert not client.changed
    nodes = cast(Any, SimpleNamespace(raw=lambda *_: None))
    with pytest.raises(Locked):
        Setter(there.guests, nodes, "box", guest)._raw([], ["lxc.mount.entry: /a b none bind 0 0"])
    assert client.changed
