"""A git repository as the demo sees it: first-parent history as changes of paths, and the tree of any commit.

Everything is asked of git itself with NUL-separated output, so any byte may stand in a path. A value is
b"<mode> <object id> <size>", as `git ls-tree -l` has it; a submodule has no size: b"-".
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from report import DemoError

GITLINK = b"160000"
_ASK_AT_ONCE = 500  # object ids in flight to cat-file; their answers must fit into a pipe


class Change(NamedTuple):
    """One changed path of a commit, and what it is from then on."""

    path: bytes
    value: bytes | None  # None: deleted


class Commit(NamedTuple):
    """One commit of the first-parent history, with its changes against the one before."""

    id: str
    changes: list[Change]


@dataclass
class Imported:
    """What a store has of a history. Entries of the same index in the lists belong to one commit."""

    commits: list[str] = field(default_factory=list)
    revisions: list[int] = field(default_factory=list)
    change_counts: list[int] = field(default_factory=list)
    changed_paths: dict[bytes, int] = field(default_factory=dict)  # path -> number of its changes

    @property
    def change_count(self) -> int:
        return sum(self.change_counts)


class Repository:
    """Any git repository: bare or not, shallow or not. `head` is fixed when the object is made."""

    def __init__(self, path: str) -> None:
        self.path = path
        inherited = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")
        self._env = {name: text for name, text in os.environ.items() if name not in inherited}
        self._env["LC_ALL"] = "C"
        head = self._run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", why="there is no commit")
        self.head = head.decode().strip()
        self._sizes: dict[bytes, bytes] = {}

    def commit_count(self) -> int:
        """Commits along first parents."""
        return int(self._run("rev-list", "--count", "--first-parent", self.head))

    def history(self) -> Iterator[Commit]:
        """The commits, oldest first, a merge compared to its first parent."""
        command = (
            *("log", "--first-parent", "--reverse", "--raw", "--no-renames", "-z", "--no-abbrev", "--root"),
            *("--diff-merges=first-parent", "--ignore-submodules=none", "--no-relative", "-O/dev/null"),
            *("--no-show-signature", "--no-notes", "--no-color", "--format=%H", self.head, "--"),
        )
        with self._start(command) as log, self._start(("cat-file", "--batch-check=%(objectsize)")) as sizes:
            commit = None
            tokens = _tokens(log)
            for token in tokens:
                meta = token.removeprefix(b"\n")
                if not meta.startswith(b":"):
                    if commit is not None:
                        yield self._sized(commit, sizes)
                    commit = Commit(meta.decode(), [])
                    continue
                _, mode, _, object_id, status = meta.split(b" ")
                path = next(tokens)
                value = None if status == b"D" else mode + b" " + object_id
                assert commit is not None
                commit.changes.append(Change(path, value))
            if commit is not None:
                yield self._sized(commit, sizes)
            self._finish(log, "log")
            assert sizes.stdin is not None
            sizes.stdin.close()
            self._finish(sizes, "cat-file")

    def tree(self, commit: str) -> dict[bytes, bytes]:
        """Every path of a commit with its value, from `git ls-tree -r -l`."""
        paths = {}
        for line in self._run("ls-tree", "-r", "-l", "-z", "--full-tree", commit).split(b"\0")[:-1]:
            meta, path = line.split(b"\t", 1)
            mode, _, object_id, size = meta.split()
            paths[path] = b" ".join((mode, object_id, size))
        return paths

    def _sized(self, commit: Commit, sizes: subprocess.Popen[bytes]) -> Commit:
        values = [value.split(b" ") for _, value in commit.changes if value is not None]
        ids = {object_id for mode, object_id in values if mode != GITLINK}
        self._ask(sizes, sorted(ids - self._sizes.keys()))
        changes = []
        for path, value in commit.changes:
            if value is None:
                changes.append(Change(path, None))
                continue
            mode, object_id = value.split(b" ")
            size = b"-" if mode == GITLINK else self._sizes[object_id]
            changes.append(Change(path, b" ".join((mode, object_id, size))))
        return Commit(commit.id, changes)

    def _ask(self, sizes: subprocess.Popen[bytes], ids: list[bytes]) -> None:
        assert sizes.stdin is not None
        assert sizes.stdout is not None
        for first in range(0, len(ids), _ASK_AT_ONCE):
            some = ids[first : first + _ASK_AT_ONCE]
            sizes.stdin.write(b"".join(object_id + b"\n" for object_id in some))
            sizes.stdin.flush()
            for object_id in some:
                size = sizes.stdout.readline().strip()
                if not size.isdigit():
                    raise DemoError(f"object {object_id.decode()} is not in the repository ({size.decode()})")
                self._sizes[object_id] = size

    def _start(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ("git", "-C", self.path, *command),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._env,
        )

    def _finish(self, process: subprocess.Popen[bytes], name: str) -> None:
        assert process.stderr is not None
        message = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            raise DemoError(f"git {name}: {message}")

    def _run(self, *command: str, why: str = "") -> bytes:
        line = ("git", "-C", self.path, *command)
        done = subprocess.run(line, capture_output=True, env=self._env, check=False)
        if done.returncode != 0:
            message = done.stderr.decode(errors="replace").strip() or why
            raise DemoError(f"git {command[0]} in {self.path}: {message}")
        return done.stdout


def _tokens(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """NUL-terminated pieces of what a process prints."""
    assert process.stdout is not None
    rest = b""
    while chunk := process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
        *pieces, rest = (rest + chunk).split(b"\0")
        yield from pieces
    if rest.strip(b"\n"):
        raise DemoError("git log ended in the middle of an entry")
