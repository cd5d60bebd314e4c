"""Bad definitions, and the exact line that a person gets to read for each."""

import pytest
from unit.checked import problems, share

from smbplan.spec.check import DANGEROUS, MANAGED

ROOTS = "use a folder below /srv, /mnt, /tank, /data, /export, or add its parent to gateways.g.roots"
LINE_BREAK = "a line break in a text (every text is one line; '>-' folds a long one)"
NO_NAME = "is no option name (write the name as in smb.conf(5), without =)"
PLAIN = "is not plain (leave out '.', '..' and doubled slashes)"
RESERVED = "is reserved by Samba (choose another name for the share)"
ONE_PLACE = "storage has one place (write exactly one of directory, btrfs, zfs, volume)"
ZFS = "can't stand here (write the dataset with its pool, such as tank/projects)"
NAMES = "can't stand here (use letters, digits, - and _, beginning with a letter or digit, at most 63)"
PRESETS = "valid values: default, private, public, archive, media, homes, time-machine, plain"
EXPANDED = "holds a character that smb.conf would expand (leave out % and quotes)"
NO_QUOTA = "a directory has no quota (use btrfs or zfs storage, or leave quota out)"
NO_SIZE = "is no size (write a number with KiB, MiB, GiB or TiB, such as 500GiB)"
NO_ACCOUNT = "is no user or group (write alice, @engineers, 'CORP\\alice', or * for every user)"
NOBODY = "nobody may use this share (write access: {write: [alice, '@engineers']}, or read, or admin)"
WEAKENS = "weakens the gateway's security (if it is meant, add"
NO_GUESTS = "guests are not permitted, so that nobody gets in without a password"
GUESTS = f"{NO_GUESTS} (if that is meant, write permit: [guest] at gateways.g)"
NO_SNAPSHOTS = "a plain directory has no snapshots (use btrfs or zfs storage, or leave previous_versions out)"
NO_ENTRY = "is no ACL entry (write group:engineers:rwx or user:alice:r-x)"
KEYS = (
    "gateway, storage, name, comment, preset, access, guest, permissions, hosts, encryption, recycle, "
    "previous_versions, time_machine, max_size, homes, audit, windows_acls, multi_protocol, hidden, max_connections, "
    "allow_overlap, prevent_destroy, options"
)


def test_the_good_site_is_good() -> None:
    assert problems(share("comment: x")) == []
    assert problems(share("options: {strict sync: true, 'fruit:x': y}")) == []


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("colour: red", f"14:5: unknown key 'colour' (valid keys: {KEYS})"),
        ("comment_: x", "14:5: unknown key 'comment_' (did you mean 'comment'?)"),
        ("hosts: {permit: []}", "14:13: unknown key 'permit' (valid keys: allow, deny)"),
        ("hidden: 3", "14:13: expected true or false, got a number"),
        ("comment: [a]", "14:5: expected a text, got a list"),
        ("comment: 5", "14:14: expected a text, got a number (write it in quotes)"),
        ("max_connections: many", "14:22: expected a whole number, got a text"),
        ("max_connections: 0", "14:22: must be at least 1"),
        ("preset: fancy", f"14:13: unknown value 'fancy' ({PRESETS})"),
        ("guest: write-only", "14:12: unknown value 'write-only' (did you mean 'write'?)"),
        ("recycle: {expire: soon}", "14:23: 'soon' is no number of days (write 30d or 4w)"),
        ("time_machine: 1GiB", "14:19: expected true or false, got a text"),
    ],
)  # fmt: skip
def test_unknown_keys_and_wrong_types(extra: str, expected: str) -> None:
    assert problems(share(extra)) == [expected]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("global", f"'global' {RESERVED}"),
        ("Homes", f"'Homes' {RESERVED}"),
        ("PRINTERS", f"'PRINTERS' {RESERVED}"),
        ("print$", f"'print$' {RESERVED}"),
        ("IPC$", f"'IPC$' {RESERVED}"),
        ('""', "must have at least 1 characters"),
        ("x" * 81, "must have at most 80 characters"),
        ("' a'", "' a' begins or ends with a space (leave it out)"),
        ("a/b", "'a/b' holds /, which Samba can't serve (leave it out)"),
        (r"a\b", r"'a\\b' holds \, which Samba can't serve (leave it out)"),
        ("'a]b[c'", "'a]b[c' holds [ ], which Samba can't serve (leave it out)"),
        ("'a%U'", "'a%U' holds %, which Samba can't serve (leave it out)"),
        ("'a;b=c'", "'a;b=c' holds ; =, which Samba can't serve (leave it out)"),
        ("'a:*?<>|+,\"'", "'a:*?<>|+,\"' holds \" * + , : < > ? |, which Samba can't serve (leave it out)"),
    ],
)
def test_names_that_samba_cannot_serve(name: str, expected: str) -> None:
    assert problems(share(f"name: {name}")) == [f"14:11: {expected}"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("homes", "10:3: 'homes' is reserved by Samba (give it another key, or a name: of its own)"),
        ("Global", "10:3: 'Global' is reserved by Samba (give it another key, or a name: of its own)"),
        ("a b", f"10:3: 'a b' {NAMES}"),
        ("x" * 64, f"10:3: {'x' * 64!r} {NAMES}"),
    ],
)
def test_keys_of_shares(key: str, expected: str) -> None:
    assert problems(share("", key=key)) == [expected]


