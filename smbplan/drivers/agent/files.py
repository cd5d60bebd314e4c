"""Files that are wholly ours, and Samba's smb.conf, which may be somebody else's."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from . import registry, sections
from .core import IMAGES, Object, Refused, read_text, rewrite, seal, unseal, write

PACKAGED = "/usr/share/samba/smb.conf"
BLOCK_BEGIN = "# smbplan include, begin: made by smbplan, removed by `smbplan destroy`"
BLOCK_END = "# smbplan include, end"
BLOCK = rf"{re.escape(BLOCK_BEGIN)}\n(?:\[global\]\n)?   include = (.*)\n{re.escape(BLOCK_END)}"
HEADERS = {"xml": ("<!-- smbplan ", " -->"), "#": ("# smbplan ", "")}


def header(path: str) -> tuple[str, str]:
    return HEADERS["xml" if path.endswith((".service", ".xml")) and "/avahi/" in path else "#"]


class File(Object):
    """State: {mark, content, mode}. The mark is a comment in the first line; content is what follows it."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        path = Path(name)
        if path.is_symlink():
            raise Refused(f"{name} is a symbolic link")
        text = read_text(path)
        if text is None:
            return None
        first, _, rest = text.partition("\n")
        begin, end = header(name)
        mark = None
        if first.startswith(begin) and first.endswith(end):
            mark = unseal(first.removeprefix(begin).removesuffix(end), name)
        mode = f"{stat.S_IMODE(path.stat().st_mode):04o}"
        return {"mark": mark, "content": rest if mark else text, "mode": mode}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        path = Path(name)
        if after is None:
            path.unlink()
            if path.parent.name == "smbplan" and not os.listdir(path.parent):
                path.parent.rmdir()  # ours, too
            return
        begin, end = header(name)
        first = f"{begin}{seal(after['mark'], name)}{end}\n" if after.get("mark") else ""
        write(path, first + after["content"], int(after["mode"], 8))


class SmbConf(Object):
    """smb.conf as a whole.

    Ours or replaceable: {mark, content, registry}; what the registry's own [global] sets would win over the content.
    Somebody else's: {foreign, include, globals, dormant}; of that one, only `include` can be set: what a marked line at
    the end of [global] includes, "" for none. It is "registry", too, where Samba reads its registry by itself, and
    `dormant` names what is in there while Samba does not.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        text = sections.read(name)
        if text is None:
            return None
        begin, _ = HEADERS["#"]
        first, _, rest = text.partition("\n")
        mark = unseal(first.removeprefix(begin), name) if first.startswith(begin) else None
        stock = read_text(Path(PACKAGED)) or "?"
        pristine = mark is None and sections.PARKED not in text and settings(text) == settings(stock)
        if mark or pristine:
            content = rest if mark else text
            return {"mark": mark, "content": content, "foreign": False, "include": "", "registry": registry.globals_()}
        found = sections.scan(name, text=_without_block(text))
        include = _included(text) or ("registry" if found.reads_registry() else "")
        return {
            "mark": None,
            "content": "",
            "foreign": True,
            "include": include,
            "globals": found.params()["global"],
            "dormant": [] if include else registry.unmarked(),
        }

    def vacant(self, state: Any) -> bool:
        """Debian's own file, as its package brings it, is nobody's wish."""
        return state is None or (state["mark"] is None and not state["foreign"])

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        path, image = Path(name), f"smbconf:{name}"
        if after is not None and self.vacant(before):
            IMAGES.keep(image, lambda: "" if before is None else before["content"])
        if after is None:
            stock = IMAGES.recall(image) if IMAGES.has(image) else ""
            rewrite(path, stock) if stock else Path(os.path.realpath(path)).unlink()
        elif after["foreign"]:
            text = _without_block(sections.read(name) or "")
            rewrite(path, _with_block(name, text, after["include"]) if after["include"] else text)
        else:
            first = f"# smbplan {seal(after['mark'], name)}\n" if after.get("mark") else ""
            rewrite(path, first + after["content"])
            if after.get("registry") is not None and after["registry"] != registry.globals_():
                registry.set_globals(after["registry"])


def parse(text: str) -> dict[str, dict[str, str]]:
    """Sections of an smb.conf text with their parameters as written; names lower-cased, later ones win."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = found.setdefault("global", {})
    for line in re.sub(r"\\\n", "", text).splitlines():
        words = line.strip()
        if not words or words[0] in "#;":
            continue
        match = re.fullmatch(r"\[\s*(.*?)\s*\]", words)
        if match:
            section = found.setdefault(match[1].lower(), {})
        elif "=" in words:
            name, _, value = words.partition("=")
            section[" ".join(name.split()).lower()] = value.strip()
    return found


def settings(text: str) -> dict[str, dict[str, str]]:
    """What a file sets, but for the workgroup, which Debian's installer fills in."""
    found = parse(text)
    found.get("global", {}).pop("workgroup", None)
    return found


def _included(text: str) -> str:
    match = re.search(rf"^{BLOCK}$", text, re.M)
    return match[1] if match else ""


def _without_block(text: str) -> str:
    """Exactly what was there before the block was added."""
    text = re.sub(rf"\n{BLOCK}\Z", "", text)
    return re.sub(rf"^{BLOCK}\n", "", text, flags=re.M)


def _with_block(name: str, text: str, include: str) -> str:
    """After the last line of [global] that stands before any included section."""
    found = sections.scan(name, True, text)
    ends = [line.first + line.count for line in found.lines if line.file == name and _is_global(line)]
    if not ends:
        return f"{BLOCK_BEGIN}\n[global]\n   include = {include}\n{BLOCK_END}\n{text}"
    rows = text.split("\n")
    block = [BLOCK_BEGIN, f"   include = {include}", BLOCK_END]
    return "\n".join([*rows[: ends[-1]], *block, *rows[ends[-1] :]])


def _is_global(line: sections.Line) -> bool:
    return line.section == "global" and line.owned
