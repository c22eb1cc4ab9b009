"""Replays what a live etcd answered (tests/conformance) through the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import libwatch
from libwatch import compare, op
from support import SECONDS

TRACES = sorted((Path(__file__).parents[1] / "conformance").glob("trace-*.json"))
Json: TypeAlias = dict[str, Any]

ERRORS: dict[str, type[libwatch.WatchError]] = {
    "compacted": libwatch.CompactedError,
    "future_revision": libwatch.FutureRevisionError,
    "empty_key": libwatch.EmptyKeyError,
    "duplicate_key": libwatch.DuplicateKeyError,
    "empty_range": libwatch.EmptyRangeError,
    "duplicate_id": libwatch.DuplicateWatchIdError,
}
SORTS = {"KEY": "key", "VERSION": "version", "CREATE": "create", "MOD": "mod", "VALUE": "value"}


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def pair(kv: libwatch.KeyValue | None) -> Json | None:
    if kv is None:
        return None
    return {
        "key": kv.key.hex(),
        "value": kv.value.hex(),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
    }


def pairs(kvs: Any) -> list[Json | None]:
    return [pair(kv) for kv in kvs]


def event_of(event: libwatch.Event) -> Json:
    recorded: Json = {"type": event.type, "kv": pair(event.kv)}
    if event.prev_kv is not None:
        recorded["prev_kv"] = pair(event.prev_kv)
    return recorded


def range_arguments(step: Json) -> Json:
    arguments: Json = {"range_end": unhex(step["range_end"])}
    for name in ("revision", "limit", "count_only", "keys_only", "min_mod_revision", "max_create_revision"):
        if name in step:
            arguments[name] = step[name]
    if "sort_target" in step:
        arguments["sort"] = SORTS[step["sort_target"]]
    arguments["descending"] = step.get("sort_order") == "DESCEND"
    return arguments


class Replay:
    """One trace against one store, with the watches of two streams."""

    def __init__(self, store: libwatch.Store) -> None:
        self.store = store
        self.streams = [store.watch_stream(), store.watch_stream()]
        # For each stream: recorded ids of live watches, with ours; and ours with the number of the watcher.
        self.ids: list[dict[int, int]] = [{}, {}]
        self.watchers: list[dict[int, int]] = [{}, {}]

    def run(self, step: Json) -> None:
        expected = dict(step["expect"])
        error = expected.pop("error", None)
        act = getattr(self, "do_" + step["op"])
        if error is None:
            answer = act(step, expected)
            for name, value in answer.items():
                assert value == expected.get(name), (name, step)
        else:
            with pytest.raises(ERRORS[error]):
                act(step, expected)
        assert self.delivered() == step["delivered"], step

    def do_put(self, step: Json, expected: Json) -> Json:
        result = self.store.put(unhex(step["key"]), unhex(step["value"]), prev_kv=step["prev_kv"])
        return {"revision": result.revision, "prev_kv": pair(result.prev_kv)}

    def do_delete_range(self, step: Json, expected: Json) -> Json:
        result = self.store.delete(unhex(step["key"]), unhex(step["range_end"]), prev_kv=step["prev_kv"])
        return {
            "revision": result.revision,
            "deleted": result.deleted,
            "prev_kvs": pairs(result.prev_kvs),
        }

    def do_range(self, step: Json, expected: Json) -> Json:
        result = self.store.range(unhex(step["key"]), **range_arguments(step))
        return {
            "revision": result.revision,
            "count": result.count,
            "more": result.more,
            "kvs": pairs(result),
        }

    def do_txn(self, step: Json, expected: Json) -> Json:
        result = self.store.txn(
            compare=[self.condition(one) for one in step["compare"]],
            success=[self.operation(one) for one in step["success"]],
            failure=[self.operation(one) for one in step["failure"]],
        )
        assert len(result.results) == len(expected["responses"]), step
        for one, recorded in zip(result.results, expected["responses"], strict=True):
            answer = self.answer_of(one)
            assert {name: answer[name] for name in recorded} == recorded, step
        return {"revision": result.revision, "succeeded": result.succeeded}

    def do_compact(self, step: Json, expected: Json) -> Json:
        self.store.compact(step["revision"])
        return {"revision": self.store.revision}

    def do_watch(self, step: Json, expected: Json) -> Json:
        number = step["stream"]
        asked = step["watch_id"]
        given = self.ids[number].get(asked, asked + 1000) if asked else 0
        watch_id = self.streams[number].create(
            unhex(step["key"]),
            unhex(step["range_end"]),
            watch_id=given,
            start_revision=step["start_revision"],
            prev_kv=step["prev_kv"],
            filters=[name.lower() for name in step["filters"]],
        )
        self.ids[number][expected["watch_id"]] = watch_id
        self.watchers[number][watch_id] = expected["watcher"]
        return {}

    def do_cancel(self, step: Json, expected: Json) -> Json:
        number = step["stream"]
        watch_id = self.ids[number].pop(step["watch_id"], None)
        if not expected["canceled"]:
            with pytest.raises(libwatch.WatchNotFoundError):
                self.streams[number].cancel(10**9 if watch_id is None else watch_id)
            return {}
        assert watch_id is not None, step
        self.streams[number].cancel(watch_id)
        return {"watcher": self.watchers[number][watch_id]}

    def condition(self, one: Json) -> libwatch.Compare:
        name = {"VERSION": "version", "CREATE": "create_revision", "MOD": "mod_revision", "VALUE": "value"}
        operand = getattr(compare, name[one["target"]])(unhex(one["key"]))
        held_against = unhex(one["operand"]) if one["target"] == "VALUE" else one["operand"]
        relations = {
            "EQUAL": operand.__eq__,
            "NOT_EQUAL": operand.__ne__,
            "GREATER": operand.__gt__,
            "LESS": operand.__lt__,
        }
        condition = relations[one["result"]](held_against)
        assert isinstance(condition, libwatch.Compare)
        return condition

    def operation(self, one: Json) -> libwatch.Op:
        key = unhex(one["key"])
        match one["op"]:
            case "put":
                return op.put(key, unhex(one["value"]), prev_kv=one["prev_kv"])
            case "delete_range":
                return op.delete(key, unhex(one["range_end"]), prev_kv=one["prev_kv"])
            case "range":
                return op.range(key, **range_arguments(one))
            case other:
                raise AssertionError(other)

    def answer_of(self, one: object) -> Json:
        match one:
            case libwatch.PutResult():
                return {"op": "put", "revision": one.revision, "prev_kv": pair(one.prev_kv)}
            case libwatch.DeleteResult():
                return {"op": "delete_range", "deleted": one.deleted, "prev_kvs": pairs(one.prev_kvs)}
            case libwatch.RangeResult():
                return {"op": "range", "count": one.count, "more": one.more, "kvs": pairs(one)}
            case other:
                raise AssertionError(other)

    def delivered(self) -> Json:
        """What the watches get until both streams say that everything was delivered."""
        delivered: dict[str, Json] = {}
        for number, stream in enumerate(self.streams):
            stream.request_progress()
            while True:
                response = stream.next(SECONDS)
                assert response is not None
                if response.is_progress_notify:
                    break
                watcher = str(self.watchers[number][response.watch_id])
                if len(response):
                    entry = delivered.setdefault(watcher, {"events": []})
                    entry["events"].extend(event_of(event) for event in response)
                if response.canceled and response.cancel_code:
                    assert response.cancel_code == libwatch.CompactedError.code
                    entry = delivered.setdefault(watcher, {"events": []})
                    entry |= {"canceled": True, "compact_revision": response.compact_revision}
                    live = self.ids[number]
                    self.ids[number] = {old: new for old, new in live.items() if new != response.watch_id}
        return delivered


def test_the_traces_are_there() -> None:
    assert len(TRACES) >= 17


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.stem)
def test_replay(store: libwatch.Store, trace: Path) -> None:
    recorded = json.loads(trace.read_text())
    assert recorded["format"] == "etcd-watch-trace/1"
    replay = Replay(store)
    for step in recorded["steps"]:
        replay.run(step)
