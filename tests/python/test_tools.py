"""Checking and copying whole stores."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import libwatch
from store_reader import read_store
from support import Thread


def test_a_closed_store_is_sound(tmp_path: Path) -> None:
    """S 19.1: what was answered is in the files."""
    with libwatch.open(tmp_path / "store", durability="none") as store:
        store.put("a", "1")
        store.put("b", "2")
        store.delete("a")
        store.compact(3, physical=True)
        with pytest.raises(libwatch.LockedError):
            libwatch.verify(tmp_path / "store")
    report = libwatch.verify(os.fspath(tmp_path / "store"))
    assert (report.revision, report.compact_revision, report.closed) == (4, 3, True)
    assert (report.key_count, report.base_key_count) == (1, 1)
    assert (report.transaction_count, report.change_count, report.torn_bytes) == (2, 2, 0)
    assert (report.base_part_count, report.manifest_copies) == (1, 4)
    assert report.segment_count > 0
    assert report.bytes > 0
    assert repr(report).startswith("VerifyReport(revision=4, compact_revision=3, key_count=1, bytes=")


def test_damage_is_named(tmp_path: Path) -> None:
    """S 19.9: with file and place."""
    with libwatch.open(tmp_path / "store", durability="none") as store:
        store.put("a", "1")
        store.put("b", "2")
    with (tmp_path / "store" / "seg-0000000000000001.lws").open("r+b") as file:
        file.seek(4096 + 40 + 60)
        file.write(b"!")
    with pytest.raises(libwatch.CorruptError, match=r"seg-0000000000000001\.lws, offset 4136"):
        libwatch.verify(tmp_path / "store")
    with pytest.raises(libwatch.StorageError):
        libwatch.verify(tmp_path / "none")


def test_a_copy_is_a_store_of_its_own(store: libwatch.Store, tmp_path: Path) -> None:
    """etcd 1.1, 1.6: the copy has the history, and goes on where the original will never come."""
    store.put("k", "one")
    store.put("k", "two")
    report = store.backup(tmp_path / "copy")
    assert report.revision == 3
    assert report.fork_revision > report.revision
    assert report.bytes > 0
    assert repr(report).startswith(f"BackupReport(revision=3, fork_revision={report.fork_revision}, bytes=")
    assert store.put("k", "of the original").revision == 4
    assert libwatch.verify(tmp_path / "copy").closed
    with libwatch.open(tmp_path / "copy", read_only=True) as copy:
        assert copy.revision == 3
        older = copy.get("k", revision=2)
        assert older is not None
        assert older.value == b"one"
    with libwatch.open(tmp_path / "copy") as copy:
        assert copy.put("k", "of the copy").revision == report.fork_revision + 1
    with pytest.raises(libwatch.StorageError) as refused:
        store.backup(os.fspath(tmp_path / "copy"))
    assert refused.value.errno == errno.EEXIST
    store.close()
    with pytest.raises(libwatch.ClosedError):
        store.backup(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_copy_is_made_while_others_write(tmp_path: Path) -> None:
    """etcd 1.13: and a reader that knows docs/format.md only finds one revision in it."""
    with libwatch.open(tmp_path / "store", durability="none", segment_bytes=1 << 16) as store:
        done = False

        def write() -> int:
            count = 0
            while not done:
                store.txn(success=[libwatch.op.put(f"a{count % 9}", "x" * (count % 999))])
                count += 1
            return count

        writer = Thread(write)
        reports = [store.backup(tmp_path / str(number)) for number in range(3)]
        done = True
        writer.result()
        for number, report in enumerate(reports):
            found = read_store(tmp_path / str(number))
            assert (found.revision, found.clean) == (report.revision, True)
            live = {kv.key: kv.mod_revision for kv in store.range("a", prefix=True, revision=report.revision)}
            assert {change.key: change.revision for change in found.live()} == live
