"""The names that signatures use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer

    BytesLike: TypeAlias = Buffer | str
else:
    BytesLike = bytes | bytearray | memoryview | str

Durability: TypeAlias = Literal["none", "interval", "commit"]
EventType: TypeAlias = Literal["PUT", "DELETE"]
Filter: TypeAlias = Literal["noput", "nodelete"]
SortTarget: TypeAlias = Literal["key", "version", "create", "mod", "value"]
