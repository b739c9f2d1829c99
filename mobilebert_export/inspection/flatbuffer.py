"""A reader of flatbuffers that trusts no offset, no length and no count.

The reader of the `flatbuffers` package verifies nothing: it follows any offset, believes any length, and cuts a string
short at the end of the file. Here every read is checked against the file, and all reads together against a budget, so
that a file whose parts point at each other costs no more than an honest one.

Format (flatbuffers.dev/internals), little-endian:

    reference  uint32: how far ahead the thing lies; never back, so nothing can hold itself
    table      int32: how far back its vtable lies; then its fields
    vtable     uint16: its own size; uint16: the table's size; then a uint16 for each field: how far it lies behind the
               table's start, 0 if it is absent
    vector     uint32: how many elements; then the elements
    string     a vector of UTF-8
"""

import struct
from collections.abc import Iterator
from mmap import mmap
from typing import Final, TypeAlias

Scalar: TypeAlias = struct.Struct

INT8: Final = Scalar("<b")
UINT8: Final = Scalar("<B")
INT32: Final = Scalar("<i")
UINT32: Final = Scalar("<I")
INT64: Final = Scalar("<q")
UINT64: Final = Scalar("<Q")
FLOAT32: Final = Scalar("<f")
_UINT16: Final = Scalar("<H")

_VTABLE_HEADER = 2 * _UINT16.size
# What may be read of one file, in bytes, where a table counts as 64: a quarter of a million tables. A full-size
# MobileBERT takes less than 1 MB of it. The contents of buffers are not read, so they do not count.
_BUDGET = 16 * 2**20
_TABLE_COST = 64


class FlatbufferError(ValueError):
    """A file breaks the format, or its own structure is absurdly large."""


class Flatbuffer:
    """A file, every read of which stays within its bounds and within one budget."""

    def __init__(self, data: bytes | mmap, identifier: bytes) -> None:
        """Takes the bytes of a file whose kind is told by `identifier`, the four bytes behind the first reference."""
        self._data = data
        self._budget = _BUDGET
        self.size = len(data)
        found = data[UINT32.size : UINT32.size + len(identifier)]
        if found != identifier:
            raise FlatbufferError(f"expected the identifier {identifier!r} at byte {UINT32.size}, got {found!r}")

    def root(self) -> "Table":
        """The table that everything else hangs on."""
        return Table(self, self.follow(0))

    def follow(self, position: int) -> int:
        """Where the reference at `position` points."""
        return position + self.scalar(UINT32, position)

    def scalar(self, kind: Scalar, position: int) -> int:
        """The integer at `position`."""
        self.check(position, kind.size)
        (value,) = kind.unpack_from(self._data, position)
        return int(value)

    def read(self, position: int, size: int) -> bytes:
        """A copy of `size` bytes."""
        self.check(position, size)
        self.spend(size)
        return self._data[position : position + size]

    def check(self, position: int, size: int) -> None:
        """Refuses bytes that are not all within the file."""
        if not 0 <= position <= self.size - size:
            raise FlatbufferError(f"expected all of its parts within {self.size} bytes, got {size} at byte {position}")

    def spend(self, size: int) -> None:
        """Takes from the budget."""
        self._budget -= size
        if self._budget < 0:
            raise FlatbufferError(f"expected at most {_BUDGET // 2**20} MiB of structure, got more")


class Table:
    """A table in a `Flatbuffer`. Fields go by their place in the schema, from 0; an absent one has its default."""

    def __init__(self, file: Flatbuffer, position: int) -> None:
        file.spend(_TABLE_COST)
        vtable = position - file.scalar(INT32, position)
        size = file.scalar(_UINT16, vtable)
        if size < _VTABLE_HEADER:
            raise FlatbufferError(f"expected a vtable of at least {_VTABLE_HEADER} bytes, got {size} at byte {vtable}")
        self._file = file
        self._position = position
        self._offsets = vtable + _VTABLE_HEADER
        self._fields = (size - _VTABLE_HEADER) // _UINT16.size

    def integer(self, field: int, kind: Scalar, default: int = 0) -> int:
        """An integer that stands in the table itself."""
        position = self._find(field)
        return default if position is None else self._file.scalar(kind, position)

    def table(self, field: int) -> "Table | None":
        """A table that the field refers to."""
        position = self._find(field)
        return None if position is None else Table(self._file, self._file.follow(position))

    def tables(self, field: int) -> list["Table"]:
        """A vector of tables."""
        start, count = self.vector(field, UINT32.size)
        references = range(start, start + count * UINT32.size, UINT32.size)
        return [Table(self._file, self._file.follow(reference)) for reference in references]

    def integers(self, field: int, kind: Scalar) -> list[int]:
        """A vector of integers."""
        return [int(value) for (value,) in self._elements(field, kind)]

    def floats(self, field: int) -> list[float]:
        """A vector of float32."""
        return [float(value) for (value,) in self._elements(field, FLOAT32)]

    def text(self, field: int) -> str:
        """A string; an absent one is empty."""
        start, size = self.vector(field, UINT8.size)
        encoded = self._file.read(start, size)
        try:
            return encoded.decode()
        except UnicodeDecodeError as error:
            raise FlatbufferError(f"expected names in UTF-8, got {encoded[:16]!r} at byte {start}") from error

    def vector(self, field: int, element_size: int) -> tuple[int, int]:
        """Where a vector's elements start, and how many there are: all are within the file, and none is read."""
        position = self._find(field)
        if position is None:
            return 0, 0
        vector = self._file.follow(position)
        count = self._file.scalar(UINT32, vector)
        start = vector + UINT32.size
        self._file.check(start, count * element_size)
        return start, count

    def _elements(self, field: int, kind: Scalar) -> Iterator[tuple[float, ...]]:
        start, count = self.vector(field, kind.size)
        return kind.iter_unpack(self._file.read(start, count * kind.size))

    def _find(self, field: int) -> int | None:
        """Where a field stands; None if it is absent."""
        if field >= self._fields:
            return None
        distance = self._file.scalar(_UINT16, self._offsets + field * _UINT16.size)
        return self._position + distance if distance else None
