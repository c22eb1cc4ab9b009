"""Makes a git repository with everything that is awkward in a history, for the tests of the demo.

    python make_repo.py DIRECTORY COMMITS [SEED]

Odd names (quotes, newlines, bytes that are no UTF-8), symbolic links, submodules, changes of type and mode, a
file that becomes a directory and back, merges, commits without a change, a wide commit, deletions of whole
folders. The same seed gives the same history.
"""

import random
import subprocess
import sys
from collections.abc import Iterator

WIDE = 300  # files that one commit changes: more than the default limit of a transaction
NAMES = (
    b"plain.txt", b"sp ace", b'quo"te', b"back\\slash", b"new\nline", b"tab\there", b"caf\xe9", b"\xff\xfe",
    "\u4e2d\u6587".encode(), b"-dash", b":colon", b"a" * 200,
)
FOLDERS = (b"", b"src/", b"src/deep/er/", b"docs/", b'odd "dir"/', b"\xf0\x28/")
FILE, EXECUTABLE, LINK, SUBMODULE = b"100644", b"100755", b"120000", b"160000"


class History:
    """The commands for git fast-import, and the tree they lead to."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tree: dict[bytes, bytes] = {}  # path -> mode
        self._clock = 1_600_000_000

    def commands(self, commits: int) -> Iterator[bytes]:
        side = 0
        for number in range(commits):
            merge = number > 3 and number % 17 == 0
            if merge:  # a commit beside the main line, then one that joins it
                side += 1
                beside = [self._put(b"side/%d" % side)]
                yield self._commit(b"refs/heads/side", f"side {side}", beside, side=True)
            changes = self._changes(number)
            if merge:
                changes.append(self._put(b"side/%d" % side))
            yield self._commit(b"refs/heads/main", f"commit {number}", changes, merge=merge)
            if merge:
                yield b"reset refs/heads/side\n\n"

    def _changes(self, number: int) -> list[bytes]:
        if number % 23 == 5:
            return []
        if number == 7 or number % 997 == 996:
            return [self._put(b"wide/%d" % i) for i in range(WIDE)]
        if number % 97 == 60:
            return self._delete_folder(b"wide/")
        if number % 31 == 3:  # a file becomes a folder, or the other way round
            if b"switch" in self._tree:
                return [self._delete(b"switch"), self._put(b"switch/inside")]
            return [*self._delete_folder(b"switch/"), self._put(b"switch")]
        changes: dict[bytes, bytes] = {}
        for _ in range(self._random.randint(1, 6)):
            path = self._random.choice(FOLDERS) + self._random.choice(NAMES)
            if path in changes:
                continue
            if path in self._tree and self._random.random() < 0.3:
                changes[path] = self._delete(path)
            else:
                changes[path] = self._put(path)
        return list(changes.values())

    def _put(self, path: bytes) -> bytes:
        modes = (FILE, FILE, FILE, EXECUTABLE, LINK, SUBMODULE)
        mode = self._tree[path] = self._random.choice(modes)
        if mode == SUBMODULE:
            commit = b"%040x" % self._random.getrandbits(160)
            return b"M %s %s %s\n" % (mode, commit, quoted(path))
        text = b"%d\n" % self._random.randrange(50) * self._random.randrange(4)
        if mode == LINK:
            text = b"target-%d" % self._random.randrange(9)
        return b"M %s inline %s\n%s" % (mode, quoted(path), data(text))

    def _delete(self, path: bytes) -> bytes:
        del self._tree[path]
        return b"D %s\n" % quoted(path)

    def _delete_folder(self, folder: bytes) -> list[bytes]:
        return [self._delete(path) for path in sorted(self._tree) if path.startswith(folder)]

    def _commit(self, branch: bytes, message: str, changes: list[bytes], *, side: bool = False,
                merge: bool = False) -> bytes:
        self._clock += 60
        lines = [b"commit %s\n" % branch, b"committer Nobody <nobody@example.org> %d +0000\n" % self._clock]
        lines.append(data(message.encode()))
        if side:
            lines.append(b"from refs/heads/main\n")
        if merge:
            lines.append(b"merge refs/heads/side\n")
        return b"".join([*lines, *changes, b"\n"])


def data(text: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(text), text)


def quoted(path: bytes) -> bytes:
    """As fast-import reads it: every byte that could end or start something is written in octal."""
    return b'"' + b"".join(b"%c" % c if chr(c).isalnum() and c < 128 else b"\\%03o" % c for c in path) + b'"'


def make(directory: str, commits: int, seed: int = 1) -> None:
    """Makes the repository, bare, with branch main as HEAD."""
    subprocess.run(("git", "init", "-q", "--bare", directory), check=True)
    subprocess.run(("git", "-C", directory, "symbolic-ref", "HEAD", "refs/heads/main"), check=True)
    command = ("git", "-C", directory, "fast-import", "--quiet", "--force")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for piece in History(seed).commands(commits):
            process.stdin.write(piece)
    if process.returncode != 0:
        raise SystemExit(f"git fast-import ended with {process.returncode}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    make(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) == 4 else 1)
