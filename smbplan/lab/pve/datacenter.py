"""datacenter.cfg: options of the cluster, and the rules for tags that follow from them."""

import re
from typing import Any
from urllib.parse import unquote

from smbplan.lab.pve import files, formats, guestconf, schema
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import denied
from smbplan.lab.pve.site import Site

MAC_PREFIX = "BC:24:11"
PROPERTIES = ("tag-style", "user-tag-access", "next-id", "migration")


def load(site: Site) -> dict[str, str]:
    """Options as written."""
    values: dict[str, str] = {}
    description = ""
    for line in files.read(site.root / "datacenter.cfg").splitlines():
        if line.startswith("#"):
            description += unquote(line[1:]) + "\n"
        elif match := re.fullmatch(r"([\w\-]+):\s*(.*?)\s*", line):
            values[match[1]] = match[2]
    if description:
        values["description"] = description
    return values


def store(site: Site, values: dict[str, str]) -> None:
    """The inverse of `load`."""
    lines = [f"#{guestconf.encode(line)}" for line in values.get("description", "").splitlines()]
    lines += [f"{key}: {value}" for key, value in sorted(values.items()) if key != "description"]
    files.write(site.root / "datacenter.cfg", "".join(f"{line}\n" for line in lines))


def option(site: Site, name: str) -> dict[str, str]:
    """A property string of the options, {} if it isn't set."""
    text = load(site).get(name)
    return schema.parse_props(name, text, name) if text else {}


def registered_tags(site: Site) -> list[str]:
    """Tags for which a right on / is needed."""
    return formats.split_list(load(site).get("registered-tags", ""))


def used_tags(site: Site, rights: Rights) -> set[str]:
    """Tags of all guests that the user may see."""
    from smbplan.lab.pve import guests

    found: set[str] = set()
    for _, _, vmid, path in guests.every(site):
        tags = guestconf.parse(files.read(path)).values.get("tags", "")
        if tags and rights.has(f"/vms/{vmid}", ["VM.Audit"]):
            found |= set(formats.split_list(tags))
    return found


def allowed_tags(site: Site, rights: Rights) -> tuple[set[str], bool]:
    """Tags that the user may give and take, and whether any other as well (registered ones apart)."""
    access = option(site, "user-tag-access")
    mode = access.get("user-allow", "free")
    registered = set(registered_tags(site))
    privileged = rights.has("/", ["Sys.Modify"])
    allowed: set[str] = set()
    if mode != "none" or privileged:
        allowed |= set(formats.split_list(access.get("user-allow-list", "")))
    if mode in ("existing", "free") or privileged:
        allowed |= used_tags(site, rights)
    return (allowed | registered if privileged else allowed - registered), mode == "free" or privileged


def check_tags(site: Site, rights: Rights, old: str, new: str) -> None:
    """403 for the first tag that comes or goes without the user being allowed to do that."""
    if rights.has("/", ["Sys.Modify"]):
        return
    changed = set(formats.split_list(old)) ^ set(formats.split_list(new))
    allowed, free = allowed_tags(site, rights)
    registered = registered_tags(site)
    for tag in sorted(changed):
        if tag in registered or not (free or tag in allowed):
            raise denied(f"/, Sys.Modify for modifying tag '{tag}'")


def tidy_tags(site: Site, text: str) -> str:
    """Tags as they are stored: unique, lower-cased and sorted unless the options say otherwise."""
    style = option(site, "tag-style")
    tags = formats.split_list(text)
    if style.get("case-sensitive") != "1":
        tags = [tag.lower() for tag in tags]
    tags = list(dict.fromkeys(tags))
    return ";".join(tags if style.get("ordering") == "config" else sorted(tags))


def shown(site: Site, rights: Rights) -> dict[str, Any]:
    """The options as the API shows them."""
    values: dict[str, Any] = {"mac_prefix": MAC_PREFIX, "description": "", **load(site)}
    for name in PROPERTIES:
        if name in values:
            keys = schema.PROPS[name].keys
            parsed = schema.parse_props(name, values[name], name)
            values[name] = {k: int(v) if keys[k].kind in ("boolean", "integer") else v for k, v in parsed.items()}
    if "user-tag-access" in values and "user-allow-list" in values["user-tag-access"]:
        values["user-tag-access"]["user-allow-list"] = formats.split_list(values["user-tag-access"]["user-allow-list"])
    if "registered-tags" in values:
        values["registered-tags"] = registered_tags(site)
    values["allowed-tags"] = sorted(allowed_tags(site, rights)[0])
    return values
