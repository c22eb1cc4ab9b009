"""A recorded trace as plain text, for programs that read no JSON.

    python3 steps.py FOLDER TRACE...

writes two files for each TRACE into FOLDER: NAME.program, one step a line, and NAME.expected, the transcript
that a replay of it must print. Then it prints the number of traces and of steps.

Tokens are separated by one blank; bytes are hex, "-" if there are none; flags are 0 or 1.

program      watchers N                                         the first line: watchers are numbered from 0
             put KEY VALUE PREV_KV
             delete_range KEY RANGE_END PREV_KV
             range KEY RANGE_END REVISION LIMIT MIN_MOD MAX_CREATE TARGET ORDER KEYS_ONLY COUNT_ONLY
             txn N {KEY TARGET RESULT OPERAND} N {success} N {failure}   operations as the lines above
             compact REVISION
             watch WATCHER STREAM ID KEY RANGE_END START NOPUT NODELETE PREV_KV   WATCHER -1: must be refused
             cancel STREAM ID
ID           auto, the number asked for, or @WATCHER: the id that this watcher got
transcript   each line begins with the number of its step, from 0
             put REVISION | delete_range REVISION DELETED | range REVISION COUNT MORE | txn REVISION SUCCEEDED
             compact REVISION | watch WATCHER | canceled | WATCH_ERR_...                    the answer
             prev KV | kv KV                                                                its pairs
             then put | then delete_range DELETED | then range COUNT MORE                   parts of a txn
             to WATCHER put KV | delete KV | prev KV | canceled COMPACT_REVISION            deliveries
KV           KEY VALUE CREATE_REVISION MOD_REVISION VERSION LEASE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

STATUS = {
    "compacted": "WATCH_ERR_COMPACTED",
    "future_revision": "WATCH_ERR_FUTURE_REVISION",
    "empty_key": "WATCH_ERR_EMPTY_KEY",
    "duplicate_key": "WATCH_ERR_DUPLICATE_KEY",
    "empty_range": "WATCH_ERR_EMPTY_RANGE",
    "duplicate_id": "WATCH_ERR_DUPLICATE_WATCH_ID",
}


def token(value: object) -> str:
    """One token; bytes come as their hex digits."""
    if isinstance(value, bool):
        return str(int(value))
    return str(value) or "-"


def line(*values: object) -> str:
    return " ".join(token(value) for value in values)


def operation(step: dict) -> str:
    match step["op"]:
        case "put":
            return line("put", step["key"], step["value"], step["prev_kv"])
        case "delete_range":
            return line("delete_range", step["key"], step["range_end"], step["prev_kv"])
        case "range":
            numbers = [step.get(name, 0) for name in ("min_mod_revision", "max_create_revision")]
            sort = [step.get("sort_target", "KEY"), step.get("sort_order", "NONE")]
            flags = [step.get(name, False) for name in ("keys_only", "count_only")]
            limits = [step["revision"], step["limit"]]
            return line("range", step["key"], step["range_end"], *limits, *numbers, *sort, *flags)
    raise ValueError(f"unknown operation {step['op']}")


def transaction(step: dict) -> str:
    words = [line("txn", len(step["compare"]))]
    words += [line(one["key"], one["target"], one["result"], one["operand"]) for one in step["compare"]]
    for branch in (step["success"], step["failure"]):
        words.append(line(len(branch)))
        words += [operation(one) for one in branch]
    return " ".join(words)


def pair(kv: dict) -> str:
    # No trace uses leases, so a replay must see 0.
    return line(kv["key"], kv["value"], kv["create_revision"], kv["mod_revision"], kv["version"], 0)


def pairs(answer: dict) -> list[str]:
    prevs = answer.get("prev_kvs", [answer["prev_kv"]] if answer.get("prev_kv") else [])
    return [f"prev {pair(kv)}" for kv in prevs] + [f"kv {pair(kv)}" for kv in answer.get("kvs", [])]


def outcome(answer: dict, *begin: object) -> list[str]:
    """The answer to one operation, alone or as a part of a transaction."""
    numbers = [answer[name] for name in ("deleted", "count", "more") if name in answer]
    return [line(*begin, *numbers), *pairs(answer)]


class Trace:
    """Turns the steps of one trace into text; knows which watcher has which recorded id while it lives."""

    def __init__(self, steps: list[dict]) -> None:
        created = [step["expect"]["watcher"] for step in steps if "watcher" in step["expect"]]
        self.program = [line("watchers", max(created, default=-1) + 1)]
        self.transcript: list[str] = []
        self.watcher_of: dict[tuple[int, int], int] = {}
        for number, step in enumerate(steps):
            self.program.append(self.action(step))
            self.transcript += [f"{number} {told}" for told in self.answer(step) + self.deliveries(step)]

    def action(self, step: dict) -> str:
        match step["op"]:
            case "txn":
                return transaction(step)
            case "compact":
                return line("compact", step["revision"])
            case "watch":
                watcher = step["expect"].get("watcher", -1)
                filters = ["NOPUT" in step["filters"], "NODELETE" in step["filters"]]
                asked = self.name_of(step, 1000) if step["watch_id"] else "auto"
                span = [step["key"], step["range_end"], step["start_revision"]]
                return line("watch", watcher, step["stream"], asked, *span, *filters, step["prev_kv"])
            case "cancel":
                return line("cancel", step["stream"], self.name_of(step, 1_000_000))
        return operation(step)

    def name_of(self, step: dict, away: int) -> str:
        """The recorded id as libwatch knows it: the one it gave, or one that is certainly not live."""
        watcher = self.watcher_of.get((step["stream"], step["watch_id"]))
        return str(step["watch_id"] + away) if watcher is None else f"@{watcher}"

    def answer(self, step: dict) -> list[str]:
        kind, expect = step["op"], step["expect"]
        if "error" in expect:
            return [STATUS[expect["error"]]]
        match kind:
            case "cancel":
                return [self.cancel(step)]
            case "watch":
                self.watcher_of[step["stream"], expect["watch_id"]] = expect["watcher"]
                return [line(kind, expect["watcher"])]
            case "txn":
                parts = [outcome(part, "then", part["op"]) for part in expect["responses"]]
                answer = line(kind, expect["revision"], expect["succeeded"])
                return [answer, *(told for part in parts for told in part)]
        return outcome(expect, kind, expect["revision"])

    def cancel(self, step: dict) -> str:
        if not step["expect"]["canceled"]:
            return "WATCH_ERR_WATCH_NOT_FOUND"
        if self.watcher_of.pop((step["stream"], step["watch_id"])) != step["expect"]["watcher"]:
            raise ValueError(f"the canceled watcher is not the recorded one: {step}")
        return "canceled"

    def deliveries(self, step: dict) -> list[str]:
        told = []
        for watcher, delivered in sorted((int(name), one) for name, one in step["delivered"].items()):
            for event in delivered["events"]:
                told.append(f"to {watcher} {event['type'].lower()} {pair(event['kv'])}")
                if "prev_kv" in event:
                    told.append(f"to {watcher} prev {pair(event['prev_kv'])}")
            if delivered.get("canceled"):
                told.append(f"to {watcher} canceled {delivered['compact_revision']}")
                self.watcher_of = {key: live for key, live in self.watcher_of.items() if live != watcher}
        return told


def main(folder: Path, traces: list[Path]) -> None:
    steps = 0
    for path in traces:
        recording = json.loads(path.read_text())
        if recording["format"] != "etcd-watch-trace/1" or not recording["steps"]:
            raise ValueError(f"{path} is no trace")
        trace = Trace(recording["steps"])
        steps += len(recording["steps"])
        for ending, lines in (("program", trace.program), ("expected", trace.transcript)):
            (folder / f"{path.stem}.{ending}").write_text("".join(f"{one}\n" for one in lines))
    print(len(traces), steps)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
