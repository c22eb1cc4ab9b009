"""Stores of many shapes, read by the library and by a second reader that knows docs/format.md only."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import libwatch
from libwatch import Durability, op
from store_reader import CLOSE, COMPACT, EPOCH, SEAL, START, Damaged, crc32c, read_store

SMALL = 1 << 16

Row = tuple[bool, bytes, bytes, int, int, int, int]


@dataclass
class Answers:
    """What the library says of a store."""

    revision: int
    compact_revision: int
    live: list[Row]
    events: list[Row]


def row(kv: libwatch.KeyValue, deleted: bool = False) -> Row:
    return deleted, kv.key, kv.value, kv.lease, kv.create_revision, kv.mod_revision, kv.version


def ask(store: libwatch.Store) -> Answers:
    """Everything that a program can see: the keys, and every event that is left."""
    events: list[Row] = []
    start = max(1, store.compact_revision)
    with store.watch(b"\0", b"\0", start_revision=start) as watch:
        watch.request_progress()
        for response in watch:
            if response.is_progress_notify:
                break
            events.extend(row(event.kv, event.type == "DELETE") for event in response)
    live = [row(kv) for kv in store.range(b"\0", b"\0")]
    return Answers(store.revision, store.compact_revision, live, events)


def read(path: Path) -> Answers:
    """The same, by the reader."""
    found = read_store(path)
    rows = {
        change.position: (
            change.deleted,
            change.key,
            change.value,
            change.lease,
            change.create_revision,
            change.revision,
            change.version,
        )
        for change in [*found.base, *found.changes]
    }
    start = max(1, found.compact_revision)
    return Answers(
        found.revision,
        found.compact_revision,
        [rows[change.position] for change in found.live()],
        [rows[change.position] for change in found.changes if change.revision >= start],
    )


Fill = Callable[[libwatch.Store], None]


def nothing(store: libwatch.Store) -> None:
    pass


def puts(store: libwatch.Store) -> None:
    for number in range(30):
        store.put(f"key{number % 7}", f"value{number}", lease=number % 3)


def deletes(store: libwatch.Store) -> None:
    puts(store)
    store.delete("key1")
    store.put("key1", "again")
    store.delete("key", prefix=True)
    store.put("key2", "")


def transactions(store: libwatch.Store) -> None:
    for number in range(20):
        keys = [f"k{number + step}" for step in range(5)]
        store.txn(success=[*(op.put(key, key * number) for key in keys), op.delete(f"k{number + 9}")])
        store.txn(success=[op.delete(keys[0]), op.put(keys[4] + "x", "")])


def large(store: libwatch.Store) -> None:
    """Values of every padding, and one that is larger than a segment."""
    for length in range(9):
        store.put("k" * (length + 1), "v" * length, lease=-length)
    store.put("large", random.Random(1).randbytes(3 * SMALL))
    store.put("x" * 65535, "behind it")


def segments(store: libwatch.Store) -> None:
    dice = random.Random(2)
    for number in range(400):
        key = f"key{dice.randrange(40):02}"
        if dice.randrange(6) == 0:
            store.delete(key)
        else:
            store.put(key, dice.randbytes(dice.randrange(1200)), lease=number % 2)


def compact(part: float, physical: bool) -> Fill:
    def fill(store: libwatch.Store) -> None:
        segments(store)
        store.compact(max(1, int(store.revision * part)), physical=physical)
        transactions(store)

    return fill


def compact_twice(store: libwatch.Store) -> None:
    compact(0.7, True)(store)
    segments(store)
    store.compact(store.revision - 300, physical=True)
    puts(store)


def compact_everything(store: libwatch.Store) -> None:
    segments(store)
    store.delete("key", prefix=True)
    store.compact(store.revision, physical=True)


def base_without_keys(store: libwatch.Store) -> None:
    """Nothing lives just below a compaction; then there is a base with keys again."""
    segments(store)
    store.delete("key", prefix=True)
    store.put("key01", "first again")
    store.compact(store.revision, physical=True)
    segments(store)
    store.compact(store.revision - 9, physical=True)
    puts(store)


SHAPES: dict[str, Fill] = {
    "nothing": nothing,
    "puts": puts,
    "deletes": deletes,
    "transactions": transactions,
    "large": large,
    "segments": segments,
    "compact-logically": compact(0.5, False),
    "compact-a-little": compact(0.02, True),
    "compact-half": compact(0.5, True),
    "compact-to-the-end": compact(1, True),
    "compact-twice": compact_twice,
    "compact-everything": compact_everything,
    "base-without-keys": base_without_keys,
}

EVERY_SHAPE = pytest.mark.parametrize("fill", SHAPES.values(), ids=SHAPES)


def make(path: Path, fill: Fill, durability: Durability = "none") -> Answers:
    with libwatch.open(path, durability=durability, segment_bytes=SMALL) as store:
        fill(store)
        return ask(store)


def test_the_checksum_is_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"1234", b"", b"5", b"6789") == 0xE3069283


@EVERY_SHAPE
def test_a_closed_store_holds_what_the_library_said(tmp_path: Path, fill: Fill) -> None:
    """etcd 1.1, 1.6, 1.8: revisions, versions, and what a compaction leaves of them."""
    expected = make(tmp_path / "store", fill)
    assert read(tmp_path / "store") == expected
    assert read_store(tmp_path / "store").clean


@pytest.mark.parametrize("durability", ["interval", "commit"])
def test_the_durability_does_not_change_the_format(tmp_path: Path, durability: Durability) -> None:
    """etcd 1.1: the same revisions in every mode."""
    expected = make(tmp_path / "store", SHAPES["compact-half"], durability)
    assert read(tmp_path / "store") == expected


@EVERY_SHAPE
def test_a_store_that_was_not_closed_holds_what_was_visible(tmp_path: Path, fill: Fill) -> None:
    """etcd 1.1, 1.6: a copy of the files of an open store is what a killed process leaves."""
    with libwatch.open(tmp_path / "store", durability="none", segment_bytes=SMALL) as store:
        fill(store)
        expected = ask(store)
        shutil.copytree(tmp_path / "store", tmp_path / "copy")
    assert read(tmp_path / "copy") == expected
    assert not read_store(tmp_path / "copy").clean
    # Opened again after the crash, written to and closed.
    expected = make(tmp_path / "copy", puts)
    assert read(tmp_path / "copy") == expected
    assert read_store(tmp_path / "copy").kinds[-1] == CLOSE


def last_record(path: Path) -> tuple[Path, int, int]:
    """The file, the beginning and the end of the last record of a store with one segment."""
    segment = path / "seg-0000000000000001.lws"
    data, at, length = segment.read_bytes(), 4096, 0
    while step := int.from_bytes(data[at : at + 4], "little"):
        at, length = at + step, step
    return segment, at - length, at


def crash(tmp_path: Path) -> tuple[Path, Answers]:
    """The files of a killed process and what they hold without the last put."""
    with libwatch.open(tmp_path / "store", durability="none", segment_bytes=SMALL) as store:
        puts(store)
        expected = ask(store)
        store.put("last", "torn")
        shutil.copytree(tmp_path / "store", tmp_path / "copy")
    return tmp_path / "copy", expected


def test_a_record_that_was_written_in_part_does_not_count(tmp_path: Path) -> None:
    """etcd 1.1: a transaction is there whole or not at all."""
    copy, expected = crash(tmp_path)
    segment, begin, end = last_record(copy)
    data = segment.read_bytes()
    for keep in (begin, begin + 8, end - 16):
        segment.write_bytes(data[:keep] + bytes(len(data) - keep))
        assert read(copy) == expected
        assert read_store(copy).torn == (keep != begin)
    with libwatch.open(copy) as store:
        assert ask(store) == expected


def test_a_power_loss_moves_the_revision_past_what_may_have_been_seen(tmp_path: Path) -> None:
    """etcd 1.1: no revision that was seen gets other content."""
    copy, expected = crash(tmp_path)
    segment, begin, _ = last_record(copy)
    data = segment.read_bytes()
    segment.write_bytes(data[:begin] + bytes(len(data) - begin))
    manifest = bytearray((copy / "MANIFEST").read_bytes())
    for at in range(0, len(manifest), 4096):
        manifest[at + 56 : at + 72] = bytes(range(16))
        manifest[at + 4092 : at + 4096] = crc32c(bytes(manifest[at : at + 4092])).to_bytes(4, "little")
    (copy / "MANIFEST").write_bytes(manifest)
    with libwatch.open(copy) as store:
        floor = expected.revision + (SMALL - begin) // 88 + 1
        assert store.revision == floor
        store.put("k", "after")
        jumped = ask(store)
    assert read(copy) == jumped
    assert jumped.events[:-1] == expected.events
    assert EPOCH in read_store(copy).kinds


def test_every_kind_of_record_is_met(tmp_path: Path) -> None:
    make(tmp_path / "store", SHAPES["compact-half"])
    assert {COMPACT, SEAL, CLOSE, START} <= set(read_store(tmp_path / "store").kinds)


# ---- damage ------------------------------------------------------------------------------------------------


def both_refuse(path: Path, what: str) -> None:
    with pytest.raises(Damaged):
        read_store(path)
        raise AssertionError(f"the reader does not notice {what}")
    with pytest.raises(libwatch.WatchError) as refused:
        libwatch.open(path, read_only=True).close()
        raise AssertionError(f"the library does not notice {what}")
    assert isinstance(refused.value, libwatch.CorruptError | libwatch.StorageError), what


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "store"
    make(path, SHAPES["compact-half"])
    return path


def used(path: Path) -> list[tuple[Path, range]]:
    """The bytes that count: headers and records, without holes, the last record and the room behind it."""
    parts = []
    for file in sorted(path.glob("*.lws")):
        data = file.read_bytes()
        end = first = int.from_bytes(data[64:72], "little")
        while file.name.startswith("seg") and end + 32 <= len(data):
            step = int.from_bytes(data[end : end + 4], "little")
            if step == 0 or data[end + 28] == CLOSE:
                break
            end += step
        if file.name.startswith("base"):
            end = int.from_bytes(data[88:96], "little") + 4 * int.from_bytes(data[96:100], "little")
        parts += [(file, range(4096)), (file, range(first, end))]
    return parts


def test_every_changed_bit_is_noticed(sound: Path, tmp_path: Path) -> None:
    """etcd 1.1, 1.6: damaged history is an error, never other history."""
    shutil.copytree(sound, tmp_path / "copy")
    dice = random.Random(3)
    parts = used(tmp_path / "copy")
    for number in range(40):
        file, places = parts[number % len(parts)]
        data = bytearray(file.read_bytes())
        at, bit = dice.choice(places), 1 << dice.randrange(8)
        data[at] ^= bit
        file.write_bytes(data)
        both_refuse(tmp_path / "copy", f"bit {bit} at {at} of {file.name}")
        data[at] ^= bit
        file.write_bytes(data)
    assert read_store(tmp_path / "copy").clean


@pytest.mark.parametrize("pattern", ["MANIFEST", "base-*", "seg-*2.lws", "seg-*3.lws", "seg-*4.lws"])
@pytest.mark.parametrize("damage", ["missing", "empty", "shorter", "longer", "zeros", "of another store"])
def test_every_damaged_file_is_noticed(sound: Path, tmp_path: Path, pattern: str, damage: str) -> None:
    """etcd 1.1: as above."""
    copy = tmp_path / "copy"
    shutil.copytree(sound, copy)
    (file,) = copy.glob(pattern)
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
        if pattern == "MANIFEST":
            with pytest.raises(FileNotFoundError):
                read_store(copy)
            with pytest.raises(libwatch.StorageError):
                libwatch.open(copy, read_only=True)
            return
    elif damage == "of another store":
        make(tmp_path / "other", SHAPES["compact-half"])
        (other,) = (tmp_path / "other").glob(pattern)
        shutil.copy(other, file)
    else:
        changed = {"empty": b"", "shorter": data[:-4096], "longer": data + b"x", "zeros": bytes(len(data))}
        file.write_bytes(changed[damage])
    if pattern == "MANIFEST" and damage in ("shorter", "longer"):
        # Three or four of the copies are left; the library takes one of them.
        with pytest.raises(Damaged):
            read_store(copy)
        return
    both_refuse(copy, f"{file.name} {damage}")


def test_one_copy_of_the_manifest_is_enough(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound, tmp_path / "copy")
    file = tmp_path / "copy" / "MANIFEST"
    data = file.read_bytes()
    generation = read_store(sound).manifest.generation
    keep = (generation % 2) * 8192
    file.write_bytes(bytes(keep) + data[keep : keep + 4096] + bytes(12288 - keep))
    assert read(tmp_path / "copy") == read(sound)