def test_a_reserved_key_with_a_name_of_its_own_is_fine() -> None:
    assert problems(share("name: House", key="homes")) == []


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("storage: {directory: /home/x}", f"12:14: /home/x is outside the roots of gateway 'g' ({ROOTS})"),
        ("storage: {directory: /srv}", f"12:14: /srv is outside the roots of gateway 'g' ({ROOTS})"),
        ("storage: {directory: /srvx/a}", f"12:14: /srvx/a is outside the roots of gateway 'g' ({ROOTS})"),
        ("storage: {directory: /}", f"12:14: / is outside the roots of gateway 'g' ({ROOTS})"),
        ("storage: {zfs: pool/x}", f"12:14: /pool/x is outside the roots of gateway 'g' ({ROOTS})"),
        ("storage: {directory: /srv/../etc}", f"12:26: '/srv/../etc' {PLAIN}"),
        ("storage: {btrfs: /srv/./x}", f"12:22: '/srv/./x' {PLAIN}"),
        ("storage: {directory: /srv//x}", f"12:26: '/srv//x' {PLAIN}"),
        ("storage: {directory: srv/x}", "12:26: 'srv/x' is not absolute (begin the path with /)"),
        ("storage: {directory: /srv/%U}", f"12:26: '/srv/%U' {EXPANDED}"),
        (f"storage: {{directory: /srv/{'x' * 1100}}}", "12:26: the path is longer than 1024 characters (shorten it)"),
        ("storage: {zfs: tank/../etc}", "12:5: 'tank/../etc' is no dataset (leave '.' and '..' out)"),
        ("storage: {zfs: tank/.}", "12:5: 'tank/.' is no dataset (leave '.' and '..' out)"),
        ("storage: {zfs: tank}", f"12:20: 'tank' {ZFS}"),
        ("storage: {zfs: /tank/x}", f"12:20: '/tank/x' {ZFS}"),
        ("storage: {zfs: tank/x@y}", f"12:20: 'tank/x@y' {ZFS}"),
        ("storage: {}", f"12:5: {ONE_PLACE}"),
        ("storage: {directory: /srv/s, zfs: tank/s}", f"12:5: {ONE_PLACE}"),
        ("storage: {directory: /srv/s, quota: 1GiB}", f"12:5: {NO_QUOTA}"),
        ("storage: {btrfs: /srv/s, quota: much}", f"12:37: 'much' {NO_SIZE}"),
        ("", "10:3: missing key 'storage'"),
    ],
)  # fmt: skip
def test_places(place: str, expected: str) -> None:
    assert problems(share("", place=place)) == [expected]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("/srv/s", "share 't' is on the same path as share 's' (move one of them, or write allow_overlap: true)"),
        ("/srv/s/", "share 't' is on the same path as share 's' (move one of them, or write allow_overlap: true)"),
        ("/srv/s/deep/er", "share 't' lies inside share 's' (move one of them, or write allow_overlap: true)"),
        ("/srv/s2", None),
        ("/srv/S", None),
    ],
)
def test_overlaps(second: str, expected: str | None) -> None:
    other = f"  t: {{gateway: g, storage: {{directory: {second}}}, access: {{write: [alice]}}}}\n"
    assert problems(share("") + other) == ([f"14:28: {expected}"] if expected else [])
    for text in (
        share("allow_overlap: true") + other,
        share("") + other.replace("access", "allow_overlap: true, access"),
    ):
        assert problems(text) == []


def test_the_outer_share_may_come_later_and_a_permitted_one_hides_no_other() -> None:
    inner = share("", place="storage: {directory: /srv/s/a/b}")
    outer = "  t: {gateway: g, storage: {directory: /srv/s}, access: {write: [alice]}, allow_overlap: true}\n"
    middle = "  u: {gateway: g, storage: {directory: /srv/s/a}, access: {write: [alice]}}\n"
    words = "share 's' lies inside share 'u' (move one of them, or write allow_overlap: true)"
    assert problems(inner + outer + middle) == [f"12:14: {words}"]


