"""Messages between the process that reports and the child that runs a stranger's model.

A message is a JSON object and named arrays. Nothing of it is code: a child that a hostile file has taken over can lie
about numbers, and no more.

    uint64  bytes that follow
    uint32  bytes of the header
    header  JSON: {"said": …, "arrays": [[name, dtype, shape], …]}
    data    the arrays' elements, one after the other
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Message = tuple[dict[str, Any], dict[str, NDArray[np.generic]]]

# The logits of a vocabulary of 30522 pieces at 512 positions take 60 MiB; of what is looked at on the way, the one who
# asks knows how much it is.
LARGEST_MESSAGE: Final = 2**29
# JSON takes many times its length once it is read.
_LARGEST_HEADER = 2**24
_LENGTH = struct.Struct("<Q")
_HEADER = struct.Struct("<I")
_TYPES = frozenset(
    {"bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
)


class WireError(ValueError):
    """What came is no message."""


def pack(said: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """One message. Arrays of other types than numbers are left out."""
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array.dtype.name in _TYPES}
    described = [[name, array.dtype.name, list(array.shape)] for name, array in kept.items()]
    header = json.dumps({"said": said, "arrays": described}).encode()
    data = b"".join(array.tobytes() for array in kept.values())
    return _LENGTH.pack(_HEADER.size + len(header) + len(data)) + _HEADER.pack(len(header)) + header + data


def receive(read: Callable[[int], bytes | bytearray], *, largest: int = LARGEST_MESSAGE) -> Message:
    """The next message.

    Args:
        read: gives exactly that many bytes.
        largest: bytes that it may have.

    Raises:
        WireError: what comes is no message, or one beyond all bounds.
    """
    (size,) = _LENGTH.unpack(read(_LENGTH.size))
    if not _HEADER.size <= size <= largest:
        raise WireError(f"expected a message of at most {largest} bytes, got {size}")
    return _unpacked(read(size))


def _unpacked(message: bytes | bytearray) -> Message:
    try:
        (length,) = _HEADER.unpack_from(message)
        position = _HEADER.size + length
        if position > len(message) or length > _LARGEST_HEADER:
            raise WireError(f"expected a header within {min(len(message), _LARGEST_HEADER)} bytes, got one of {length}")
        header = json.loads(message[_HEADER.size : position])
        said, described = dict(header["said"]), list(header["arrays"])
        arrays: dict[str, NDArray[np.generic]] = {}
        for name, dtype, shape in described:
            if dtype not in _TYPES or not all(isinstance(size, int) and size >= 0 for size in shape):
                raise WireError(f"expected arrays of numbers, got {dtype} {shape}")
            count = math.prod(shape)
            array = np.frombuffer(message, dtype, count, position).reshape(shape)
            position += array.nbytes
            arrays[str(name)] = array
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise WireError(f"expected a message of JSON and arrays, got: {error}") from error
    return said, arrays
