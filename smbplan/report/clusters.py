"""What a person types on the nodes of a cluster when smbplan could not finish. ctdb(1)"""

from collections.abc import Iterable
from typing import Any

from smbplan.drivers.agent.ctdb_image import NAME
from smbplan.engine.step import Move
from smbplan.report.typed import image, word, words

OURS = "/etc/ctdb/nodes /etc/ctdb/public_addresses /etc/ctdb/events/legacy/{49.winbind,50.samba,06.smbplan}.script"
PACKAGED = "ctdb.conf ctdb.tunables script.options"
KEPT = "/var/lib/smbplan/ctdb"
STARTED = "systemctl is-active -q ctdb || systemctl stop smbd winbind || true; systemctl enable --now ctdb"
SERVING = "timeout 90 sh -c 'until ctdb nodestatus all; do sleep 1; done'"


def commands(op: Move) -> list[str]:
    """Each with the node to type it on."""
    before, after = (op.before or {"nodes": {}})["nodes"], (op.after or {"nodes": {}})["nodes"]
    lines = [line for node in before if node not in after for line in _out(node)]
    staying = [node for node in after if node in before]
    if staying:
        lines += _settings(op.before, op.after, staying)
    return lines + _back([node for node in after if node not in before])


def _out(name: str) -> list[str]:
    node = word(name)
    return [
        f"{node}# systemctl disable --now ctdb; systemctl stop smbd",
        f"{node}# for file in {PACKAGED}; do install -m 644 {KEPT}/$file /etc/ctdb/ && rm {KEPT}/$file; done; "
        f"rmdir {KEPT}",
        f"{node}# rm -rf {OURS} /etc/systemd/system/{{ctdb,smbd}}.service.d /var/lib/ctdb/{{scripts,*/*}}",
        f"{node}# systemctl daemon-reload",
    ]


def _back(names: Iterable[str]) -> list[str]:
    """Nodes that the run has taken out, with what each of them has kept."""
    nodes = _typed_on(names)
    unpacked = f'for kept in {image(NAME)}; do ! test -e "$kept" || base64 -d "$kept" | tar -xzf - -C /; done'
    return [
        *(f"{node}# {unpacked}; systemctl daemon-reload" for node in nodes),
        *(f"{node}# {STARTED}" for node in nodes),
        *(f"{node}# {SERVING}" for node in nodes[:1]),
    ]


def _settings(before: Any, after: Any, staying: Iterable[str]) -> list[str]:
    """The files of every node that stays, one after the other, so that the others serve meanwhile."""
    lines = [""] * int(after["next"])
    for node in [*before["nodes"].values(), *after["nodes"].values()]:
        lines[node["number"] :] = [node["address"], *lines[node["number"] + 1 :]]
    wanted = {node["number"] for node in after["nodes"].values()}
    text = "".join(f"{'' if number in wanted else '#'}{line}\\n" for number, line in enumerate(lines))
    tunables = words(f"{name}={value}" for name, value in after["tunables"].items())
    found, nodes = [], _typed_on(staying)
    for node in nodes:
        found += [
            f"{node}# printf {word(text)} >/etc/ctdb/nodes",
            f"{node}# editor /etc/ctdb/public_addresses  # {words(after['addresses'])}, each with its interface",
            f"{node}# editor /etc/ctdb/ctdb.conf  # cluster lock = {word(after['lock'])}, "
            f"leader timeout = {word(after['leader_timeout'])}",
            f"{node}# editor /etc/ctdb/ctdb.tunables  # {tunables}",
        ]
    restarts = [f"{node}# systemctl enable ctdb; systemctl restart ctdb; ctdb status" for node in nodes]
    return [*found, f"{nodes[0]}# ctdb reloadnodes", *restarts]


def led(op: Move) -> list[str]:
    """winbindd under CTDB on these nodes, or not any more."""
    on = op.after is not None
    verbs = ("systemctl start winbind smbd; ", "enable") if on else ("systemctl stop winbind; ", "disable")
    scripts = ("49.winbind", "50.samba") if on else ("49.winbind",)
    lines = [f"ctdb event script {verbs[1]} legacy {script}" for script in scripts]
    return [f"{node}# {verbs[0]}{'; '.join(lines)}" for node in _typed_on((op.after or op.before)["nodes"])]


def _typed_on(names: Iterable[str]) -> list[str]:
    return [word(name) for name in names]


RENDER = {"ctdb": commands, "led": led}
