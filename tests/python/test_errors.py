"""Exceptions: every number of the core has its class, the bases are the right built-in ones, all pickle."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest

import libwatch
from libwatch import errors
from libwatch._libwatch import error_codes

CLASSES = [getattr(errors, name) for name in errors.__all__]


def class_name(status: str) -> str:
    """WATCH_ERR_FUTURE_REVISION -> FutureRevisionError."""
    return status.removeprefix("WATCH_ERR_").title().replace("_", "") + "Error"


@pytest.mark.parametrize(("code", "status"), error_codes())
def test_every_code_has_a_class(code: int, status: str) -> None:
    error = errors.error_from_code(code, "what happened")
    assert error.code == code
    assert str(error) == "what happened"
    named = getattr(errors, class_name(status), None)
    if named is not None:
        assert type(error) is named
        assert named.code == code
    elif -59 <= code <= -40:
        assert type(error) is libwatch.StorageError
    else:
        assert type(error) is libwatch.WatchError


def test_every_class_has_a_code() -> None:
    codes = dict((name, code) for code, name in error_codes())
    names = {class_name(status): code for status, code in codes.items()}
    names |= {"StorageError": codes["WATCH_ERR_IO"], "WatchError": 0}
    assert {kind.__name__: kind.code for kind in CLASSES} == {
        kind.__name__: names[kind.__name__] for kind in CLASSES
    }


def test_all_are_exported() -> None:
    for name in errors.__all__:
        assert getattr(libwatch, name) is getattr(errors, name)
        assert name in libwatch.__all__


def test_an_unknown_code_is_carried() -> None:
    assert errors.error_from_code(-99, "new").code == -99
    assert libwatch.WatchError.code == 0


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (libwatch.InvalidArgumentError, ValueError),
        (libwatch.LimitError, ValueError),
        (libwatch.EmptyKeyError, ValueError),
        (libwatch.EmptyRangeError, ValueError),
        (libwatch.KeyNotFoundError, LookupError),
        (libwatch.WatchNotFoundError, LookupError),
        (libwatch.StorageError, OSError),
        (libwatch.CorruptError, libwatch.StorageError),
        (libwatch.LockedError, libwatch.StorageError),
        (libwatch.PoisonedError, libwatch.StorageError),
    ],
)
def test_bases(kind: type[Exception], base: type[Exception]) -> None:
    assert issubclass(kind, base)
    assert issubclass(kind, libwatch.WatchError)


@pytest.mark.parametrize(("code", "status"), error_codes())
def test_exceptions_pickle(code: int, status: str) -> None:
    error = errors.error_from_code(code, "what happened", errno.EIO if code <= -40 else 0, 7)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.code, str(copy), copy.__dict__) == (error.code, str(error), error.__dict__)
    if isinstance(error, OSError):
        assert isinstance(copy, OSError)
        assert copy.errno == error.errno == errno.EIO


def test_numbers_of_a_revision(memory: libwatch.Store) -> None:
    memory.put(b"a", b"")
    memory.compact(2)
    with pytest.raises(libwatch.CompactedError, match=r"1.*2") as compacted:
        memory.get(b"a", revision=1)
    assert compacted.value.compact_revision == 2
    with pytest.raises(libwatch.FutureRevisionError, match=r"9.*2") as future:
        memory.get(b"a", revision=9)
    assert future.value.current_revision == 2


def test_errno_of_the_system(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    with pytest.raises(libwatch.StorageError) as refused:
        libwatch.open(file / "store")
    assert refused.value.errno == errno.ENOTDIR
    assert str(file) in str(refused.value)
    assert "Errno" not in str(refused.value)


def test_a_storage_error_without_errno() -> None:
    error = errors.error_from_code(-44, "read-only")
    assert isinstance(error, libwatch.StorageError)
    assert (error.errno, str(error), error.code) == (None, "read-only", -44)


def test_corruption_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with libwatch.open(path, segment_bytes=64 << 10) as store:
        for i in range(300):
            store.put(b"key%d" % i, b"value" * 100)
    for file in path.iterdir():
        if file.stat().st_size >= 64 << 10:
            data = bytearray(file.read_bytes())
            data[20_000:20_064] = b"\xaa" * 64
            file.write_bytes(data)
    with pytest.raises(libwatch.CorruptError) as corrupt:
        libwatch.open(path)
    assert corrupt.value.code == -42
