"""Data is deleted only where its own definition and the command line say so, and shares in shares keep their order."""

import subprocess

import pytest
from lab.site import Site

from smbplan.kinds.schedule import script
from smbplan.report.manual import commands

pytestmark = pytest.mark.lab
NESTED = """shares:
  outer:
    gateway: files
    storage: {directory: /srv/outer, on_destroy: delete}
    access: {write: [alice], read: [bob]}
    permissions: {recursive: true}
  inner:
    gateway: files
    storage: {directory: /srv/outer/inner}
    access: {write: [bob]}
    allow_overlap: true
"""
PURGE = {"purge": True, "delete_data": True, "allow": frozenset({"many-deletes"})}


@pytest.fixture
def nested(site: Site) -> Site:
    (site.folder / "shares.yaml").write_text(NESTED.replace("    permissions: {recursive: true}\n", ""))
    site.edit("site.yaml", "  vault:\n    host: pve2\n    description: Backups and archives\n", "")
    site.applied()
    site.shell("client", "echo precious >/tmp/f")
    site.smb("bob", "inner", "put /tmp/f f")
    site.smb("alice", "outer", "put /tmp/f f")
    return site


def drop(site: Site, name: str) -> None:
    first, outer, inner = (site.folder / "shares.yaml").read_text().partition("  inner:\n")
    (site.folder / "shares.yaml").write_text("shares:\n" + outer + inner if name == "outer" else first)


def test_new_shares_in_each_other_come_and_go_in_order(nested: Site) -> None:
    assert nested.differences() == []
    assert "precious" in nested.smb("bob", "inner", "get f -")
    nested.applied(destroy=True, purge=True)
    assert nested.shell("pve1", "cat /srv/outer/inner/f /srv/outer/f") == "precious\nprecious\n"


def test_deleting_one_shares_data_spares_anothers(nested: Site) -> None:
    drop(nested, "outer")
    done = nested.apply(**PURGE)
    assert done.outcome.name in ("partial", "rolled_back")
    assert "belongs to another share" in done.outcome.problems[0].summary
    assert nested.shell("pve1", "cat /srv/outer/inner/f /srv/outer/f") == "precious\nprecious\n"


def test_deleting_data_stops_at_a_mount(nested: Site) -> None:
    drop(nested, "inner")
    nested.applied(purge=True, allow=frozenset({"many-deletes"}))
    nested.shell("pve1", "mkdir /srv/outer/mnt; mount -t tmpfs none /srv/outer/mnt; echo far >/srv/outer/mnt/f")
    (nested.folder / "shares.yaml").write_text("shares: {}\n")
    done = nested.apply(**PURGE)
    assert "/srv/outer/mnt is mounted inside" in done.outcome.problems[0].summary
    assert nested.shell("pve1", "cat /srv/outer/mnt/f /srv/outer/f") == "far\nprecious\n"
    nested.shell("pve1", "umount /srv/outer/mnt")
    nested.applied(**PURGE)
    assert "No such file" in nested.shell("pve1", "ls /srv/outer 2>&1 || true")


def on_a_subvolume(nested: Site, extra: str = "") -> None:
    """One share, `books`, in place of all others, with a file in it."""
    text = f"""shares:
  books:
    gateway: files
    storage: {{btrfs: /mnt/btrfs/books, on_destroy: delete}}
    access: {{write: [alice]}}
    {extra}
"""
    (nested.folder / "shares.yaml").write_text(text)
    nested.applied(allow=frozenset({"many-deletes"}))
    nested.smb("alice", "books", "put /tmp/f f")


def test_deleting_a_subvolume_spares_what_lies_in_it(nested: Site) -> None:
    on_a_subvolume(nested, "previous_versions: true")
    nested.shell("pve1", "btrfs subvolume create /mnt/btrfs/books/other; echo far >/mnt/btrfs/books/other/f")
    nested.shell("pve1", f"{script('snapshot')} btrfs /mnt/btrfs/books 3")
    (nested.folder / "shares.yaml").write_text("shares: {}\n")
    done = nested.apply(**PURGE)
    assert done.outcome.name in ("partial", "rolled_back")
    assert "/mnt/btrfs/books/other is a subvolume inside" in done.outcome.problems[0].summary
    assert nested.shell("pve1", "cat /mnt/btrfs/books/f /mnt/btrfs/books/.snapshots/*/f") == "precious\nprecious\n"
    nested.shell("pve1", "btrfs subvolume delete /mnt/btrfs/books/other")
    nested.applied(**PURGE)
    assert "No such file" in nested.shell("pve1", "ls /mnt/btrfs/books 2>&1 || true")


