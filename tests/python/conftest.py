"""Fixtures: a store in memory and one in files, each fresh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import libwatch


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[libwatch.Store]:
    path = None if request.param == "memory" else tmp_path / "store"
    with libwatch.open(path, durability="none", segment_bytes=1 << 20) as store:
        yield store


@pytest.fixture
def memory() -> Iterator[libwatch.Store]:
    with libwatch.open(None) as store:
        yield store
