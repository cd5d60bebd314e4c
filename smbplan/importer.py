"""`import`: what a host serves now, as definitions that `apply --adopt` can take over without a change in service."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.targets import Connect
from smbplan.errors import Refused, Trouble
from smbplan.kinds import reverse
from smbplan.kinds.reverse import Around
from smbplan.spec import write
from smbplan.spec.base import Ssh
from smbplan.spec.check import DANGEROUS, MANAGED, check
from smbplan.spec.model import Site
from smbplan.spec.presets import filled

Left = dict[str, str]  # share: why it stays as it is


def read(endpoint: Endpoint, name: str, connect: Connect = Channel) -> str:
    """The YAML of a site with this host as its gateway `name`. Changes nothing there. Raises Refused."""
    channel = connect(endpoint, Counts())
    try:
        survey = channel.request("config")
    except ChannelError as error:
        raise Refused(Trouble(error.summary, error.hint, error.detail, f"gateway.{name}")) from None
    finally:
        channel.close()
    data, left = definitions(endpoint, name, survey)
    return write.text(data, list(_comments(endpoint, data, left)))


def definitions(endpoint: Endpoint, name: str, survey: Mapping[str, Any]) -> tuple[dict[str, Any], Left]:
    """The site's definitions, and the shares that are not in them. Pure. Raises Refused."""
    _problems(_site(endpoint, name, {}), {})
    found = dict(survey)
    shares: Mapping[str, Mapping[str, str]] = found.pop("shares")
    for key in ("users", "groups", "copied", "varying"):
        found[key] = frozenset(found[key])
    around = Around(**found)
    left = {share: why for share, live in shares.items() if (why := reverse.reason(share, live, around))}
    made: dict[str, dict[str, Any]] = {}
    for share, live in shares.items():
        if share not in left:
            key = _key(share, made)
            made[key] = reverse.definition(name, key, share, live, around)
    while True:
        data = _site(endpoint, name, made)
        bad = _problems(data, made)
        if not bad:
            return data, left
        for key, why in bad.items():
            left[made[key].get("name", key)] = why
            del made[key]


def _problems(data: Mapping[str, Any], made: Mapping[str, Any]) -> Left:
    """The shares that can't be defined like this. Raises Refused for all else."""
    try:
        problems = check(
            Site.model_validate(filled(dict(data))), lambda path, key=False: (".".join(map(str, path)), 0, 0)
        )
    except ValidationError as error:
        words = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise Refused(*(Trouble(text, "choose another name for the gateway") for text in words)) from None
    bad = {}
    for problem in problems:
        section, _, rest = problem.file.partition(".")
        key = rest.split(".")[0]
        if section != "shares" or key not in made:
            raise Refused(Trouble(problem.summary, problem.hint))
        bad[key] = problem.summary
    return bad


def _key(name: str, taken: Mapping[str, Any]) -> str:
    """A key that YAML and addresses can hold, for any name."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:60] or "share"
    key, number = stem, 1
    while key.lower() in {other.lower() for other in taken}:
        number += 1
        key = f"{stem[:57]}-{number}"
    return key


def _site(endpoint: Endpoint, name: str, shares: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    shares = _overlapping(shares)
    named = sorted({who for share in shares.values() for who in reverse.principals(share)})
    data: dict[str, Any] = {"version": 1, "site": name, "gateways": {name: _gateway(endpoint, name, shares)}}
    users = {who: {"external": True} for who in named if who[0] != "@"}
    groups = {who[1:]: {"external": True} for who in named if who[0] == "@"}
    data |= {key: value for key, value in (("users", users), ("groups", groups), ("shares", shares)) if value}
    return data


def _gateway(endpoint: Endpoint, name: str, shares: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"connection": "local"} if endpoint.local else {}
    if endpoint.host and endpoint.host != name and not endpoint.local:
        found["host"] = endpoint.host
    told = {key: getattr(endpoint, key) for key in Ssh.model_fields}
    ssh = {key: value for key, value in told.items() if value != getattr(Ssh(), key)}
    if ssh and not endpoint.local:
        found["ssh"] = ssh
    found["discovery"] = False
    if roots := _roots([share["storage"]["directory"] for share in shares.values()]):
        found["roots"] = roots
    if permit := _permit(list(shares.values())):
        found["permit"] = permit
    return found


def _roots(paths: Sequence[str]) -> list[str]:
    parents = sorted({str(PurePosixPath(path).parent) for path in paths})
    return [
        path
        for path in parents
        if not any(path != up and f"{path}/".startswith(f"{up.rstrip('/')}/") for up in parents)
    ]


def _permit(shares: Sequence[Mapping[str, Any]]) -> list[str]:
    """Guests, and the options that are named one by one because they weaken something or have a key of their own."""
    options = sorted({key for share in shares for key in share.get("options", {})})
    named = [key for key in options if key in DANGEROUS or key in MANAGED]
    guests = ["guest"] if any("guest" in share for share in shares) else []
    return [*guests, *(["options"] if options else []), *named]


def _overlapping(shares: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those on or in the path of another one say so."""
    places = {key: f"{share['storage']['directory'].rstrip('/')}/" for key, share in shares.items()}
    found = {}
    for key, share in shares.items():
        others = [place for other, place in places.items() if other != key]
        inside = any(places[key].startswith(place) for place in others)
        found[key] = {**share, "allow_overlap": True} if inside else share
    return found


def _comments(endpoint: Endpoint, data: Mapping[str, Any], left: Left) -> Iterator[str]:
    where = "this machine" if endpoint.local else endpoint.host or endpoint.name
    yield f"Imported from {where}. `smbplan plan --adopt` shows what taking over means;"
    yield "`smbplan apply --adopt` marks the shares as managed from here, and clients notice nothing."
    if not data.get("shares"):
        yield "There is no share that can be taken over."
    if left:
        yield ""
        yield "These stay as they are, outside of smbplan:"
        yield from (f"  [{name}] {why}" for name, why in sorted(left.items()))
