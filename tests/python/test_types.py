"""The stubs say what the compiled module has, and the package type-checks strictly from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import pytest

import libwatch
from libwatch import compare, op

HERE = Path(__file__).parent
TYPECHECK_SECONDS = 300


def run_tool(*arguments: str, cwd: Path) -> str:
    tool = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=TYPECHECK_SECONDS,
        check=False,
        cwd=cwd,
    )
    assert tool.returncode == 0, tool.stdout + tool.stderr
    return tool.stdout


@pytest.mark.timeout(TYPECHECK_SECONDS)
def test_the_stubs_agree_with_the_module(tmp_path: Path) -> None:
    output = run_tool(
        "mypy.stubtest", "libwatch", "--allowlist", str(HERE / "stubtest-allowlist.txt"), cwd=tmp_path
    )
    assert "Success" in output


@pytest.mark.timeout(TYPECHECK_SECONDS)
def test_a_user_type_checks(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(Path(__file__).read_text())
    run_tool("mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(user), cwd=tmp_path)


def test_the_package_says_that_it_is_typed() -> None:
    folder = Path(libwatch.__file__).parent
    assert (folder / "py.typed").is_file()
    assert (folder / "_libwatch.pyi").is_file()


def test_every_public_name_is_there() -> None:
    for name in libwatch.__all__:
        assert hasattr(libwatch, name)
    assert libwatch.abi_version == 1
    assert libwatch.__version__.count(".") == 2


@pytest.mark.parametrize("name", [name for name in libwatch.__all__ if name[0].isupper()])
def test_classes_belong_to_the_package(name: str) -> None:
    value = getattr(libwatch, name)
    if isinstance(value, type) and name not in ("BytesLike", "Sequence"):
        assert value.__module__.split(".")[0] == "libwatch"
        assert value.__qualname__ == name


@pytest.mark.parametrize(
    "kind",
    [
        libwatch.KeyValue,
        libwatch.Event,
        libwatch.RangeResult,
        libwatch.PutResult,
        libwatch.DeleteResult,
        libwatch.TxnResult,
        libwatch.WatchResponse,
        libwatch.WatchStream,
        libwatch.Store,
        libwatch.Compare,
        libwatch.Op,
    ],
)
def test_compiled_classes_are_not_made_by_hand(kind: type) -> None:
    with pytest.raises(TypeError):
        kind()
    with pytest.raises(TypeError):
        type("Sub", (kind,), {})


if TYPE_CHECKING:

    async def _types(store: libwatch.Store) -> None:
        """What a type checker must find; never run."""
        assert_type(store.put("a", b"b"), libwatch.PutResult)
        assert_type(store.get(b"a"), libwatch.KeyValue | None)
        ranged = store.range(b"a", bytearray(b"b"), sort="mod", descending=True)
        assert_type(ranged[0], libwatch.KeyValue)
        assert_type(ranged[1:], list[libwatch.KeyValue])
        assert_type(ranged.count, int)
        assert_type(store.sync(timeout=1), int)
        assert_type(store.stats(), dict[str, int])
        condition = compare.version(b"k") == 0
        assert_type(condition, libwatch.Compare)
        assert_type(compare.value(b"k") != b"x", libwatch.Compare)
        result = store.txn(compare=[condition], success=[op.put("a", "b")], failure=(op.get("a"),))
        for part in result.results:
            if isinstance(part, libwatch.TxnResult):
                assert_type(part.succeeded, bool)
        watch = store.watch("a", prefix=True, filters=["noput"], callback=None)
        assert_type(watch.next(), libwatch.WatchResponse | None)
        assert_type(watch.events(), Iterator[libwatch.Event])
        assert_type(watch.aevents(), AsyncIterator[libwatch.Event])
        for response in watch:
            assert_type(response.events, Sequence[libwatch.Event])
            for event in response:
                assert_type(event.key, bytes)
                assert_type(event.kv.value_view, memoryview)
        async with store.watch("a") as again:
            async for response in again:
                assert_type(response, libwatch.WatchResponse)
        stream = store.watch_stream(callback=print)
        async for response in stream:
            assert_type(response, libwatch.WatchResponse)
        assert_type(stream.next_batch(5, 0.5), list[libwatch.WatchResponse])
