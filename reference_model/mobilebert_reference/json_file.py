"""Reading a JSON object from a file that a stranger may have written."""

import json
import reprlib
from pathlib import Path
from typing import Any, NoReturn

from mobilebert_reference.errors import ReferenceModelError

__all__ = ["read_json_object"]

_LARGEST_FILE = 64 * 2**20  # bytes; the index of a checkpoint with 100,000 tensors takes about 10 MiB


def read_json_object(path: Path, error_type: type[ReferenceModelError]) -> dict[str, Any]:
    """Read an object in strict JSON: each key once in its object, and no NaN or infinity.

    Args:
        path: A UTF-8 file.
        error_type: What to raise, as the caller knows what the file is for.

    Raises:
        error_type: The file cannot be read, is larger than 64 MiB, or holds something else.
    """
    if not path.is_file():
        raise error_type(f"{path}: expected a file, found none")
    try:
        if (size := path.stat().st_size) > _LARGEST_FILE:
            raise error_type(f"{path}: expected at most {_LARGEST_FILE} bytes, got {size}")
        document = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except OSError as error:
        raise error_type(f"{path}: expected a readable file, got {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON are ValueErrors
        raise error_type(f"{path}: expected JSON, got {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise error_type(f"{path}: expected a JSON object, got {reprlib.repr(document)}")
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members, none of which may override another."""
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"the key {reprlib.repr(key)} twice")
        members[key] = value
    return members


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant}, which is no JSON number")
