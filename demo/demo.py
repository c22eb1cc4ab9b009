"""The history of a git repository, in a store, watched from three languages, and checked against git itself.

    python demo.py [REPOSITORY]        default: the repository that this file is in

Needs the Python package libwatch, and libwatch.so in LIBWATCH_LIB_DIR (default: target/release beside this
folder), against which two small programs are compiled with CC and CXX. Ends with the line "demo: ok", or
tells the first difference and exits with 1.
"""

import argparse
import asyncio
import importlib
import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import libwatch
from report import Bar, DemoError
from repository import Imported, Repository

git_import = importlib.import_module("import")  # the name is a keyword

EVERYTHING = b"\0"  # as key and range_end: every key
PATIENCE = 60.0  # seconds without any news after which something must be wrong
REVISIONS_COMPARED = 20
HERE = Path(__file__).resolve().parent

Tree = dict[bytes, bytes]
Value = TypeVar("Value")


class Fold:
    """The events of one watch, applied one by one: the tree as the watcher sees it."""

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree: Tree = dict(tree or {})
        self.events = 0
        self.revision = 0

    def response(self, response: libwatch.WatchResponse) -> None:
        for event in response:
            self._event(event)

    def _event(self, event: libwatch.Event) -> None:
        key, revision = event.kv.key, event.kv.mod_revision
        if revision < self.revision:
            raise DemoError(f"a watch went back from revision {self.revision} to {revision} at {show(key)}")
        before = event.prev_kv.value if event.prev_kv is not None else None
        if before != self.tree.get(key):
            what = f"previous value of {show(key)} at {revision}"
            raise DemoError(f"{what}: {before!r}, not {self.tree.get(key)!r}")
        self.events += 1
        self.revision = revision
        if event.type == "PUT":
            self.tree[key] = event.kv.value
        else:
            del self.tree[key]


def show(path: bytes) -> str:
    """A path in one line of ASCII, whatever bytes it has."""
    return ascii(path.decode("utf-8", "surrogateescape"))


def same_tree(name: str, actual: Tree, expected: Tree) -> None:
    """Refuses two trees that differ, with the first paths that do."""
    if actual == expected:
        return
    paths = sorted(path for path in actual.keys() | expected.keys() if actual.get(path) != expected.get(path))
    lines = [f"  {show(path)}: {actual.get(path)!r}, git says {expected.get(path)!r}" for path in paths[:5]]
    raise DemoError("\n".join([f"{name} differs from git in {len(paths)} paths:", *lines]))


def same_number(name: str, actual: int, expected: int) -> None:
    if actual != expected:
        raise DemoError(f"{name}: {actual}, git says {expected}")


def listing(store: libwatch.Store, revision: int = 0) -> Tree:
    return {kv.key: kv.value for kv in store.range(EVERYTHING, EVERYTHING, revision=revision)}


async def follow(watch: libwatch.Watch, fold: Fold, target: asyncio.Future[int]) -> None:
    """Folds until the revision that `target` names has been seen."""
    if target.done() and fold.revision >= target.result():
        return
    async for response in watch:
        fold.response(response)
        if target.done() and fold.revision >= target.result():
            return


async def import_and_follow(store: libwatch.Store, repository: Repository) -> tuple[Imported, Fold]:
    """Imports in a thread while this one follows the same store live."""
    bar = Bar("import", repository.commit_count())
    loop = asyncio.get_running_loop()
    target: asyncio.Future[int] = loop.create_future()
    fold = Fold()
    stop = threading.Event()

    def on_commit(imported: Imported) -> None:
        if stop.is_set():
            raise DemoError("stopped: the follower failed")
        bar.update(len(imported.commits))

    async with store.watch(EVERYTHING, EVERYTHING, prev_kv=True) as watch:
        follower = asyncio.create_task(follow(watch, fold, target))
        follower.add_done_callback(lambda _: stop.set() if not target.done() else None)
        try:
            imported = await asyncio.to_thread(git_import.run, store, repository, on_commit)
        except DemoError:
            await follower  # its own error is the one to tell
            raise
        bar.done(
            f"{len(imported.commits)} commits, {imported.change_count} changes, revision {store.revision}",
            count=len(imported.commits), unit="commits",
        )
        rest = Bar("follow", imported.change_count)
        target.set_result(imported.revisions[-1] if imported.change_count else fold.revision)
        watch.request_progress()  # wakes the follower if it has seen everything already
        while True:
            seen = fold.events
            done, _ = await asyncio.wait({follower}, timeout=PATIENCE)
            if done:
                break
            rest.update(fold.events)
            if fold.events == seen:
                raise DemoError(f"the live watch stopped at {fold.revision} of {imported.revisions[-1]}")
        await follower
    rest.done(f"{fold.events} events live, caught up with the import")
    return imported, fold


