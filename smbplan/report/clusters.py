"""What a person types on the nodes of a cluster when smbplan could not finish. ctdb(1)"""

import shlex
from typing import Any

from smbplan.engine.step import Move

OURS = "/etc/ctdb/nodes /etc/ctdb/public_addresses /etc/ctdb/events/legacy/{49.winbind,50.samba,06.smbplan}.script"
PACKAGED = "ctdb.conf ctdb.tunables script.options"
KEPT = "/var/lib/smbplan/ctdb"


def commands(op: Move) -> list[str]:
    """Each with the node to type it on."""
    before, after = op.before or {"nodes": {}}, op.after
    if after is None:
        return [line for node in before["nodes"] for line in _out(node)]
    gone = [node for node in before["nodes"] if node not in after["nodes"]]
    return [line for node in gone for line in _out(node)] + _settings(before, after)


def _out(node: str) -> list[str]:
    return [
        f"{node}# systemctl disable --now ctdb; systemctl stop smbd",
        f"{node}# for file in {PACKAGED}; do mv {KEPT}/$file /etc/ctdb/; done",
        f"{node}# rm -rf {OURS} /etc/systemd/system/{{ctdb,smbd}}.service.d /var/lib/ctdb/*/*",
        f"{node}# systemctl daemon-reload",
    ]


def _settings(before: Any, after: Any) -> list[str]:
    """The files of every node, one after the other, so that the others serve meanwhile."""
    lines = [""] * after["next"]
    for node in [*before["nodes"].values(), *after["nodes"].values()]:
        lines[node["number"] :] = [node["address"], *lines[node["number"] + 1 :]]
    wanted = {node["number"] for node in after["nodes"].values()}
    text = "".join(f"{'' if number in wanted else '#'}{line}\\n" for number, line in enumerate(lines))
    tunables = " ".join(f"{name}={value}" for name, value in after["tunables"].items())
    found = []
    for node in after["nodes"]:
        found += [
            f"{node}# printf {shlex.quote(text)} >/etc/ctdb/nodes",
            f"{node}# editor /etc/ctdb/public_addresses  # {' '.join(after['addresses'])}, each with its interface",
            f"{node}# editor /etc/ctdb/ctdb.conf  # cluster lock = {after['lock']}, "
            f"leader timeout = {after['leader_timeout']}",
            f"{node}# editor /etc/ctdb/ctdb.tunables  # {tunables}",
        ]
    first = next(iter(after["nodes"]))
    restarts = [f"{node}# systemctl enable ctdb; systemctl restart ctdb; ctdb status" for node in after["nodes"]]
    return [*found, f"{first}# ctdb reloadnodes", *restarts]


def led(op: Move) -> list[str]:
    """winbindd under CTDB on these nodes, or not any more."""
    on = op.after is not None
    verbs = ("systemctl start winbind smbd; ", "enable") if on else ("systemctl stop winbind; ", "disable")
    scripts = ("49.winbind", "50.samba") if on else ("49.winbind",)
    lines = [f"ctdb event script {verbs[1]} legacy {script}" for script in scripts]
    return [f"{node}# {verbs[0]}{'; '.join(lines)}" for node in (op.after or op.before)["nodes"]]


RENDER = {"ctdb": commands, "led": led}
