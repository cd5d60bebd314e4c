"""A gateway that waits for its domain: with its local accounts, as if it were in none."""

from collections.abc import Iterable

from smbplan.spec.model import Access, Share, Site

WORDS = "no controller of its domain answers: local accounts alone serve until one does (fallback: local)"
NOBODY = "nobody"  # has no password in Samba: a list that loses everybody must not become no list


def standing(site: Site, gateways: Iterable[str]) -> Site:
    """The site with these gateways in no domain, and without the domain's accounts in their lists."""
    alone = set(gateways)
    found = {
        name: gateway.model_copy(update={"domain": None, "aliases": []}) if name in alone else gateway
        for name, gateway in site.gateways.items()
    }
    shares = {name: _local(share) if share.gateway in alone else share for name, share in site.shares.items()}
    return site.model_copy(update={"gateways": found, "shares": shares})


def _local(share: Share) -> Share:
    access = share.access
    lists = {
        level: [name for name in getattr(access, level) if "\\" not in name]
        for level in ("read", "write", "admin", "deny")
    }
    if access.granted and not any(lists[level] for level in ("read", "write", "admin")):
        lists["read"] = [NOBODY]
    return share.model_copy(update={"access": Access(**lists)})
