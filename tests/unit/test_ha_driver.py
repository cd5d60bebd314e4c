"""A cluster as one target: what its nodes say becomes one state, and changes go from node to node in a safe order."""

from typing import Any

import pytest
from unit.clustered import ADDRESSES, HOME, Nodes, moved, read, wanted

from smbplan.drivers import ha, ha_nodes
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, Asleep, ChannelError, TakenOver
from smbplan.drivers.turn import Claim


def test_nobody_is_no_cluster() -> None:
    assert read(Nodes().cluster("n1", "n2")) is None


def test_what_the_nodes_say_is_one_state() -> None:
    nodes = Nodes("n1", "n2", "n3")
    assert read(nodes.cluster("n1", "n2", "n3")) == wanted("n1", "n2", "n3")
    nodes.words = {"n2": "banned", "n3": "down"}
    assert read(nodes.cluster("n1", "n2", "n3"))["health"] == {"n1": "ok", "n2": "banned", "n3": "down"}
    nodes.settings["n2"] = {**nodes.settings["n2"], "lock": "!other"}
    assert read(nodes.cluster("n1", "n2", "n3"))["health"]["n2"] == "different"


def test_it_is_formed_all_at_once_and_goes_again() -> None:
    nodes = Nodes()
    cluster = nodes.cluster("n1", "n2", "n3")
    assert moved(cluster, None, wanted("n1", "n2", "n3")) == {"ok": None}
    assert nodes.done[0] == "found n1" and {each.split()[0] for each in nodes.done[1:4]} == {"configure"}
    assert {each.split()[0] for each in nodes.done[4:]} == {"power"}
    assert nodes.settings["n2"]["lines"] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert moved(cluster, wanted("n1", "n2", "n3"), None) == {"ok": None}
    assert nodes.settings == {} and nodes.records["ctdb.cluster.files"] is None and nodes.done[-1] == "lost n1"


def test_one_that_leaves_is_drained_first_and_keeps_its_line() -> None:
    nodes = Nodes("n1", "n2", "n3")
    before = wanted("n1", "n2", "n3")
    assert moved(nodes.cluster("n1", "n3"), before, wanted("n1", "n3", state=before)) == {"ok": None}
    assert nodes.done[:3] == ["drain n2", "power n2 off", "restore n2"]
    assert nodes.settings["n1"]["lines"] == ["10.0.0.1", "#10.0.0.2", "10.0.0.3"]
    assert "command n1" in nodes.done, "the nodes are read anew"
    again = read(nodes.cluster("n1", "n3"))
    assert (again["next"], set(again["nodes"])) == (3, {"n1", "n3"})
    assert moved(nodes.cluster("n1", "n3", "n4"), again, wanted("n1", "n3", "n4", state=again)) == {"ok": None}
    assert nodes.settings["n4"]["lines"] == ["10.0.0.1", "#10.0.0.2", "10.0.0.3", "10.0.0.4"]


def test_one_that_is_dead_can_leave() -> None:
    nodes = Nodes("n1", "n2", "n3")
    nodes.dead = {"n2"}
    before = wanted("n1", "n2", "n3")
    answer = moved(nodes.cluster("n1", "n3"), before, wanted("n1", "n3", state=before))
    assert answer["warnings"] == ["n2 was not reached: before it starts again, `systemctl disable ctdb` there"]
    assert nodes.settings["n1"]["lines"] == ["10.0.0.1", "#10.0.0.2", "10.0.0.3"]


def test_what_ctdbd_reads_at_its_start_restarts_one_after_the_other_the_leader_last() -> None:
    nodes = Nodes("n1", "n2", "n3")
    before = wanted("n1", "n2", "n3")
    assert moved(nodes.cluster("n1", "n2", "n3"), before, {**before, "leader_timeout": 5}) == {"ok": None}
    moves = [each for each in nodes.done if each.startswith(("drain", "restart"))]
    assert moves == [f"{verb} {name}" for name in ("n2", "n3", "n1") for verb in ("drain", "restart")]


