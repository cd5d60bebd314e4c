"""Every example is valid, and expands and plans to exactly what its golden file says."""

from pathlib import Path
from typing import Any

import pytest
from unit import golden
from unit.simulated import Notes, World

from smbplan import templates
from smbplan.engine import plan as planning
from smbplan.engine.execute import Execution
from smbplan.engine.kind import Options
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Live
from smbplan.kinds import expand, kinds
from smbplan.report import document
from smbplan.spec.load import load

EXAMPLES = sorted(path for path in templates.data("examples").iterdir() if path.is_dir())
each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)


def planned(path: Path, world: World) -> Plan:
    site = load(path).site
    return planning.build(
        site.site, expand(site), dict.fromkeys(site.gateways, Live()) | world.live(), kinds(), Options()
    )


@each_example
def test_resources_and_plan(path: Path) -> None:
    site = load(path).site
    resources = [[item.address, item.target, *item.key, item.unit, *item.after] for item in expand(site)]
    made: dict[str, Any] = document.plan(planned(path, World()), kinds(), {})
    for name in ("spec_digest", "live_digest", "endpoints"):
        del made[name]
    assert made["refused"] == []
    golden.check_json(f"plan/{path.name}.json", {"resources": resources, **made})


@each_example
def test_a_second_plan_is_empty(path: Path) -> None:
    world = World()
    assert Execution(planned(path, world).steps, world, Notes()).run().name == "applied"
    second = document.plan(planned(path, world), kinds(), {})
    count = len(expand(load(path).site))
    assert (second["changes"], second["steps"], second["summary"]["unchanged"]) == ([], [], count)


def test_there_are_examples_and_no_stray_golden_files() -> None:
    found = {path.stem for path in (golden.FOLDER / "plan").glob("*.json")}
    assert found == {path.name for path in EXAMPLES} != set()
