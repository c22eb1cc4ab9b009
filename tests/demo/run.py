"""Tests of the demo: histories of every kind pass, and anything that is not as git says is told.

    python tests/demo/run.py           LIBWATCH_LIB_DIR: where libwatch.so is (default: target/release)

The last line is "N passed, N failed".
"""

import contextlib
import io
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "demo"
SECONDS = 300  # for one run; a demo that hangs fails here
sys.path[:0] = [str(DEMO), str(HERE)]

import libwatch  # noqa: E402
import make_repo  # noqa: E402
from report import DemoError  # noqa: E402
from repository import Change, Commit, Repository  # noqa: E402

import demo  # noqa: E402

git_import = demo.git_import


def git(*command: str) -> None:
    settings = ("user.name=Nobody", "user.email=nobody@example.org", "init.defaultBranch=main")
    options = [part for setting in settings for part in ("-c", setting)]
    subprocess.run(("git", *options, *command), check=True, capture_output=True)


def run_demo(repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, str(DEMO / "demo.py"), str(repository), *options)
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def passes(repository: Path) -> str:
    done = run_demo(repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\ndemo: ok\n"), done.stdout
    return done.stdout


def fails(repository: Path, message: str, *options: str) -> None:
    done = run_demo(repository, *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "demo: ok" not in done.stdout


def refused(call: Callable[[], object], message: str) -> None:
    said = None
    try:
        call()
    except DemoError as error:
        said = str(error)
    assert said is not None, f"accepted, should have said {message!r}"
    assert message in said, said


def test_a_history_with_everything_awkward(directory: Path) -> None:
    make_repo.make(str(directory / "repo"), 400)
    printed = passes(directory / "repo")
    assert "import     400 commits" in printed, printed


def test_a_shallow_clone_and_a_subdirectory(directory: Path) -> None:
    make_repo.make(str(directory / "repo"), 120, seed=2)
    git("clone", "--depth", "30", f"file://{directory / 'repo'}", str(directory / "shallow"))
    assert "import     30 commits" in passes(directory / "shallow")
    (directory / "shallow" / "below").mkdir()
    assert "import     30 commits" in passes(directory / "shallow" / "below")


def test_one_commit(directory: Path) -> None:
    git("init", str(directory))
    (directory / "file").write_text("text\n")
    git("-C", str(directory), "add", "file")
    git("-C", str(directory), "commit", "-m", "one")
    passes(directory)
    fails(directory, "is not empty", "--directory", str(directory))


def test_commits_without_a_change(directory: Path) -> None:
    git("init", str(directory))
    for name in ("one", "two"):
        git("-C", str(directory), "commit", "--allow-empty", "-m", name)
    assert "nothing to compact" in passes(directory)


def test_no_commit_and_no_repository(directory: Path) -> None:
    fails(directory, "not a git repository")
    git("init", str(directory))
    fails(directory, "there is no commit")


def test_more_changes_than_one_list_takes(directory: Path) -> None:
    """With a limit of 10 per list, 24 operations still are one transaction (etcd 14.12)."""
    changes = [Change(b"%03d" % i, b"value") for i in range(24)]
    ops = git_import.operations(Commit("0", changes), limit=10)
    assert 1 < len(ops) <= 10, ops
    with libwatch.open(None, txn_ops_max=10) as store:
        assert store.txn(success=ops).revision == 2
        assert len(demo.listing(store)) == 24
    refused(lambda: git_import.operations(Commit("0", changes), limit=5), "do not fit")


def test_wrong_trees_and_numbers_are_told(directory: Path) -> None:
    demo.same_tree("the list", {b"a": b"1"}, {b"a": b"1"})
    refused(lambda: demo.same_tree("the list", {b"\xff\n": b"1"}, {}), "'\\udcff\\n': b'1', git says None")
    refused(lambda: demo.same_tree("the list", {}, {b"a": b"1"}), "differs from git in 1 paths")
    refused(lambda: demo.same_tree("the list", {b"a": b"2"}, {b"a": b"1"}), "b'2', git says b'1'")
    refused(lambda: demo.same_number("events", 1, 2), "events: 1, git says 2")


def test_a_lie_about_one_blob_is_found_everywhere(directory: Path) -> None:
    """Git's answers are falsified one at a time; the demo must notice each."""
    make_repo.make(str(directory / "repo"), 40, seed=3)
    libraries = demo.library_directory()
    repository = Repository(str(directory / "repo"))
    honest = repository.tree
    commits = [commit.id for commit in repository.history()]
    for lie in (commits[-1], commits[0], commits[20]):

        def tree(commit: str, lie: str = lie) -> demo.Tree:
            paths = honest(commit)
            if commit == lie:
                paths[b"invented"] = b"100644 0 0"
            return paths

        place = directory / lie
        place.mkdir()
        with mock.patch.object(repository, "tree", tree), contextlib.redirect_stdout(io.StringIO()):
            refused(partial(demo.run, repository, place, libraries), "'invented': None")


def main() -> int:
    passed = failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory(prefix="libwatch-demo-test-") as directory:
            try:
                test(Path(directory))
                passed += 1
            except Exception:
                failed += 1
                print(f"FAILED {name}\n{traceback.format_exc()}")
    print(f"{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