def test_tunables_and_addresses_restart_nothing() -> None:
    nodes = Nodes("n1", "n2", "n3")
    before = wanted("n1", "n2", "n3")
    after = {**before, "tunables": {"KeepaliveLimit": 5}, "addresses": ["192.0.2.62/24"]}
    assert moved(nodes.cluster("n1", "n2", "n3"), before, after) == {"ok": None}
    assert not [each for each in nodes.done if each.startswith(("restart", "power"))]
    assert {"tune n1", "tune n2", "tune n3", "command n1"} <= set(nodes.done)


def test_another_lock_stops_them_all_first() -> None:
    nodes = Nodes("n1", "n2", "n3")
    before = wanted("n1", "n2", "n3")
    assert moved(nodes.cluster("n1", "n2", "n3"), before, {**before, "lock": "!other"}) == {"ok": None}
    powered = [each.split(" ", 2)[2:] for each in nodes.done if each.startswith("power")]
    assert powered == [["off"]] * 3 + [[]] * 3


def test_of_hosts_that_nodes_tell_of_none_is_touched() -> None:
    nodes = Nodes("n1", "n2", "n3")
    nodes.names |= {"vault": ADDRESSES["n2"]}
    del nodes.names["n2"]
    cluster = nodes.cluster("n1", "n3")
    now = read(cluster)
    assert set(now["nodes"]) == {"n1", "vault", "n3"}
    assert moved(cluster, now, wanted("n1", "n3", state=now))["ok"] is None
    assert not [each for each in nodes.done if "vault" in each or "n2" in each]
    nodes.records = {"file.x": {"address": "file.x", "key": ["file", "/etc/crontab"]}}
    assert cluster.request("read", site="s", keys=[])["records"] == {}


def test_a_node_that_is_not_there_yet_joins_those_that_are() -> None:
    nodes = Nodes("n1", "n2", "n3")
    nodes.absent = {"n4"}
    cluster = nodes.cluster("n1", "n2", "n3", "n4")
    before = read(cluster)
    assert set(before["nodes"]) == {"n1", "n2", "n3"}
    nodes.absent = set()
    assert moved(cluster, before, wanted("n1", "n2", "n3", "n4", state=before)) == {"ok": None}
    nodes.absent = {"n1", "n2", "n3", "n4"}
    with pytest.raises(Absent):
        read(nodes.cluster("n1", "n2", "n3", "n4"))


def test_going_back_one_that_was_ill_may_stay_so() -> None:
    nodes = Nodes("n1", "n2", "n3")
    nodes.words = {"n2": "partially-online"}
    now = read(nodes.cluster("n1", "n2", "n3"))
    back = {**now, "addresses": ["192.0.2.99/24"], "health": None}
    assert moved(nodes.cluster("n1", "n2", "n3"), {**now, "health": None}, back) == {"ok": None}
    assert nodes.waits == {"n1", "n3"}


def test_a_cluster_that_somebody_has_changed_is_left_alone() -> None:
    nodes = Nodes("n1", "n2", "n3")
    before = {**wanted("n1", "n2", "n3"), "leader_timeout": 9}
    answer = moved(nodes.cluster("n1", "n2", "n3"), before, {**before, "leader_timeout": 5})
    assert answer["untouched"] and nodes.done == []


def test_the_way_in_is_by_a_healthy_node() -> None:
    def entered(nodes: Nodes) -> str:
        members = {name: Endpoint(name, host=name).as_json() for name in ("n1", "n2", "n3")}
        hosts: list[str] = []

        def connect(endpoint: Endpoint, counts: Counts) -> Channel:
            hosts.append(endpoint.host)
            made = nodes.connect(endpoint, counts)
            made.endpoint = Endpoint(endpoint.host, home=endpoint.home)
            return made

        ha_nodes.enter(Endpoint("files", home=HOME, of="@ha:files"), members, Counts(), connect)
        return hosts[-1]

    nodes = Nodes("n1", "n2", "n3")
    assert entered(nodes) == "n1"
    nodes.dead, nodes.words = {"n1"}, {"n2": "banned"}
    assert entered(nodes) == "n3"
    nodes.words["n3"] = "down"
    with pytest.raises(Asleep, match="no node of cluster files serves"):
        entered(nodes)
    nodes.dead = {"n1", "n2", "n3"}
    with pytest.raises(ChannelError, match="no answer from the host"):
        entered(nodes)


