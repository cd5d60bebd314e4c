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
    "mapping",
    "nodes",
    "pools",
    "qemu_agent",
    "qemu_clone",
    "qemu_config",
    "qemu_create",
    "qemu_destroy",
    "qemu_migrate",
    "qemu_more",
    "qemu_snapshot",
    "qemu_power",
    "storage_api",
    "vzdump",
):
    importlib.import_module(f"smbplan.lab.pve.{name}")
__all__ = ["ROUTES"]
