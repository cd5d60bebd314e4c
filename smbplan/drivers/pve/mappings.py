"""Directory mappings of a cluster. Their descriptions carry our marks. `/cluster/mapping/dir`, Proxmox VE 8.4"""

from typing import Any

from smbplan.drivers.pve import config
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError

OURS = "smbplan "  # before the mark


class Mappings:
    def __init__(self, client: Client) -> None:
        self._client = client

    def every(self) -> dict[str, dict[str, Any]]:
        """{id: state} of those that we may see; none where Proxmox doesn't know such things. Raises ApiError."""
        try:
            rows = self._client.get("cluster/mapping/dir")
        except ApiError as error:
            if error.status == 501:
                return {}
            raise
        return {row["id"]: self._state(row) for row in rows}

    @staticmethod
    def _state(row: dict[str, Any]) -> dict[str, Any]:
        places = (config.properties(text) for text in row.get("map") or ())
        words = str(row.get("description", "")).strip()
        mark = config.unsealed(words.removeprefix(OURS), row["id"]) if words.startswith(OURS) else None
        return {"mark": mark, "nodes": {pairs.get("node", ""): pairs.get("path", "") for pairs in places}}
