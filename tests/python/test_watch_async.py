"""asyncio: the same watch and stream under await, on the standard loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import uvloop

import libwatch
from libwatch import op
from support import SECONDS, Thread

Run: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def watched() -> None:
            async with asyncio.timeout(SECONDS):
                await main()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(watched())

    return run


async def settled() -> None:
    """Until every task had its turn and waits."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_async_for(store: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        store.put(b"a", b"1")
        async with store.watch(b"a", start_revision=1) as watch:
            asyncio.get_running_loop().call_later(0.01, store.put, b"a", b"2")
            seen: list[bytes] = []
            async for response in watch:
                seen.extend(event.value for event in response)
                if len(seen) == 2:
                    break
        assert seen == [b"1", b"2"]
        assert store.stats()["watch_count"] == 0

    run(main)


def test_aevents(store: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        for i in range(200):
            store.put(b"a", b"%d" % i)
        watch = store.watch(b"a", start_revision=1)
        seen: list[bytes] = []
        while len(seen) < 200:
            # Leaving the loop in the middle of a response loses nothing.
            events = watch.aevents()
            async for event in events:
                seen.append(event.value)
                if len(seen) % 7 == 0 or len(seen) == 200:
                    break
            await events.aclose()  # type: ignore[attr-defined]
        assert seen == [b"%d" % i for i in range(200)]
        watch.cancel()
        assert [event async for event in watch.aevents()] == []

    run(main)


def test_a_stream_under_await(store: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        with store.watch_stream() as stream:
            ids = {stream.create(key) for key in (b"a", b"b")}
            put = asyncio.create_task(asyncio.to_thread(store.put, b"a", b""))
            first = await anext(stream)
            await put
            store.put(b"b", b"")
            second = await anext(stream)
            assert {first.watch_id, second.watch_id} == ids
            waiter = asyncio.create_task(anext(stream))
            await settled()
            stream.close()
            with pytest.raises(StopAsyncIteration):
                await waiter

    run(main)


def test_a_cancelled_wait_loses_nothing(store: libwatch.Store, run: Run) -> None:
    """Waits are cancelled at every moment: before, while and after a response comes."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[bytes] = []
        async with store.watch(b"a") as watch:
            for i in range(300):
                task = asyncio.ensure_future(anext(watch))
                for _ in range(i % 5):
                    await asyncio.sleep(0)
                store.put(b"a", b"%d" % i)
                if i % 3 == 0:
                    await asyncio.sleep(0.001)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    seen.extend(event.value for event in await task)
            while len(seen) < 300:
                seen.extend(event.value for event in await anext(watch))
        assert seen == [b"%d" % i for i in range(300)]
        assert loop is asyncio.get_running_loop()

    run(main)


def test_a_cancelled_wait_removes_its_reader(store: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with store.watch_stream() as stream:
            task = asyncio.ensure_future(anext(stream))
            await settled()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not loop.remove_reader(stream.fileno())

    run(main)


def test_wait_for_loses_nothing(store: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        writer = Thread(lambda: [store.put(b"a", b"%d" % i) for i in range(200)])
        seen: list[bytes] = []
        async with store.watch(b"a", start_revision=1) as watch:
            while len(seen) < 200:
                try:
                    response = await asyncio.wait_for(anext(watch), 0.0005)
                except TimeoutError:
                    continue
                seen.extend(event.value for event in response)
        writer.result()
        assert seen == [b"%d" % i for i in range(200)]

    run(main)


# etcd 15.8
def test_cancel_and_close_end_a_wait(store: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        async def collect(watch: libwatch.Watch) -> list[libwatch.WatchResponse]:
            return [response async for response in watch]

        watch = store.watch(b"a")
        task = asyncio.create_task(collect(watch))
        await settled()
        watch.cancel()
        assert await task == []
        task = asyncio.create_task(collect(store.watch(b"a")))
        await settled()
        await asyncio.to_thread(store.close)
        assert await task == []

    run(main)


# etcd 15.6
def test_compaction_raises(store: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        for _ in range(5):
            store.put(b"a", b"")
        store.compact(4)
        async with store.watch(b"a", start_revision=2) as watch:
            with pytest.raises(libwatch.CompactedError) as compacted:
                await anext(watch)
            assert compacted.value.compact_revision == 4

    run(main)


def test_one_waiter_at_a_time(store: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        async with store.watch(b"a") as watch:
            first = asyncio.ensure_future(anext(watch))
            await settled()
            with pytest.raises(libwatch.BusyError):
                await anext(watch)
            with pytest.raises(libwatch.BusyError):
                watch.next(0)
            store.put(b"a", b"")
            assert len(await first) == 1
        with store.watch_stream() as stream:
            stream.create(b"a")
            first = asyncio.ensure_future(anext(stream))
            await settled()
            with pytest.raises(libwatch.BusyError):
                await anext(stream)
            with pytest.raises(libwatch.BusyError):
                stream.next(0)
            store.put(b"a", b"")
            assert len(await first) == 1
            assert stream.next(0) is None

    run(main)


def test_a_full_queue_does_not_starve_the_loop(memory: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        turns = 0
        done = False

        async def other() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        with memory.watch_stream(batch_revisions=1) as stream:
            stream.create(b"a", start_revision=1)
            for i in range(2000):
                memory.put(b"a", b"%d" % i)
            for i in range(2000):
                (event,) = await anext(stream)
                assert event.value == b"%d" % i
        done = True
        await task
        assert turns > 10

    run(main)


def test_many_watches_in_one_loop(memory: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        async def first_of(key: bytes) -> bytes:
            async with memory.watch(key) as watch:
                async for event in watch.aevents():
                    return event.value
            raise AssertionError("the watch ended")

        keys = [b"%d" % i for i in range(200)]
        tasks = [asyncio.create_task(first_of(key)) for key in keys]
        await settled()
        writer = Thread(lambda: [memory.put(key, key) for key in keys])
        assert await asyncio.gather(*tasks) == keys
        writer.result()

    run(main)


def test_two_loops_follow_one_store(memory: libwatch.Store) -> None:
    def follow() -> list[bytes]:
        async def main() -> list[bytes]:
            seen: list[bytes] = []
            async with memory.watch(b"a", start_revision=1) as watch:
                while len(seen) < 500:
                    seen.extend(event.value for event in await anext(watch))
            return seen

        return asyncio.run(main())

    followers = [Thread(follow) for _ in range(2)]
    for i in range(500):
        memory.put(b"a", b"%d" % i)
    for follower in followers:
        assert follower.result() == [b"%d" % i for i in range(500)]


# etcd 15.12
def test_fragments_are_joined(memory: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        memory.txn(success=[op.put(b"a%d" % i, bytes(1 << 20)) for i in range(5)])
        async with memory.watch(b"a", prefix=True, start_revision=1, fragment=True) as watch:
            assert len(await anext(watch)) == 5

    run(main)


def test_a_callback_beside_a_loop(memory: libwatch.Store, run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[libwatch.WatchResponse] = asyncio.Queue()

        def callback(response: libwatch.WatchResponse) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, response)

        async with memory.watch(b"a", callback=callback) as watch:
            memory.put(b"a", b"")
            assert len(await queue.get()) == 1
            with pytest.raises(libwatch.WatchError) as wrong:
                await anext(watch)
            assert wrong.value.code == -2
        assert (await queue.get()).canceled

    run(main)


def test_a_wait_that_outlives_its_loop(memory: libwatch.Store) -> None:
    """The loop is closed under a wait: giving the wait up complains about nothing, and nothing is lost."""
    loop = asyncio.new_event_loop()
    watch = memory.watch(b"a")
    waiting = watch.__anext__()

    async def begin() -> None:
        waiting.send(None)

    loop.run_until_complete(begin())
    with pytest.raises(libwatch.BusyError):
        watch.next(0)
    loop.close()
    waiting.close()
    memory.put(b"a", b"")
    response = watch.next(SECONDS)
    assert response is not None
    assert len(response) == 1
