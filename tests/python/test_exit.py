"""The interpreter's exit: clean, silent and with its own status, whatever is still going on."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import run_child

PRELUDE = """
    import asyncio, os, sys, threading, libwatch
    store = libwatch.open(sys.argv[1], durability="none")
    started = threading.Semaphore(0)

    def go(target):
        def run():
            started.release()
            target()
        threading.Thread(target=run, daemon=True).start()
        started.acquire()
"""

SCENES = {
    "a thread in next": """
    watch = store.watch('a')
    def take():
        try:
            watch.next()
        except libwatch.ClosedError:
            pass
    go(take)
    """,
    "a thread in for": "watch = store.watch('a'); go(lambda: list(watch))",
    "threads in next of streams": """
    def take(stream):
        try:
            stream.next()
        except libwatch.ClosedError:
            pass
    for stream in [store.watch_stream() for _ in range(10)]:
        go(lambda: take(stream))
    """,
    "a callback that waits for ever": """
    entered = threading.Event()
    def callback(response):
        entered.set()
        threading.Event().wait()
    store.watch('a', callback=callback)
    store.put('a', '1')
    entered.wait()
    """,
    "a callback that is busy": """
    entered = threading.Event()
    def callback(response):
        entered.set()
        while True:
            store.get('a')
    store.watch('a', callback=callback)
    store.put('a', '1')
    entered.wait()
    """,
    "callbacks without events": "[store.watch('a', callback=print) for _ in range(10)]",
    "writers at work": """
    def write():
        while True:
            store.put('a', '1')
    for _ in range(3):
        go(write)
    """,
    "writers, callbacks and consumers": """
    def write():
        while True:
            store.put('a', '1')
    watch = store.watch('a')
    store.watch('a', callback=lambda response: None)
    go(lambda: [None for _ in watch])
    go(write)
    """,
    "a pending task": """
    async def wait():
        async for response in store.watch('a'):
            pass
    async def main():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0.01)
    asyncio.run(main())
    """,
    "a cycle that holds everything": """
    class Node: pass
    node = Node()
    node.self, node.store, node.watch = node, store, store.watch('a')
    node.events = node.watch.events()
    """,
    "closed on the way out": """
    import atexit
    atexit.register(store.close)
    watch = store.watch('a')
    go(lambda: list(watch))
    """,
    "views that are left": """
    store.put('a', 'value')
    sys.modules['__main__'].view = store.get('a').value_view
    """,
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=list(SCENES))
@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "os._exit(4)"], ids=["end", "exit", "_exit"])
def test_exit(tmp_path: Path, scene: str, ending: str) -> None:
    code = {"": 0, "sys.exit(3)": 3, "os._exit(4)": 4}[ending]
    script = PRELUDE + "\n    " + scene.strip() + "\n    " + ending + "\n"
    run_child(script, str(tmp_path / "store"), code=code)


def test_a_thread_that_is_no_daemon_keeps_the_program(tmp_path: Path) -> None:
    """Python waits for such a thread before its exit begins, so its watch goes on."""
    script = (
        PRELUDE
        + """
    watch = store.watch('a')
    def consume():
        for response in watch:
            print([event.value for event in response])
            return
    def write():
        threading.main_thread().join()
        store.put('a', '1')
    threading.Thread(target=consume).start()
    threading.Thread(target=write).start()
    """
    )
    assert run_child(script, str(tmp_path / "store")) == "[b'1']\n"


def test_the_log_is_whole_after_an_exit_at_work(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    script = (
        PRELUDE
        + """
    def write():
        while True:
            store.put('a', '1')
    go(write)
    while store.revision < 100:
        pass
    """
    )
    run_child(script, path)
    output = run_child(
        """
        import sys, libwatch
        with libwatch.open(sys.argv[1]) as store, store.watch('a', start_revision=1) as watch:
            seen = []
            while len(seen) < store.revision - 1:
                seen.extend(event.mod_revision for event in watch.next(60))
            print(seen == list(range(2, store.revision + 1)), len(seen) >= 99)
        """,
        path,
    )
    assert output.split() == ["True", "True"]


def test_importing_starts_nothing() -> None:
    output = run_child(
        """
        import threading, libwatch
        print(threading.active_count())
        store = libwatch.open(None)
        store.put('a', '1')
        watch = store.watch('a', start_revision=1)
        print(len(watch.next()), threading.active_count())
        """
    )
    assert output.split() == ["1", "1", "1"]
