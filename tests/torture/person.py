"""Who types the printed commands: what he is asked to edit becomes as it was, and he may join hosts to the domain."""

from collections.abc import Sequence
from functools import partial

from lab.site import Site
from torture.troubles import RESTART, Place, Shell

FOLDER = "/run/person"
EDITOR = f"""#!/bin/sh
if [ -e "{FOLDER}/was$1" ]; then cat "{FOLDER}/was$1" >"$1"; else rm -f "$1"; fi
"""
NET = f"""#!/bin/sh
for word; do
    shift
    [ "$word" != USER ] || word="Administrator%$(cat {FOLDER}/password)"
    set -- "$@" "$word"
done
exec /usr/bin/net "$@"
"""


def logged_in(site: Site, node: str, files: Sequence[str], password: str = "") -> Shell:
    """On a node whose files are as they should be."""
    site.run(node, "mkdir", "-p", f"{FOLDER}/was")
    for name, text in {"editor": EDITOR, "net": NET, "password": password}.items():
        site.run(node, "sh", "-c", f"cat >{FOLDER}/{name}; chmod 700 {FOLDER}/{name}", stdin=text)
    for file in files:
        site.shell(node, f"! test -e {file} || cp --parents {file} {FOLDER}/was")
    return lambda script: site.shell(node, f"export PATH={FOLDER}:$PATH\n{script}")


def host(site: Site, node: str, files: Sequence[str], password: str = "") -> Place:
    return Place(logged_in(site, node, files, password), partial(site.shell, node, RESTART), node)
