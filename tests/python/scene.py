"""A store with a past and two watches. Around every call that is refused its state is held against itself,
and at the end both watches must go on as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest

import libwatch
from support import SECONDS

COMPACTED = 4
CURRENT = 7
LIVE = 7
"""The compaction of a scene, its newest revision, and the id of the watch on the stream of a case."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1
NEGATIVE = (-1, LOWEST)
FUTURE = (CURRENT + 1, HIGHEST)

Told: TypeAlias = tuple[int, str, bytes, bytes]
COUNTS = ("watch_count", "stream_count", "key_count", "put_total", "delete_total")


def told(stream: libwatch.WatchStream) -> list[list[Told]]:
    """What a stream tells up to now: the events of each response."""
    responses: list[list[Told]] = []
    stream.request_progress()
    while True:
        response = stream.next(SECONDS)
        assert response is not None
        if response.watch_id == -1:
            return responses
        responses.append([(event.mod_revision, event.type, event.key, event.value) for event in response])


def events(stream: libwatch.WatchStream) -> list[Told]:
    return [event for response in told(stream) for event in response]


class Scene:
    def __init__(self, store: libwatch.Store) -> None:
        self.store = store
        store.put(b"a", b"1")
        store.put(b"b", b"2")
        store.put(b"a", b"3", lease=9)
        store.put(b"gone", b"x")
        store.delete(b"gone")
        assert store.put(b"c", b"").revision == CURRENT
        store.compact(COMPACTED)
        self.stream, self.witness = store.watch_stream(), store.watch_stream()
        for stream in (self.stream, self.witness):
            assert stream.create(b"\0", b"\0", watch_id=LIVE) == LIVE

    def state(self) -> tuple[object, ...]:
        """Everything a caller can see of the store."""
        stats = self.store.stats()
        pairs = [
            (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease)
            for kv in self.store.range(b"\0", b"\0")
        ]
        counts = [stats[name] for name in COUNTS]
        return (self.store.revision, self.store.compact_revision, counts, pairs)

    def refused(
        self, error: type[BaseException], words: str, call: Callable[..., object], *given: Any, **named: Any
    ) -> Any:
        """The call raises exactly this class, says these words (perhaps in a note), and changes nothing."""
        before = self.state()
        with pytest.raises(error) as caught:
            call(*given, **named)
        assert type(caught.value) is error
        said = " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        assert words in said, said
        assert "\n" not in said
        assert self.state() == before, said
        return caught.value

    def unchanged(self, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """The call is accepted and changes nothing all the same."""
        before = self.state()
        answer = call(*given, **named)
        assert self.state() == before
        return answer

    def goes_on(self) -> None:
        """The next put comes to both watches and is all that comes."""
        last = [[(self.store.put(b"z", b"end").revision, "PUT", b"z", b"end")]]
        assert told(self.stream) == last
        assert told(self.witness) == last


@contextmanager
def scene() -> Iterator[Scene]:
    with libwatch.open(None) as store:
        one = Scene(store)
        yield one
        one.goes_on()
