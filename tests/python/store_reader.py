"""Reads a store directory without the library: docs/format.md in plain Python, and nothing else.

Whatever the document does not allow is `Damaged`, with the file and the offset.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PAGE = 4096
TXN, COMPACT, SEAL, CLOSE, EPOCH, BASE, START = range(1, 8)
NONE, INTERVAL, COMMIT = range(3)


class Damaged(Exception):
    """The store breaks a rule of the document."""

    def __init__(self, file: str, offset: int, what: str) -> None:
        super().__init__(f"{file} at {offset}: {what}")
        self.file, self.offset, self.what = file, offset, what


@dataclass(frozen=True)
class Change:
    """One change, or one entry of the base."""

    revision: int
    sub: int
    deleted: bool
    key: bytes
    value: bytes
    lease: int
    create_revision: int
    version: int
    position: int
    prev: int
    skip: int
    depth: int


@dataclass(frozen=True)
class Record:
    offset: int
    length: int
    checksum: int
    revision: int
    durable: int
    kind: int
    body: bytes
    changes: tuple[Change, ...]

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True)
class Manifest:
    durability: int
    identity: bytes
    generation: int
    seed: int
    session: int
    boot_id: bytes
    first_segment: int
    first_base: int
    base_count: int
    base_revision: int
    first_revision: int
    compact_revision: int
    floor: int
    segment_bytes: int


@dataclass(frozen=True)
class File:
    """A segment or a base part with its header."""

    name: str
    data: bytes
    salt: bytes
    number: int
    first: int
    before: int
    index: int
    entries: int
    index_checksum: int

    @property
    def rewritten(self) -> bool:
        return self.first > PAGE

    def position(self, offset: int) -> int:
        return self.number << 32 | offset // 8


@dataclass
class Store:
    """What the files hold. `changes` are those that count; `state` is the newest change of each key."""

    manifest: Manifest
    revision: int = 1
    compact_revision: int = -1
    base: list[Change] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    state: dict[bytes, Change] = field(default_factory=dict)
    clean: bool = False
    torn: bool = False

    def live(self) -> list[Change]:
        return [self.state[key] for key in sorted(self.state) if not self.state[key].deleted]


# ---- checksum ----------------------------------------------------------------------------------------------


def _eight_zeros(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_ONE = [_eight_zeros(byte) for byte in range(256)]
# Two bytes for each step.
_TWO = [_eight_zeros(_eight_zeros(word)) for word in range(1 << 16)]


def crc32c(*parts: bytes) -> int:
    value = 0xFFFFFFFF
    for part in parts:
        even = len(part) & ~1
        for word in struct.unpack(f"<{even // 2}H", part[:even]):
            value = value >> 16 ^ _TWO[(value ^ word) & 0xFFFF]
        for byte in part[even:]:
            value = value >> 8 ^ _ONE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


# ---- manifest and headers ----------------------------------------------------------------------------------


def read_manifest(path: Path) -> Manifest:
    data = (path / "MANIFEST").read_bytes()
    if len(data) != 4 * PAGE:
        raise Damaged("MANIFEST", 0, f"{len(data)} bytes long")
    intact = []
    for at in range(0, 4 * PAGE, PAGE):
        copy = data[at : at + PAGE]
        if copy[:8] != b"libwMAN\n" or struct.unpack_from("<I", copy, 4092)[0] != crc32c(copy[:4092]):
            continue
        major, _minor, durability = struct.unpack_from("<HHI", copy, 8)
        if major != 1:
            raise Damaged("MANIFEST", at + 8, f"major version {major}")
        if any(copy[128:4092]):
            raise Damaged("MANIFEST", at + 128, "not zero")
        intact.append(Manifest(durability, *struct.unpack_from("<16s3Q16s3I4xQQqQQ", copy, 16)))
    if not intact:
        raise Damaged("MANIFEST", 0, "no copy is intact")
    return max(intact, key=lambda copy: copy.generation)


def read_file(path: Path, number: int, manifest: Manifest) -> File:
    """A segment or base part, its header checked."""
    is_base = bool(number >> 31)
    name = f"base-{number:08x}.lws" if is_base else f"seg-{number:016x}.lws"
    if not (path / name).exists():
        raise Damaged(name, 0, "missing")
    data = (path / name).read_bytes()
    head = data[:PAGE]
    intact = len(head) == PAGE and crc32c(head[:4092]) == int.from_bytes(head[4092:], "little")
    if head[:8] != b"libwSEG\n" or not intact:
        raise Damaged(name, 0, "header is not intact")
    major, _minor, kind, identity, salt, own, length, first, generation, before, index, entries, checksum = (
        struct.unpack_from("<HHI16s16sI4xQQQQQII", head, 8)
    )
    expected = {
        "major version": (major, 1),
        "kind": (kind, 2 if is_base else 1),
        "identity": (identity, manifest.identity),
        "number": (own, number),
        "length": (length, len(data)),
    }
    for what, (found, right) in expected.items():
        if found != right:
            raise Damaged(name, 8, f"{what} is {found!r}, not {right!r}")
    if generation > manifest.generation:
        raise Damaged(name, 72, f"made in generation {generation}, the manifest is at {manifest.generation}")
    if first < PAGE or first > length or first % 8 or any(head[104:4092]) or any(data[PAGE:first]):
        raise Damaged(name, 64, "first record, or bytes that are not zero before it")
    return File(name, data, salt, number, first, before, index, entries, checksum)


# ---- records -----------------------------------------------------------------------------------------------


def _changes(file: File, at: int, end: int, count: int, revision: int) -> tuple[Change, ...]:
    found = []
    record = at - 32
    for sub in range(count):
        begin = at
        if at + 48 > end:
            raise Damaged(file.name, at, "changes do not fit their record")
        key_length, deleted, with_lease, value_length, distance, depth, create, version, prev, skip = (
            struct.unpack_from("<HBBIIIQQQQ", file.data, at)
        )
        at += 48
        lease = 0
        if with_lease:
            lease = struct.unpack_from("<q", file.data, at)[0]
            at += 8
        key = file.data[at : at + key_length]
        value = file.data[at + key_length : at + key_length + value_length]
        at += key_length + value_length
        padded = (at + 7) // 8 * 8
        if padded > end or any(file.data[at:padded]):
            raise Damaged(file.name, begin, "changes do not fit their record")
        if not key or deleted > 1 or with_lease > 1 or bool(lease) != bool(with_lease):
            raise Damaged(file.name, begin, "a change that cannot be")
        if distance != (begin - record) // 8:
            raise Damaged(file.name, begin + 8, f"distance {distance}")
        at = padded
        here = file.position(begin)
        found.append(
            Change(revision, sub, bool(deleted), key, value, lease, create, version, here, prev, skip, depth)
        )
    if at != end:
        raise Damaged(file.name, at, "changes do not fill their record")
    return tuple(found)


def read_record(file: File, at: int) -> Record | None:
    """The record at an offset, or None if no valid one is there."""
    if at + 32 > len(file.data):
        return None
    length, checksum, revision, durable, count, kind = struct.unpack_from("<IIQQIB3x", file.data, at)
    if length < 32 or length % 8 or at + length > len(file.data):
        return None
    place = struct.pack("<II", length, at // 8)
    if crc32c(file.salt, place, file.data[at + 8 : at + length]) != checksum:
        return None
    if not TXN <= kind <= START or any(file.data[at + 29 : at + 32]):
        raise Damaged(file.name, at + 28, f"record of kind {kind}")
    body = file.data[at + 32 : at + length]
    changes: tuple[Change, ...] = ()
    if kind in (TXN, BASE):
        changes = _changes(file, at + 32, at + length, count, revision)
    expected = {COMPACT: 8, SEAL: 0, CLOSE: 8, EPOCH: 16, START: 8}.get(kind, len(body))
    if len(body) != expected or bool(count) != (kind in (TXN, BASE)) or (kind == BASE and count != 1):
        raise Damaged(file.name, at, f"record of kind {kind} with {count} changes and {len(body)} bytes")
    return Record(at, length, checksum, revision, durable, kind, body, changes)


def records_behind(file: File, at: int) -> Iterator[Record]:
    """Valid records anywhere from an offset on."""
    while at < len(file.data):
        record = read_record(file, at)
        if record is not None:
            yield record
        at = record.end if record is not None else at + 8
        # Quickly over zeros.
        while at + PAGE <= len(file.data) and not file.data[at : at + PAGE].strip(b"\0"):
            at += PAGE


class Reader:
    """The steps of "Reading a store"."""

    def __init__(self, path: Path, boot_id: bytes | None = None) -> None:
        self.path, self.boot_id = path, boot_id
        self.manifest = read_manifest(path)
        self.store = Store(self.manifest)
        self.files: dict[int, File] = {}
        self.places: dict[int, Change] = {}
        self.durable = 0

    def read(self) -> Store:
        store, manifest = self.store, self.manifest
        for number in range(manifest.first_base, manifest.first_base + manifest.base_count):
            self.base_part(read_file(self.path, number, manifest))
        named = (re.fullmatch(r"seg-([0-9a-f]{16})\.lws", entry.name) for entry in self.path.iterdir())
        segments = sorted(int(name[1], 16) for name in named if name)
        store.compact_revision = manifest.compact_revision
        number, before = manifest.first_segment, None
        while True:
            file = read_file(self.path, number, manifest)
            last = self.segment(file, before)
            if last is None or last.kind != SEAL:
                break
            number, before = number + 1, last
        self.end(file, last, [later for later in segments if later > number])
        return store

    def base_part(self, file: File) -> None:
        store, at = self.store, file.first
        self.files[file.number] = file
        begins = []
        while at < file.index:
            record = read_record(file, at)
            if record is None or record.kind != BASE:
                raise Damaged(file.name, at, "not a valid BASE record")
            (change,) = record.changes
            if store.base and store.base[-1].key >= change.key:
                raise Damaged(file.name, at, "keys do not ascend")
            if change.deleted or change.prev or change.skip or change.revision > self.manifest.base_revision:
                raise Damaged(file.name, at, "an entry that cannot be")
            store.base.append(change)
            store.state[change.key] = change
            self.places[change.position] = change
            begins.append(change.position & 0xFFFFFFFF)
            at = record.end
        index = struct.pack(f"<{len(begins)}I", *begins)
        padded = index + bytes(-len(index) % 8)
        if at != file.index or file.data[at:] != padded or file.entries != len(begins):
            raise Damaged(file.name, file.index, "the index does not match the entries")
        if file.index_checksum != crc32c(index):
            raise Damaged(file.name, 100, "checksum of the index")
        if file.before != self.manifest.base_revision:
            raise Damaged(file.name, 80, f"base revision {file.before}")

    def segment(self, file: File, before: Record | None) -> Record | None:
        """The valid records of a segment; the last of them."""
        store, at = self.store, file.first
        self.files[file.number] = file
        if file.rewritten:
            store.revision = file.before
        last = None
        while last is None or last.kind != SEAL:
            record = read_record(file, at)
            if record is None:
                break
            self.follows(file, record, last, before)
            self.durable = max(self.durable, record.durable)
            store.kinds.append(record.kind)
            store.revision = record.revision
            for change in record.changes:
                self.change(file, change)
            last, at = record, record.end
        return last

    def follows(self, file: File, record: Record, last: Record | None, before: Record | None) -> None:
        store, at, body = self.store, record.offset, record.body
        if (record.kind == START) != (last is None and not file.rewritten) or record.kind == BASE:
            raise Damaged(file.name, at, f"record of kind {record.kind} in this place")
        expected = store.revision + (record.kind == TXN)
        if record.kind == START:
            checksum, number = struct.unpack("<II", body)
            if before is not None and (checksum != before.checksum or number != file.number - 1):
                raise Damaged(file.name, at, "START does not match the segment before")
            if file.number == 1 and (record.revision, checksum, number) != (1, 0, 0):
                raise Damaged(file.name, at, "START of segment 1")
            if before is None:
                expected = record.revision
        elif record.kind == EPOCH:
            old, new = struct.unpack("<QQ", body)
            if old != store.revision or new != record.revision or new <= old:
                raise Damaged(file.name, at, f"EPOCH from {old} to {new} at revision {store.revision}")
            expected = new
        elif record.kind == COMPACT:
            (compact,) = struct.unpack("<q", body)
            if compact > store.revision:
                raise Damaged(file.name, at, f"COMPACT to {compact} at revision {store.revision}")
            store.compact_revision = max(store.compact_revision, compact)
        if record.revision != expected:
            raise Damaged(file.name, at + 8, f"revision {record.revision} does not follow {store.revision}")

    def change(self, file: File, change: Change) -> None:
        """Checks a change against the one of its key before it."""
        self.places[change.position] = change
        at = (change.position & 0xFFFFFFFF) * 8
        self.chain(file, change, at)
        if change.revision < self.manifest.first_revision:
            return
        store = self.store
        before = store.state.get(change.key)
        lives = before is not None and not before.deleted
        if before is not None and before.revision >= change.revision:
            raise Damaged(file.name, at, "a key changes twice in one revision")
        if change.deleted and not lives:
            raise Damaged(file.name, at, "a delete of a key that does not live")
        if change.deleted and (change.create_revision or change.version or change.value or change.lease):
            raise Damaged(file.name, at, "a delete with more than a key")
        if not change.deleted:
            right = (before.create_revision, before.version + 1) if before and lives else (change.revision, 1)
            if (change.create_revision, change.version) != right:
                raise Damaged(file.name, at, f"create revision and version, not {right}")
        if before is not None and change.prev not in (before.position, 0) and not self.dropped(change.prev):
            found = self.places[change.prev]
            if found.revision != before.revision:
                raise Damaged(file.name, at + 32, "prev is not the change before")
        if before is not None and change.prev == 0:
            raise Damaged(file.name, at + 32, "no prev")
        store.changes.append(change)
        store.state[change.key] = change

    def chain(self, file: File, change: Change, at: int) -> None:
        for what, offset, place in (("prev", 32, change.prev), ("skip", 40, change.skip)):
            if place == 0 or self.dropped(place):
                continue
            found = self.places.get(place)
            if found is None or found.key != change.key or found.revision >= change.revision:
                raise Damaged(file.name, at + offset, f"{what} leads to no earlier change of the key")
            if what == "prev" and change.depth != found.depth + 1:
                raise Damaged(file.name, at + 12, f"depth {change.depth} behind {found.depth}")
        if change.prev == 0 and (change.depth or change.skip):
            raise Damaged(file.name, at + 12, "a depth without prev")

    def dropped(self, place: int) -> bool:
        """If compaction dropped the place: its file is gone, or a hole is there."""
        number, offset = place >> 32, (place & 0xFFFFFFFF) * 8
        if number in self.files:
            return offset < self.files[number].first
        return bool(number >> 31) or number < self.manifest.first_segment

    def end(self, file: File, last: Record | None, later: list[int]) -> None:
        """Steps 3 and 4: is the place without a valid record the end?"""
        manifest, store = self.manifest, self.store
        end = last.end if last else file.first
        if last and last.kind == CLOSE and struct.unpack("<Q", last.body)[0] == manifest.session:
            store.clean = True
            return
        behind = list(records_behind(file, end))
        others = [
            (number, list(records_behind(other, other.first)))
            for number in later
            if (other := read_file(self.path, number, manifest))
        ]
        for record in behind + [record for _, found in others for record in found]:
            self.durable = max(self.durable, record.durable)
        if file.position(end) < self.durable:
            raise Damaged(file.name, end, "durable bytes are gone")
        power_lost = (
            manifest.durability != COMMIT and self.boot_id is not None and self.boot_id != manifest.boot_id
        )
        if any(found for _, found in others) and not power_lost:
            raise Damaged(file.name, end, "a later segment has valid records")
        store.torn = bool(behind) or any(file.data[end:])


def read_store(path: Path, boot_id: bytes | None = None) -> Store:
    return Reader(path, boot_id).read()
