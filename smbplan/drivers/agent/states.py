"""How things are: the states of objects, many of them found by children of the agent."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Iterable, Iterator, Mapping

from .accounts import Group, Password, User
from .children import MANY, Child
from .clock import Clock
from .controllers import Controllers
from .core import LOCAL, STATE, Object, Refused, is_booting, is_node
from .files import File, SmbConf
from .filesystem import FileSystem
from .inventory import PATH, Inventory
from .member import Member
from .naming import Hosts, NameService, Resolver
from .principals import Principals
from .pve import SubId, View
from .shares import Share
from .storage import Dataset, Directory, Subvolume
from .system import Packages, Service

SHARES = Share()
Wanted = Mapping[tuple[str, str], Any]  # {(type, name): options}
Found = list[Any]  # of [type, name, {"state" or "error"}]
WORTH = 200  # shares, or folders, for which a child is
NUMEROUS = ("share", "directory")
LARGE = 50_000  # bytes of an inventory with so many
OBJECTS: dict[str, Object] = {
    "directory": Directory(SHARES.paths),
    "subvolume": Subvolume(SHARES.paths),
    "dataset": Dataset(SHARES.paths),
    "group": Group(),
    "user": User(),
    "password": Password(),
    "file": File(),
    "smbconf": SmbConf(),
    "share": SHARES,
    "packages": Packages(),
    "service": Service(),
    "subid": SubId(),
    "view": View(),
    "filesystem": FileSystem(),
    "controllers": Controllers(),
    "time": Clock(),
    "member": Member(),
    "principals": Principals(),
    "nss": NameService(),
    "hosts": Hosts(),
    "resolver": Resolver(),
}


def words(refused: Refused) -> dict[str, str]:
    return {"summary": refused.summary, "detail": refused.detail, "hint": refused.hint}


def looked(options: Wanted) -> Found:
    """One after the other."""
    states = []
    with _prepared(options):
        for (type_, name), option in options.items():
            try:
                states.append([type_, name, {"state": OBJECTS[type_].get(name, option)}])
            except Refused as refused:
                states.append([type_, name, {"error": words(refused)}])
            except OSError as error:
                states.append([type_, name, {"error": words(Refused(f"{name}: {error.strerror}"))}])
            except RecursionError:  # in what its users have made
                states.append([type_, name, {"error": words(Refused(f"{name}: what lies in it is nested too deeply"))}])
    return states


@contextmanager
def _prepared(keys: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Objects that cost a command each are asked for all at once."""
    names: dict[str, list[str]] = {}
    for type_, name in keys:
        names.setdefault(type_, []).append(name)
    for type_, found in names.items():
        OBJECTS[type_].prepare(found)
    try:
        yield
    finally:
        for type_ in names:
            OBJECTS[type_].settle()


class Ahead:
    """The shares and folders of a site are looked at by children, on all processors, before anybody asks.

    Whoever connects works out meanwhile what is wanted. What was found counts for the first request alone: a run that
    has its turn looks again. Who asks for another site has not to wait until all of this one's folders answer.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._keys: list[tuple[str, str]] = []

    def begin(self) -> None:
        with suppress(Exception):  # no inventory, one that is damaged, no room for a child: whoever asks is told
            if MANY > 1 and PATH.stat().st_size > LARGE and STATE == LOCAL and not (is_node() or is_booting()):
                known = (tuple(record["key"]) for record in Inventory().largest())
                self._keys = list(dict.fromkeys(key for key in known if key[0] in NUMEROUS))
                for part in range(MANY):
                    self._children.append(Child(partial(looked, {key: {} for key in self._keys[part::MANY]})))

    def end(self) -> None:
        while self._children:
            self._children.pop().end()

    def states(self, options: Wanted) -> Found:
        """As they are wanted; what was not found, or is to be looked at in another way, is looked at now."""
        if not options.keys() >= {*self._keys}:
            self.end()
        if not self._children:
            return _side_by_side(options)
        expected = {key for key in self._keys if not options[key]}
        try:
            found = _side_by_side({key: option for key, option in options.items() if key not in expected})
        except BaseException:
            self.end()
            raise
        known: dict[tuple[str, str], Any] = {}
        while self._children:
            known |= {(type_, name): answer for type_, name, answer in self._children.pop().answer() or []}
        found += [[*key, known[key]] for key in expected & known.keys()]
        return found + looked({key: {} for key in expected - known.keys()})


AHEAD = Ahead()


def _side_by_side(options: Wanted) -> Found:
    """All shares by a child, or half of the folders."""
    shares, folders = ([key for key in options if key[0] == type_] for type_ in NUMEROUS)
    much = max(shares, folders[len(folders) // 2 :], key=len)
    if len(much) < WORTH or MANY < 2:
        return looked(options)
    mine = {key: options[key] for key in options.keys() - {*much}}
    theirs = {key: options[key] for key in much}
    try:
        child = Child(lambda: looked(theirs))
    except OSError:  # no memory for it
        return looked(options)
    found = looked(mine)
    return found + (child.answer() or looked(theirs))
