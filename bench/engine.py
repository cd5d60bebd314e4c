"""smbplan, the plan engine alone: shares and folders that are wanted, compared with those that are there, in memory.

python -m bench.engine RESOURCES [drift]     prints the number of changes
python -m bench.engine FOLDER                the same with definitions that are read from there
"""

import gc
import sys
from collections.abc import Callable
from pathlib import Path

from bench import sites
from smbplan.engine import plan
from smbplan.engine.kind import Options
from smbplan.engine.resource import Live, Record, Resource, State
from smbplan.kinds import expand, kinds
from smbplan.spec.load import load
from smbplan.spec.model import Site


def site(shares: int) -> Site:
    one = {"gateway": "files", "comment": sites.COMMENT, "access": {"write": ["@crew"], "read": ["@readers"]}}
    return Site.model_validate(
        {
            "version": 1,
            "site": "bench",
            "gateways": {"files": {"host": "files", "discovery": False}},
            "groups": {"crew": {}, "readers": {}},
            "users": {
                "carol": {"external": True, "groups": ["crew"]},
                "dave": {"external": True, "groups": ["readers"]},
            },
            "shares": {name: {**one, "storage": {"directory": sites.path(name)}} for name in sites.names(shares)},
        }
    )


def state(item: Resource) -> State:
    """As an agent would tell it when all is well."""
    kind = kinds()[item.kind]
    found = kind.complete(item.desired, {}) | ({"empty": False} if item.kind == "directory" else {})
    return {**found, "mark": f"bench/{item.address}"} if kind.marked else found


def changes(found: Callable[[], Site], drift: bool) -> int:
    wanted = list(expand(found()))
    states = {item.key: state(item) for item in wanted}
    records = {item.address: Record.of(item, None) for item in wanted}
    if drift:
        key = next(item.key for item in wanted if item.kind == "directory")
        states[key] = {**states[key], "owner": "daemon"}
    return len(plan.build("bench", wanted, {"files": Live({}, states, records, {})}, kinds(), Options()).changes)


def main() -> None:
    gc.set_threshold(500_000)  # as the command line does
    what = sys.argv[1]
    if what.isdigit():
        print(changes(lambda: site(int(what) // 2), len(sys.argv) > 2))  # a share and its folder are two
    else:
        print(changes(lambda: load(Path(what)).site, False))


if __name__ == "__main__":
    main()
    gc.freeze()  # as the command line does, too
