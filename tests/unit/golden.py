"""Expected texts in files. SMBPLAN_UPDATE_GOLDEN=1 writes them anew; read the difference before committing it."""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "golden"
UPDATE = bool(os.environ.get("SMBPLAN_UPDATE_GOLDEN"))


def check(name: str, text: str) -> None:
    path = FOLDER / name
    if UPDATE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing; SMBPLAN_UPDATE_GOLDEN=1 writes it"
    assert text == path.read_text(encoding="utf-8"), f"differs from {path}"


def check_json(name: str, data: Any) -> None:
    check(name, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
