"""What somebody may answer who means no good."""

import copy
from random import Random
from typing import Any

from hypothesis import strategies as st

HOSTILE = ("../../etc", "$(id)", "; reboot", "\n", "\x1b[2J", "net0", "lxc", "1e999")
TEXT = st.text(max_size=8) | st.sampled_from(HOSTILE)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JUNK = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)


def altered(answer: Any, junk: Any, chance: Random) -> Any:
    """One value anywhere in it is another one, or is left out."""
    whole = [copy.deepcopy(answer)]
    node: Any = whole
    while True:
        key = chance.choice(sorted(node, key=str) if isinstance(node, dict) else range(len(node)))
        if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.8:
            node = node[key]
            continue
        if isinstance(node, dict) and chance.random() < 0.3:
            del node[key]
        else:
            node[key] = junk
        return whole[0]