def led(cluster: ha.Ha, before: Any, after: Any) -> Any:
    record = {"address": "ctdb.winbind.files", "key": ["led", "files"]} if after else None
    op = {"type": "led", "name": "files", "before": before, "after": after, "record": record}
    (answer,) = cluster.request("perform", site="s", run="r", ops=[{**op, "address": "ctdb.winbind.files"}])
    return answer


def test_winbindd_is_watched_on_all_nodes_or_on_none() -> None:
    nodes = Nodes("n1", "n2", "n3")
    cluster, everywhere = nodes.cluster("n1", "n2", "n3"), {"nodes": ["n1", "n2", "n3"]}
    assert led(cluster, None, everywhere) == {"ok": None}
    assert nodes.done == ["lead n1", "lead n2", "lead n3"]
    nodes.led.discard("n2")
    answer = cluster.request("read", site="s", keys=[["ctdb", "files", {}], ["led", "files", {}]])
    assert answer["states"][1] == ["led", "files", {"state": {"nodes": ["n1", "n3"]}}]
    assert led(cluster, {"nodes": ["n1", "n3"]}, everywhere) == {"ok": None}
    assert led(cluster, everywhere, None) == {"ok": None}
    assert (nodes.led, nodes.records["ctdb.winbind.files"]) == (set(), None)


def test_what_somebody_else_has_had_watched_is_left_alone() -> None:
    nodes = Nodes("n1", "n2")
    nodes.led = {"n1", "n2"}
    answer = led(nodes.cluster("n1", "n2"), None, {"nodes": ["n1"]})
    assert answer["untouched"] and answer["error"]["hint"] == "make a new plan"


