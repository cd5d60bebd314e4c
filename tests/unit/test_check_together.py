"""Everything that is wrong is told at once: nothing that is wrong hides something else."""

from unit.checked import problems, share


def test_all_problems_are_told_at_once_in_order() -> None:
    found = problems(share("guest: read", who="access: {write: [bob, '@sales']}").replace("guest, ", ""))
    assert [line.split(": ")[0] for line in found] == ["13:22", "13:27", "14:12"]


def test_wrong_types_and_wrong_references_are_told_together() -> None:
    text = """\
version: 1
site: office
gateways:
  files: {host: pve1, discovry: true}
users:
  alice: {password: {env: A}, uid: 3}
groups:
  staff: {members: [alice, bobb]}
shares:
  global: {gateway: files, storage: {directory: /srv/g}, access: {write: [alice]}}
  a: {gateway: fils, storage: {directory: /srv/a}, access: {write: ["@stafff"]}}
  b: {gateway: files, storage: {directory: /srv/b}, acces: {}}
  c: {gateway: files, storage: {directory: /opt/c}, access: {write: [alice, carol]}, guest: read}
"""
    assert [problem.partition(" (")[0] for problem in problems(text)] == [
        "4:23: unknown key 'discovry'",
        "6:36: must be at least 1000",
        "8:28: unknown user 'bobb'",
        "10:3: 'global' is reserved by Samba",
        "11:16: unknown gateway 'fils'",
        "11:69: unknown group '@stafff'",
        "12:53: unknown key 'acces'",
        "13:77: unknown user 'carol'",
    ]


def test_a_wrong_head_hides_no_reference_but_a_section_of_another_shape_does() -> None:
    rest = "shares:\n  s: {gateway: g, storage: {directory: /srv/s}, access: {write: [alice]}}\n"
    told = problems(f"version: 7\nsite: x\n{rest}")
    assert [each.partition(" (")[0] for each in told] == [
        "1:10: unknown value 7",
        "4:16: unknown gateway 'g'",
        "4:66: unknown user 'alice'",
    ]
    assert len(problems(f"version: 1\nsite: x\nusers: [alice]\n{rest}")) == 1


def test_what_is_wrong_in_a_definition_or_its_defaults_hides_nothing_else() -> None:
    text = """\
version: 1
site: office
gatewayz: {}
defaults: {share: {acces: {}, encryption: desired}}
gateways:
  files: {host: pve1, discovry: true}
users:
  alice: {password: {env: A}, uid: 3}
shares:
  c: {gateway: h, storage: {directory: /srv/c}, access: {write: [alise]}, max_connections: many}
  d: {gateway: files, storage: {directory: /srv/d}, access: {write: [alice, 3]}}
  e: {gateway: files, storage: {directory: /srv/d/x}, access: {write: [alice]}, recycle: {expire: x}}
"""
    assert [problem.partition(" (")[0] for problem in problems(text)] == [
        "3:1: unknown key 'gatewayz'",
        "4:20: unknown key 'acces'",
        "6:23: unknown key 'discovry'",
        "8:36: must be at least 1000",
        "10:16: unknown gateway 'h'",
        "10:66: unknown user 'alise'",
        "10:92: expected a whole number, got a text",
        "11:77: expected a text, got a number",
        "12:32: share 'e' lies inside share 'd'",
        "12:99: 'x' is no number of days",
    ]
