"""The history of a git repository becomes a store: one commit is one transaction, so one revision.

    python import.py REPOSITORY STORE

Oldest first along first parents. A path is a key, b"<mode> <object id> <size>" its value; a deleted path is a
deleted key. A commit that changes nothing makes no revision.
"""

import sys
from collections.abc import Callable, Sequence

import libwatch
from libwatch import op
from report import DemoError
from repository import Commit, Imported, Repository

TXN_OPS_MAX = 65_535  # the most that a store can be asked to allow


def open_store(path: str, *, create: bool = True) -> libwatch.Store:
    """A store for this purpose: fast, as git could always tell the story again."""
    return libwatch.open(path, create=create, durability="none", txn_ops_max=TXN_OPS_MAX)


def operations(commit: Commit, limit: int = TXN_OPS_MAX) -> list[libwatch.Op]:
    """The commit as operations of one transaction; more than `limit` are divided into nested transactions."""
    ops = [op.delete(path) if value is None else op.put(path, value) for path, value in commit.changes]
    return nested(ops, limit)


def nested(ops: Sequence[libwatch.Op], limit: int) -> list[libwatch.Op]:
    """At most `limit` per list, counting outer lists against the inner ones as etcd does (etcd 14.12)."""
    if len(ops) <= limit:
        return list(ops)
    lists = 2
    while lists * (limit - lists) < len(ops):
        lists += 1
        if lists >= limit:
            raise DemoError(f"{len(ops)} changes do not fit into transactions of {limit}")
    step = -(-len(ops) // lists)
    return [op.txn(success=ops[first : first + step]) for first in range(0, len(ops), step)]


def run(store: libwatch.Store, repository: Repository, on_commit: Callable[[Imported], None]) -> Imported:
    """Imports everything into an empty store. `on_commit` is called after each commit."""
    imported = Imported()
    revision = store.revision
    for commit in repository.history():
        result = store.txn(success=operations(commit))
        revision += 1 if commit.changes else 0
        if result.revision != revision:
            raise DemoError(f"commit {commit.id} became revision {result.revision}, not {revision}")
        imported.commits.append(commit.id)
        imported.revisions.append(revision)
        imported.change_counts.append(len(commit.changes))
        for path, _ in commit.changes:
            imported.changed_paths[path] = imported.changed_paths.get(path, 0) + 1
        on_commit(imported)
    return imported


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    with open_store(sys.argv[2]) as store:
        imported = run(store, Repository(sys.argv[1]), lambda _: None)
        print(f"{len(imported.commits)} commits, {imported.change_count} changes, revision {store.revision}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