@pytest.mark.parametrize("call", ["restart", "winbind"])
def test_services_restart_on_one_node_after_the_other(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes("n1", "n2", "n3")
    monkeypatch.setattr(ha, "NOTICED", 0.0)
    nodes.dead = {"n2"}
    ask = nodes.ask
    monkeypatch.setattr(nodes, "ask", lambda name, do, words: nodes.done.append(f"{do} {name}") or ask(name, do, words))
    cluster = nodes.cluster("n1", "n2", "n3")
    answer = cluster.request("everywhere", site="s", run="r", op={"call": call})
    assert answer == {"ok": None}
    assert nodes.done[3:] == [f"{call} n1", "wait n1", f"{call} n3", "wait n3"]
    nodes.dead, nodes.done = set(), []
    nodes.broken = {"n2"}
    answer = cluster.request("everywhere", site="s", run="r", op={"call": call})
    assert answer["error"]["summary"] == "smbd does not start" and f"{call} n3" not in nodes.done


def test_what_all_nodes_do_at_once_is_nothing_for_a_run_that_was_taken_over() -> None:
    nodes = Nodes("n1", "n2")
    cluster = nodes.cluster("n1", "n2")
    cluster.lock(Claim("s", "r", "alice", 1.0, "token"))
    assert cluster.request("everywhere", site="s", run="r", op={"call": "reload"}) == {"ok": None}
    assert nodes.tokens == {"n1": "token", "n2": "token"}
    nodes.taken = {"n2"}
    with pytest.raises(TakenOver):
        cluster.request("everywhere", site="s", run="r", op={"call": "reload"})


def refusal(cluster: ha.Ha) -> str:
    answer = cluster.request("read", site="s", keys=[["ctdb", "files", {}]])
    ((_, _, found),) = answer["states"]
    return str(found["error"]["summary"])


def test_a_host_with_a_ctdb_of_its_own_is_left_alone() -> None:
    nodes = Nodes("n1", "n2")
    nodes.foreign = {"n3"}
    cluster = nodes.cluster("n1", "n2", "n3")
    assert refusal(cluster) == "n3 has a CTDB of its own already"
    answer = moved(cluster, wanted("n1", "n2"), wanted("n1", "n2", "n3"))
    assert answer["untouched"] and nodes.done == []


def test_notes_of_a_cluster_on_other_hosts_are_left_alone() -> None:
    nodes = Nodes("n1", "n2")
    cluster = nodes.cluster("n3", "n4")
    assert refusal(cluster) == f"{HOME} belongs to a cluster of n1, n2, on other hosts"
    assert moved(cluster, None, wanted("n3", "n4"))["untouched"] and nodes.done == []
    nodes.settings = {}
    assert read(nodes.cluster("n1", "n2")) is None, "the same hosts, set up anew"


def test_a_node_that_was_taken_out_while_it_was_dead_comes_back_as_new() -> None:
    nodes = Nodes("n1", "n2", "n3")
    nodes.dead = {"n2"}
    before = wanted("n1", "n2", "n3")
    moved(nodes.cluster("n1", "n3"), before, wanted("n1", "n3", state=before))
    nodes.dead, nodes.done = set(), []
    nodes.words["n2"] = "disconnected"
    cluster = nodes.cluster("n2", "n1", "n3")
    now = read(cluster)
    assert set(now["nodes"]) == {"n1", "n3"}, "what the healthy nodes say counts"
    assert moved(cluster, now, wanted("n1", "n3", "n2", state=now)) == {"ok": None}
    assert nodes.done[:3] == ["power n2 off", "restore n2", "found n1"]
    assert nodes.settings["n1"]["lines"] == ["10.0.0.1", "#10.0.0.2", "10.0.0.3", "10.0.0.2"]


def test_going_back_restarts_do_not_wait_for_what_was_ill_before() -> None:
    nodes = Nodes("n1", "n2", "n3")
    nodes.words["n2"] = "unhealthy"
    before = wanted("n1", "n2", "n3")
    changed = {**before, "leader_timeout": 5}
    cluster = nodes.cluster("n1", "n2", "n3")
    assert moved(cluster, {**changed, "health": None}, {**before, "health": None}) == {"ok": None}
    assert moved(cluster, before, {**changed, "health": None}) == {"ok": None}
    assert "restart n2" in nodes.done and nodes.waits == {"n1", "n3"}


def test_an_undo_that_was_cut_short_before_anybody_served_goes_on() -> None:
    nodes = Nodes("n1", "n2", "n3")
    before = {**wanted("n1", "n2", "n3"), "health": None}
    nodes.words, nodes.settings["n2"] = dict.fromkeys(ADDRESSES, "down"), None
    assert moved(nodes.cluster("n1", "n2", "n3"), None, before) == {"ok": None}
    assert {"configure n2", "power n1", "power n2", "power n3"} <= {*nodes.done}
    assert nodes.waits == {"n1", "n2", "n3"}, "what the cluster serves is undone next"


def test_nothing_for_an_undo_stays_on_nodes_that_were_asked() -> None:
    nodes = Nodes("n1", "n2")
    cluster = nodes.cluster("n1", "n2")
    read(cluster)
    cluster.request("finish", site="s", run="r", everything=True)
    assert sorted(nodes.done) == ["finish n1", "finish n2"]


def test_it_tells_of_runs_that_nobody_has_ended() -> None:
    nodes = Nodes("n1", "n2")
    nodes.left = {"unfinished": [{"run": "r", "begun": True}], "lease": None}
    facts = nodes.cluster("n1", "n2").request("read", site="s", keys=[])["facts"]
    assert facts == {"filesystem": "ceph", **nodes.left}