def test_one_path_on_two_gateways_is_no_overlap() -> None:
    two = share("").replace("  g: {permit", "  h: {}\n  g: {permit")
    assert problems(two + "  t: {gateway: h, storage: {directory: /srv/s}, access: {write: [alice]}}\n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (share("", who="access: {write: [bob]}"), "13:22: unknown user 'bob' (known: alice)"),
        (share("", who="access: {read: [alicia]}"), "13:21: unknown user 'alicia' (did you mean 'alice'?)"),
        (share("", who='access: {write: ["@sales"]}'), "13:22: unknown group '@sales' (known: staff)"),
        (share("", who="access: {write: [alice], deny: [bob]}"), "13:37: unknown user 'bob' (known: alice)"),
        (share("", who='access: {write: ["a b"]}'), f"13:22: 'a b' {NO_ACCOUNT}"),
        (share("", who='access: {admin: ["*"]}'), "13:22: * is too much for admin (name the users or groups)"),
        (share("", who="access: {}"), f"10:3: {NOBODY}"),
        (share("").replace("gateway: g", "gateway: other"), "11:14: unknown gateway 'other' (known: g)"),
        (share("permissions: {owner: bob}"), "14:26: unknown user 'bob' (known: alice, root)"),
        (share("permissions: {group: sales}"), "14:26: unknown group 'sales' (known: staff)"),
        (share('permissions: {acl: ["group:sales:rwx"]}'), "14:24: unknown group 'sales' (known: staff)"),
        (share("").replace("members: [alice]", "members: [bob]"), "8:21: unknown user 'bob' (known: alice)"),
        (share("").replace("{env: A}}", "{env: A}, groups: [sales]}"), "6:40: unknown group 'sales' (known: staff)"),
        (share("").replace("{env: A}}", "{env: A}, gateways: [h]}"), "6:42: unknown gateway 'h' (known: g)"),
    ],
)  # fmt: skip
def test_references_to_what_does_not_exist(text: str, expected: str) -> None:
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    ("escape", "expected"),
    [
        (r"\n", LINE_BREAK),
        (r"\r", LINE_BREAK),
        (r"\u2028", LINE_BREAK),
        (r"\x85", LINE_BREAK),
        (r"\0", "the character U+0000 in a text (leave control characters out)"),
        (r"\t", "the character U+0009 in a text (leave control characters out)"),
        (r"\x1b", "the character U+001B in a text (leave control characters out)"),
        (r"\u202e", "the character U+202E in a text (leave control characters out)"),
    ],
)
@pytest.mark.parametrize(
    ("text", "place"),
    [
        (share('comment: "a@@b"'), "14:14"),
        (share('name: "a@@b"'), "14:11"),
        (share('"comm@@ent": x'), "14:5"),
        (share('options: {"strict@@ sync": true}'), "14:15"),
        (share('options: {"veto files": "x@@"}'), "14:29"),
        (share("", place='storage: {directory: "/srv/@@"}'), "12:26"),
        (share("", who='access: {write: ["@@"]}'), "13:22"),
        (share('hosts: {allow: ["@@"]}'), "14:21"),
    ],
    ids=["comment", "name", "key", "option", "value", "path", "principal", "host"],
)
def test_nothing_but_single_lines_of_visible_text(text: str, place: str, escape: str, expected: str) -> None:
    assert problems(text.replace("@@", escape)) == [f"{place}: {expected}"]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ('"[global] x": a', "14:29: '[global] x' " + NO_NAME),
        ('"a = b": c', "14:24: 'a = b' " + NO_NAME),
        ('"a]": c', "14:21: 'a]' " + NO_NAME),
        ('"; a": c', "14:22: '; a' " + NO_NAME),
        ('"#a": c', "14:21: '#a' " + NO_NAME),
        ('"": c', "14:19: '' " + NO_NAME),
        ('" ": c', "14:20: ' ' " + NO_NAME),
        ("path: /x", "14:21: 'path' has a key of its own (use storage at the shares)"),
        ("Valid  Users: bob", "14:29: 'Valid  Users' has a key of its own (use access at the shares)"),
        ("root preexec: x", f"14:29: 'root preexec' {WEAKENS} 'root preexec' to permit at its gateway)"),
        ("Wide  LINKS: true", f"14:28: 'Wide  LINKS' {WEAKENS} 'wide links' to permit at its gateway)"),
    ],
)  # fmt: skip
def test_options_that_are_none_or_too_much(option: str, expected: str) -> None:
    assert problems(share(f"options: {{{option}}}")) == [expected]