def library_directory() -> Path:
    """Where libwatch.so is."""
    libraries = Path(os.environ.get("LIBWATCH_LIB_DIR") or HERE.parent / "target" / "release").resolve()
    if not (libraries / "libwatch.so").exists():
        raise DemoError(f"no libwatch.so in {libraries}: build it, or set LIBWATCH_LIB_DIR")
    return libraries


def compile_follower(source: str, program: Path, libraries: Path) -> None:
    if source.endswith(".c"):
        command = [*shlex.split(os.environ.get("CC") or "cc"), "-std=c99", "-D_XOPEN_SOURCE=700"]
    else:
        command = [*shlex.split(os.environ.get("CXX") or "c++"), "-std=c++17"]
    command += ["-O2", f"-I{HERE.parent / 'include'}", str(HERE / source), "-o", str(program)]
    command += [f"-L{libraries}", "-lwatch", "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(f"{shlex.join(command)}\n{done.stderr}")


def run_follower(
    name: str, command: Sequence[str | bytes], libraries: Path, output: Path
) -> tuple[Tree, int]:
    """Runs a follower program; answers its folded tree and the number of its events."""
    bar = Bar(name, 1)
    path = os.pathsep.join(filter(None, (str(libraries), os.environ.get("LD_LIBRARY_PATH"))))
    done = subprocess.run(
        [*command, str(output)], capture_output=True, env={**os.environ, "LD_LIBRARY_PATH": path}, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"{name}: {done.stderr.decode(errors='replace').strip() or done.returncode}")
    pieces = output.read_bytes().split(b"\0")[:-1]
    keys = pieces[::2]
    if keys != sorted(keys):
        raise DemoError(f"{name}: its tree is not in byte order")
    events = int(done.stdout.split()[1])
    bar.done(f"{events} events folded to {len(keys)} paths", count=events, unit="events")
    return dict(zip(keys, pieces[1::2], strict=True)), events


def compare_revisions(store: libwatch.Store, repository: Repository, imported: Imported) -> None:
    """The list at revisions spread over the whole history, against the tree of their commits."""
    count = len(imported.commits)
    steps = min(REVISIONS_COMPARED, count)
    chosen = sorted({(count - 1) * step // max(1, steps - 1) for step in range(steps)})
    bar = Bar("list", len(chosen))
    paths = 0
    for number, i in enumerate(chosen):
        tree = listing(store, imported.revisions[i])
        same_tree(f"the list at revision {imported.revisions[i]}", tree, repository.tree(imported.commits[i]))
        paths += len(tree)
        bar.update(number)
    bar.done(f"{len(chosen)} revisions with {paths} paths are what git ls-tree says")


def busiest_prefix(changed_paths: dict[bytes, int], final: Tree) -> bytes:
    """The top directory with the most changes, of those there are at the end; everything if there is none."""
    totals = dict.fromkeys((path[: path.index(b"/") + 1] for path in final if b"/" in path), 0)
    for path, count in changed_paths.items():
        prefix = path[: path.find(b"/") + 1]
        if prefix in totals:
            totals[prefix] += count
    return max(totals, key=lambda prefix: (totals[prefix], prefix), default=b"")


def replay(directory: Path, libraries: Path, imported: Imported, final: Tree) -> None:
    """C follows a prefix and C++ everything, both from revision 1 on, in processes of their own."""
    links = directory / "lib"
    links.mkdir()
    for name in ("libwatch.so", f"libwatch.so.{libwatch.abi_version}"):  # for the linker, for the loader
        (links / name).symlink_to(libraries / "libwatch.so")
    store, prefix = str(directory / "store"), busiest_prefix(imported.changed_paths, final)
    for source in ("follow.c", "follow.cpp"):
        compile_follower(source, directory / source.replace(".", "_"), links)

    tree, events = run_follower(
        "C", [str(directory / "follow_c"), store, prefix], links, directory / "tree_c"
    )
    same_tree(f"the C program's tree of {show(prefix)}", tree, below(final, prefix))
    same_number("events of the C program", events, sum(below(imported.changed_paths, prefix).values()))

    tree, events = run_follower("C++", [str(directory / "follow_cpp"), store], links, directory / "tree_cpp")
    same_tree("the C++ program's tree", tree, final)
    same_number("events of the C++ program", events, imported.change_count)


def below(paths: dict[bytes, Value], prefix: bytes) -> dict[bytes, Value]:
    return {path: value for path, value in paths.items() if path.startswith(prefix)}


def take(watch: libwatch.Watch) -> libwatch.WatchResponse:
    response = watch.next(timeout=PATIENCE)
    if response is None:
        raise DemoError(f"nothing arrived for {PATIENCE:.0f} seconds")
    return response


def compact(store: libwatch.Store, repository: Repository, imported: Imported, final: Tree) -> None:
    """Forgets the first half of history; a watch that wanted it is told, lists, and goes on from there."""
    changing = [i for i, count in enumerate(imported.change_counts) if count]
    if not changing:
        print("compact    nothing to compact: no commit changes anything")
        return
    middle = changing[len(changing) // 2]
    revision = imported.revisions[middle]
    bar = Bar("compact", 1)
    store.compact(revision, physical=True)
    bar.done(f"everything before revision {revision}")

    with store.watch(EVERYTHING, EVERYTHING, start_revision=1) as watch:
        try:
            take(watch)
        except libwatch.CompactedError as error:
            same_number("the compaction that canceled the watch", error.compact_revision, revision)
            print(f"canceled   a watch from revision 1: {error}")
        else:
            raise DemoError("a watch from revision 1 was not canceled by the compaction")
    try:
        listing(store, revision - 1)
    except libwatch.CompactedError:
        pass
    else:
        raise DemoError(f"revision {revision - 1} can be read after the compaction at {revision}")

    fold = Fold(listing(store, revision))
    same_tree("the list at the compaction", fold.tree, repository.tree(imported.commits[middle]))
    bar = Bar("resume", sum(imported.change_counts[middle + 1 :]))
    with store.watch(EVERYTHING, EVERYTHING, start_revision=revision + 1, prev_kv=True) as watch:
        watch.request_progress()
        while not (response := take(watch)).is_progress_notify:
            fold.response(response)
            bar.update(fold.events)
        bar.done(f"{len(fold.tree)} paths after {fold.events} events from revision {revision + 1}")
        if response.revision < imported.revisions[-1]:
            raise DemoError(f"progress at {response.revision}, before revision {imported.revisions[-1]}")
        print(f"progress   everything up to revision {response.revision} has been delivered")
    same_number("events after the compaction", fold.events, sum(imported.change_counts[middle + 1 :]))
    same_tree("the tree after list and resume", fold.tree, final)


def run(repository: Repository, directory: Path, libraries: Path) -> None:
    path = str(directory / "store")
    with git_import.open_store(path) as store:
        imported, fold = asyncio.run(import_and_follow(store, repository))
        final = repository.tree(repository.head)
        same_number("commits", len(imported.commits), repository.commit_count())
        same_number("events of the live watch", fold.events, imported.change_count)
        same_tree("the live watch's tree", fold.tree, final)
        same_tree("the list at the last revision", listing(store), final)
        compare_revisions(store, repository, imported)
    replay(directory, libraries, imported, final)
    with git_import.open_store(path, create=False) as store:
        same_tree("the list after opening again", listing(store), final)
        compact(store, repository, imported, final)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("repository", nargs="?", default=str(HERE.parent), help="any git repository")
    parser.add_argument("--directory", help="keep everything in this new folder, not in a temporary one")
    arguments = parser.parse_args()
    try:
        libraries = library_directory()
        repository = Repository(arguments.repository)
        with tempfile.TemporaryDirectory(prefix="libwatch-demo-") as temporary:
            directory = Path(arguments.directory or temporary)
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise DemoError(f"{directory} is not empty")
            run(repository, directory, libraries)
    except (DemoError, libwatch.WatchError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print("demo: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
