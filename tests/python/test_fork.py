"""fork: a handle from before it answers with code -62 in the child, and leaves the parent alone."""

from __future__ import annotations

from pathlib import Path

from support import run_child

CHILD = """
    import faulthandler, gc, os, sys, traceback, warnings, libwatch
    warnings.simplefilter("ignore", DeprecationWarning)
    path = sys.argv[1]
    store = libwatch.open(path, durability="none")
    store.put("a", "1")
    watch = store.watch("a", start_revision=1)
    stream = store.watch_stream()
    stream.create("a")
    found = store.range("a")
    view = found[0].value_view
    calls = []
    store.watch("a", callback=calls.append)

    def code(attempt):
        try:
            attempt()
        except libwatch.WatchError as error:
            return error.code
        return 0

    def in_child():
        refused = {
            code(attempt)
            for attempt in (
                lambda: store.put("a", "2"),
                lambda: store.get("a"),
                lambda: store.range("a"),
                lambda: store.delete("a"),
                lambda: store.txn(),
                lambda: store.compact(2),
                lambda: store.sync(),
                lambda: store.stats(),
                lambda: store.watch("a"),
                lambda: store.watch_stream(),
                lambda: watch.next(0),
                lambda: stream.next(0),
                lambda: stream.next_batch(1, 0),
                lambda: stream.create("b"),
                lambda: stream.cancel(1),
                lambda: stream.request_progress(),
                lambda: next(watch),
            )
        }
        assert refused == {-62}, refused
        assert bytes(view) == b"1" and found[0].value == b"1"
        with libwatch.open(None) as own:
            own.put("a", "mine")
            with own.watch("a", start_revision=1) as mine:
                assert len(mine.next(60)) == 1
"""


# S 19.7
def test_handles_are_refused_in_the_child(tmp_path: Path) -> None:
    script = (
        CHILD
        + """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            in_child()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0
    store.put("a", "2")
    assert sum(len(watch.next(60)) for _ in range(1)) >= 1
    store.close()
    libwatch.open(path).close()
    """
    )
    run_child(script, str(tmp_path / "store"))


def test_a_child_exits_in_the_ordinary_way(tmp_path: Path) -> None:
    """With handles from before the fork dropped, collected and left to the interpreter's exit."""
    script = (
        CHILD
        + """
    child = os.fork()
    if child == 0:
        in_child()
        del stream
        gc.collect()
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert store.put("a", "2").revision == 3
    store.close()
    """
    )
    run_child(script, str(tmp_path / "store"))


def test_multiprocessing_with_fork(tmp_path: Path) -> None:
    script = (
        CHILD
        + """
    import multiprocessing
    process = multiprocessing.get_context("fork").Process(target=in_child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert len(watch.next(60)) == 1
    """
    )
    run_child(script, str(tmp_path / "store"))


def test_the_store_can_be_opened_again_after_the_parent_closed_it(tmp_path: Path) -> None:
    """A child that lives on does not keep the store locked, once it runs."""
    script = (
        CHILD
        + """
    reading, writing = os.pipe()
    running, runs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.write(runs, b"r")
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    os.read(running, 1)
    store.close()
    with libwatch.open(path) as again:
        assert again.get("a").value == b"1"
    os.close(writing)
    os.waitpid(child, 0)
    """
    )
    run_child(script, str(tmp_path / "store"))
