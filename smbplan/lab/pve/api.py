"""The whole API: importing this fills the table of calls."""

from smbplan.lab.pve import (
    access,
    access_rights,
    backup,
    cluster,
    lxc_config,
    lxc_create,
    lxc_destroy,
    lxc_more,
    lxc_power,
    nodes,
    pools,
    storage_api,
    vzdump,
)
from smbplan.lab.pve.routing import ROUTES

MODULES = (
    access,
    access_rights,
    backup,
    cluster,
    lxc_config,
    lxc_create,
    lxc_destroy,
    lxc_more,
    lxc_power,
    nodes,
    pools,
    storage_api,
    vzdump,
)
__all__ = ["MODULES", "ROUTES"]
