"""The same shares, written for each tool: N of them on one host, each with a folder, an ACL and two groups."""

import json
from pathlib import Path

ROOT = "/srv/bench"
PASSWORDS = {"carol": "carol-Geheim-1", "dave": "dave-Geheim-1"}
GROUPS = {"crew": "carol", "readers": "dave"}  # with their one member each; the first may write, the second read
COMMENT = "Share"
SMBPLAN = """version: 1
site: {site}
gateways:
  files: {{host: {host}, discovery: false, ssh: {{config: {config}}}}}
groups: {{crew: {{}}, readers: {{}}}}
users:
  carol: {{{carol}, groups: [crew]}}
  dave: {{{dave}, groups: [readers]}}
shares:
"""
SHARE = (
    "  {name}: {{gateway: files, comment: {comment}, storage: {{directory: {path}}}, "
    'access: {{write: ["@crew"], read: ["@readers"]}}}}\n'
)


def names(count: int) -> list[str]:
    return [f"s{number:05}" for number in range(1, count + 1)]


def path(name: str) -> str:
    return f"{ROOT}/{name}"


def smbplan(folder: Path, count: int, host: str, config: Path, proved: bool = True, changed: str = "") -> Path:
    """Definitions; `proved` with passwords, so that each share is proved by two sessions. One share may have another
    comment."""
    who = {name: f"password: {{env: {name.upper()}_PASSWORD}}" if proved else "external: true" for name in PASSWORDS}
    shares = (
        SHARE.format(name=name, path=path(name), comment="Changed" if name == changed else COMMENT)
        for name in names(count)
    )
    folder.mkdir(parents=True, exist_ok=True)
    text = SMBPLAN.format(site=f"bench-{host}", host=host, config=config, **who) + "".join(shares)
    (folder / "site.yaml").write_text(text)
    return folder


def variables(folder: Path, count: int, proved: bool = True) -> Path:
    """What Ansible and pyinfra are told."""
    found = {
        "root": ROOT,
        "comment": COMMENT,
        "shares": [{"name": name, "path": path(name)} for name in names(count)],
        "members": [{"group": group, "user": user} for group, user in GROUPS.items()],
        "passwords": PASSWORDS if proved else {},
    }
    file = folder / f"variables-{count}-{'proved' if proved else 'plain'}.json"
    file.write_text(json.dumps(found))
    return file


ZONE = """\
---
providers:
  config: {{class: octodns.provider.yaml.YamlProvider, directory: {folder}/wanted}}
  target: {{class: octodns.provider.yaml.YamlProvider, directory: {folder}/there}}
zones:
  bench.test.: {{sources: [config], targets: [target]}}
"""


def octodns(folder: Path, records: int, drift: bool) -> None:
    """A zone that is wanted, and one that is there."""
    for name in ("wanted", "there"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        rows = (
            f"s{number:05}: {{ttl: 300, type: A, value: {_address(number, drift and name == 'there')}}}\n"
            for number in range(records)
        )
        (folder / name / "bench.test.yaml").write_text("---\n" + "".join(rows))
    (folder / "config.yaml").write_text(ZONE.format(folder=folder))


def _address(number: int, drift: bool) -> str:
    return "198.51.100.254" if drift and number == 7 else f"198.51.{number // 250 % 100}.{number % 250 + 1}"
