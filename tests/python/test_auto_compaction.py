"""Compaction without being asked."""

from __future__ import annotations

import time

import pytest

import libwatch


# etcd 10.13
def test_by_number() -> None:
    with libwatch.open(None, auto_compaction_revisions=10) as store:
        for i in range(300):
            store.put("a", str(i))
            assert store.compact_revision in (-1, *range(1, store.revision - 9))
        while store.compact_revision < 100:
            time.sleep(0)
        latest = store.get("a")
        assert latest is not None
        assert latest.value == b"299"


# etcd 10.13
def test_by_age() -> None:
    with libwatch.open(None, auto_compaction_period=0.1) as store:
        revision = store.put("a", "1").revision
        while store.compact_revision != revision:
            time.sleep(0)


# S 19.8
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"auto_compaction_revisions": 0}, libwatch.LimitError),
        ({"auto_compaction_revisions": -1}, libwatch.LimitError),
        ({"auto_compaction_period": 0.099}, libwatch.LimitError),
        ({"auto_compaction_period": 11 * 365 * 86400.0}, libwatch.LimitError),
        ({"auto_compaction_period": -1.0}, libwatch.InvalidArgumentError),
        ({"auto_compaction_period": float("nan")}, libwatch.InvalidArgumentError),
        ({"auto_compaction_revisions": 5, "auto_compaction_period": 1.0}, libwatch.InvalidArgumentError),
    ],
)
def test_what_is_refused(options: dict[str, float], error: type[Exception]) -> None:
    with pytest.raises(error, match="auto_compaction"):
        libwatch.open(None, **options)  # type: ignore[arg-type]
