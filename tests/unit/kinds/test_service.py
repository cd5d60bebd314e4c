"""Units of a guest that is not there yet: what they were before, nobody has seen."""

import pytest
from unit.kinds.sites import CONTAINER, site

from smbplan.kinds import expand, kinds

VOL = {**CONTAINER["shares"]["vol"], "recycle": True}
DATA = {**CONTAINER, "shares": {**CONTAINER["shares"], "vol": VOL}}


@pytest.mark.parametrize(
    ("address", "was"), [("service.vol.recycle", False), ("service.box.smbd", None), ("service.box.apt-daily", None)]
)
def test_a_unit_that_smbplan_writes_was_neither_active_nor_enabled(address: str, was: bool | None) -> None:
    """So that it is stopped and disabled when it goes; one of a package stays as it is."""
    item = next(each for each in expand(site(DATA)) if each.address == address)
    assert kinds()[item.kind].blank(item) == {"active": was, "enabled": was}
