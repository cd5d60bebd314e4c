"""A join that was prepared elsewhere, and is only taken in here: [MS-ODJ], net(8) under offlinejoin."""

from __future__ import annotations

import base64
import os
from typing import Any

from . import ads, joined
from .core import Refused, run

PREPARE = "net offlinejoin provision domain={realm} machine_name={name} savefile={name}.odj -U ACCOUNT"
HINT = f"prepare one, as an account that may join: {PREPARE}; and give it as offline_join:"


def take_in(domain: ads.Domain, blob: str) -> None:
    """The account's password, and what else a member knows of its domain. Raises Refused."""
    hint = HINT.format(realm=domain.realm, name=domain.name)
    data = _decoded(blob)
    for what, word in (("computer", domain.name), ("domain", domain.realm)):
        if data is None or b"\0\0" + word.lower().encode("utf-16-le") + b"\0\0" not in data:
            words = f"offline_join: holds no join that was prepared for {what} {word}"
            raise Refused(words, "", hint)
    file = os.memfd_create("offline-join")  # a password's worth: it is written to no disk
    try:
        os.write(file, b"\xff\xfe" + f"{blob}\0".encode("utf-16-le"))
        # With a keytab method, net 4.17 asks the directory over a connection that it does not have, and crashes.
        without = "--option=kerberos method=secrets only"
        run(["net", "offlinejoin", "requestodj", f"loadfile=/proc/self/fd/{file}", without], fds=(file,))
    finally:
        os.close(file)
    try:
        run(["net", "ads", "testjoin", "-S", domain.controller])
        joined.renew_keytab(domain.controller)
    except Refused as refused:
        words = f"{domain.realm} refuses the join that was prepared for {domain.name}: it may have been used before"
        raise Refused(words, refused.detail, hint) from None


def _decoded(blob: str) -> Any:
    """In small letters, as far as names go; None for what is no base64."""
    try:
        return base64.b64decode(blob, validate=True).lower()
    except ValueError:
        return None
