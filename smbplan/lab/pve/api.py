"""The whole API: importing this fills the table of calls."""

import importlib

from smbplan.lab.pve.routing import ROUTES

for name in (
    "access",
    "access_rights",
    "backup",
    "cluster",
    "lxc_config",
    "lxc_create",
    "lxc_destroy",
    "lxc_more",
    "lxc_power",
    "nodes",
    "pools",
    "storage_api",
    "vzdump",
):
    importlib.import_module(f"smbplan.lab.pve.{name}")
__all__ = ["ROUTES"]