def test_deleting_data_spares_folders_of_others_that_carry_no_mark(nested: Site) -> None:
    """A folder that was there before is used and never owned; foreign shares have folders, too."""
    drop(nested, "outer")
    (nested.folder / "shares.yaml").write_text("shares: {}\n")
    nested.applied(purge=True, allow=frozenset({"many-deletes"}))
    nested.shell("pve1", "rm -rf /srv/outer; mkdir -p '/srv/my data/theirs'; echo far >'/srv/my data/theirs/f'")
    share = NESTED.partition("  inner:")[0].replace("/srv/outer", "/srv/my data")
    (nested.folder / "shares.yaml").write_text(share)
    nested.shell("pve1", "net conf addshare theirs '/srv/my data/theirs'")
    nested.shell("pve1", "rm -rf '/srv/my data.kept'; mv '/srv/my data' '/srv/my data.kept'")
    nested.applied()
    nested.shell("pve1", "cp -a '/srv/my data.kept/theirs' '/srv/my data/'")
    (nested.folder / "shares.yaml").write_text("shares: {}\n")
    done = nested.apply(**PURGE)
    assert "belongs to another share, theirs" in done.outcome.problems[0].summary
    nested.shell("pve1", "net conf delshare theirs; mkdir /srv/precious; echo far >/srv/precious/f")
    nested.shell("pve1", "mount --bind /srv/precious '/srv/my data/theirs'")
    done = nested.apply(**PURGE)
    assert "/srv/my data/theirs is mounted inside" in done.outcome.problems[0].summary
    assert nested.shell("pve1", "cat /srv/precious/f; umount '/srv/my data/theirs'") == "far\n"
    nested.applied(**PURGE)
    assert nested.shell("pve1", "ls -d /srv/my\\ data*") == "/srv/my data.kept\n"


def test_a_deletion_that_was_cut_short_is_finished(nested: Site) -> None:
    """The agent dies while it deletes: the probe finds the folder under its other name, and the rest goes."""
    drop(nested, "inner")
    nested.applied(purge=True, allow=frozenset({"many-deletes"}))
    nested.shell("pve1", "mkdir /srv/outer/many; cd /srv/outer/many; seq 30000 | xargs touch")
    killer = (
        "while ! [ -e /srv/outer.smbplan-deleted ]; do sleep 0.002; done; "
        "pkill -9 -f '[p]ython3 -u -c import sys,zlib'; ls /srv/outer.smbplan-deleted/many | wc -l"
    )
    watch = subprocess.Popen(nested.lab.command("pve1", ["sh", "-c", killer]), stdout=subprocess.PIPE, text=True)
    (nested.folder / "shares.yaml").write_text("shares: {}\n")
    done = nested.apply(**PURGE)
    assert int(watch.communicate()[0]) > 0, "it was faster than we"
    assert done.outcome.name == "applied", done.outcome.problems
    assert nested.shell("pve1", "ls -d /srv/outer* 2>/dev/null || true") == ""


def test_a_subvolume_that_cant_be_deleted_is_told_and_finished_by_hand(nested: Site) -> None:
    on_a_subvolume(nested)
    nested.shell("pve1", "btrfs subvolume set-default /mnt/btrfs/books")
    (nested.folder / "shares.yaml").write_text("shares: {}\n")
    done = nested.apply(**PURGE)
    assert [step.id for step in done.outcome.stranded] == ["btrfs.subvolume.books"]
    assert "btrfs failed" in done.outcome.problems[0].summary
    nested.shell("pve1", "btrfs subvolume set-default 5 /mnt/btrfs")
    for line in commands(done.outcome.stranded):
        nested.shell("pve1", line.partition("# ")[2])
    assert nested.shell("pve1", "ls /mnt/btrfs") == ""


def test_data_goes_when_both_say_so_and_only_what_was_made(nested: Site) -> None:
    old = "storage: {directory: /srv/outer/inner}"
    nested.edit("shares.yaml", old, "storage: {directory: /srv/outer/inner, on_destroy: delete}")
    nested.applied()
    nested.applied(destroy=True, **PURGE)
    assert "No such file" in nested.shell("pve1", "ls /srv/outer 2>&1 || true")
    nested.shell("pve1", "mkdir -p /srv/outer/inner; echo mine >/srv/outer/inner/f")
    nested.applied()
    nested.applied(destroy=True, **PURGE)
    assert nested.shell("pve1", "cat /srv/outer/inner/f") == "mine\n"


def test_recursion_stays_quiet_while_the_share_is_used(nested: Site) -> None:
    drop(nested, "inner")
    nested.applied(purge=True, allow=frozenset({"many-deletes"}))
    (nested.folder / "shares.yaml").write_text(NESTED.partition("  inner:")[0])
    nested.applied()
    nested.smb("alice", "outer", "mkdir d; put /tmp/f d/g")
    assert nested.differences() == []
    assert "alice" in nested.shell("pve1", "stat -c %U /srv/outer/d/g")
    nested.applied(destroy=True, purge=True)