@pytest.mark.parametrize("option", sorted(DANGEROUS - MANAGED.keys()))
def test_every_dangerous_option_needs_its_name_in_permit(option: str) -> None:
    text = share(f"options: {{{option}: x}}")
    assert [line.partition(": ")[2].split(" (")[0] for line in problems(text)] == [
        f"{option!r} weakens the gateway's security"
    ]
    assert problems(text.replace("options]", f"options, {option}]")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            share("guest: read").replace("guest, ", ""),
            f"14:12: {GUESTS}",
        ),
        (
            share("preset: public").replace("guest, ", ""),
            f"10:3: {GUESTS}",
        ),
        (
            share("options: {strict sync: true}").replace(", options", ""),
            "14:28: options of smb.conf are switched off (write permit: [options] at the gateway)",
        ),
        (
            share("").replace("options]}", "options], options: {server signing: no}}"),
            f"4:59: 'server signing' {WEAKENS} 'server signing' to permit at gateways.g)",
        ),
    ],
)  # fmt: skip
def test_weaknesses_need_a_permit(text: str, expected: str) -> None:
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("previous_versions: true", f"14:24: {NO_SNAPSHOTS}"),
        ("max_size: 1GiB", "14:15: max_size limits Time Machine only (use storage.quota for other shares)"),
        ("permissions: {mode: 999}", "14:25: 999 is no file mode (write three or four octal digits, such as 2770)"),
        ('permissions: {acl: ["user:alice:rwz"]}', f"14:25: 'user:alice:rwz' {NO_ENTRY}"),
        ('hosts: {allow: ["a b"]}', "14:21: 'a b' is no host or network (write 192.0.2.0/24, 2001:db8::/32 or a name)"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(extra: str, expected: str) -> None:
    assert problems(share(extra)) == [expected]


@pytest.mark.parametrize("name", ["T", "t"])
def test_names_differ_by_more_than_case(name: str) -> None:
    other = "  t: {gateway: g, storage: {directory: /srv/t}, access: {write: [alice]}}\n"
    assert problems(share(f"name: {name}") + other) == [
        "15:3: shares 's' and 't' have one name on gateway 'g' "
        "(Samba does not tell upper from lower case: give one of them another name)"
    ]
    assert problems(share("name: X") + other) == []


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("{}", "6:3: a user needs a password (write password: {env: …}, or external: true)"),
        ("{password: hunter2}", "6:21: expected keys with values, got a text"),
        ("{password: {}}", "6:11: a secret has one source (write exactly one of env, file, command)"),
        ("{password: {env: A, file: b}}", "6:11: a secret has one source (write exactly one of env, file, command)"),
        ("{password: {value: hunter2}}", "6:22: unknown key (valid keys: env, file, command)"),
    ],
)
def test_secrets_are_references(user: str, expected: str) -> None:
    found = problems(share("").replace("{password: {env: A}}", user))
    assert found == [expected]
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 2\nsite: office\n", ["1:10: unknown value 2 (valid values: 1)"]),
        ("site: office\n", ["1:1: missing key 'version'"]),
        ("version: 1\nsite: ../x\n", [f"2:7: '../x' {NAMES}"]),
        ("version: 1\nsite: x\ngateways: [a]\n", ["3:1: expected keys with values, got a list"]),
        (
            "version: 1\nsite: x\ngateways:\n  g: {}\n  h: {host: g}\n",
            ["5:3: gateways 'g' and 'h' are the same host (a host has one Samba: put the shares on one gateway)"],
        ),
    ],
)
def test_the_site_itself(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_a_share_inside_one_that_allows_it_still_lies_in_the_one_around_both() -> None:
    places = (("a", "/srv/a", ""), ("b", "/srv/a/b", ", allow_overlap: true"), ("c", "/srv/a/b/c", ""))
    shares = [
        f"  {name}: {{gateway: g, storage: {{directory: {path}}}, access: {{write: [alice]}}{more}}}\n"
        for name, path, more in places
    ]
    head = "version: 1\nsite: x\ngateways: {g: {}}\nusers: {alice: {external: true}}\nshares:\n"
    (problem,) = problems(head + "".join(shares))
    assert "share 'c' lies inside share 'a'" in problem


@pytest.mark.parametrize(
    "option",
    ["guest ok: true", "valid users: bob", "read only: false", "get quota command: /x", "add share command: /x"],
)
def test_gateway_options_that_reach_every_share_or_run_something_need_their_own_permit(option: str) -> None:
    name = option.partition(":")[0]
    text = f"version: 1\nsite: x\ngateways:\n  g: {{permit: [options], options: {{{option}}}}}\n"
    (problem,) = problems(text)
    assert "has a key of its own" in problem or f"add {name!r} to permit" in problem
    assert problems(text.replace("[options]", f"[options, {name}]")) == []
