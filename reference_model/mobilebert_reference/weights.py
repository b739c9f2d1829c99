"""Reading and writing files of tensors that a stranger may have written.

A checkpoint has its tensors in one of four places, looked for in this order: ``model.safetensors``, the shards listed
in ``model.safetensors.index.json``, ``pytorch_model.bin``, the shards listed in ``pytorch_model.bin.index.json``.

Opening tells each tensor's shape and dtype; of a safetensors file nothing is read after that but what is asked for. A
``.bin`` is a pickle: PyTorch loads it whole, and only if it holds nothing but plain data.
"""

import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from mobilebert_reference.errors import CheckpointError
from mobilebert_reference.json_file import read_json_object

__all__ = ["StoredTensor", "list_names", "open_weights", "write_weights"]

_FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_LONGEST_LIST = 8


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Attributes:
        shape: Its shape.
        dtype: float64, float32, float16 or bfloat16; None for any other.
        read: Gives its values, which may share memory with the file.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None
    read: Callable[[], Tensor]


def open_weights(directory: Path) -> dict[str, StoredTensor]:
    """Find the tensors of a checkpoint by their names in its files.

    Raises:
        CheckpointError: There are no weights, or a file is damaged or something else than its name says.
    """
    for name, open_file in _FORMATS.items():
        if (directory / name).is_file():
            return open_file(directory / name)
        if (directory / f"{name}.index.json").is_file():
            return _open_shards(directory / f"{name}.index.json", Path(name).suffix, open_file)
    raise CheckpointError(
        f"{directory}: expected weights in {' or '.join(_FORMATS)}, or shards with an index, found neither"
    )


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, the same bytes each time.

    Raises:
        OSError: The file cannot be written.
    """
    # The library's own save_file makes a file that only its owner can read.
    path.write_bytes(safetensors.torch.save(dict(tensors), metadata={"format": "pt"}))


def list_names(names: Iterable[str]) -> str:
    """List names from a file on one short line.

    >>> list_names(f"layer.{i}" for i in range(10))
    'layer.0, layer.1, layer.2, layer.3, layer.4, layer.5, layer.6, layer.7 and 2 more'
    """
    shown = [name[:120] if name.isprintable() else repr(name[:120]) for name in names]
    more = len(shown) - _LONGEST_LIST
    return ", ".join(shown[:_LONGEST_LIST]) + (f" and {more} more" if more > 0 else "")


def _open_safetensors(path: Path) -> dict[str, StoredTensor]:
    try:
        file: Any = safetensors.safe_open(path, framework="pt")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: expected safetensors, got {_one_line(error)}; copy the file anew") from error
    return {
        name: StoredTensor(
            shape=tuple(stored.get_shape()),
            dtype=_FLOATS.get(stored.get_dtype()),
            read=partial(file.get_tensor, name),
        )
        for name, stored in slices.items()
    }


def _open_pickle(path: Path) -> dict[str, StoredTensor]:
    wanted = "expected plain tensors by name, as torch.save writes them"
    size = path.stat().st_size
    try:
        unpacked = _unpacked_size(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True) if unpacked <= size else None
    except Exception as error:  # a hostile pickle can make the loader raise anything
        raise CheckpointError(
            f"{path}: {wanted}, got a file that is damaged or holds other objects; save the model as safetensors"
        ) from error
    if unpacked > size:
        raise CheckpointError(f"{path}: {wanted}, got an archive of {size} bytes that unpacks to {unpacked}")
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"{path}: {wanted}, got a {type(tensors).__name__}")
    if not all(isinstance(name, str) for name in tensors):
        raise CheckpointError(f"{path}: {wanted}, got names that are no text")
    if others := [name for name, tensor in tensors.items() if not _is_plain(tensor)]:
        raise CheckpointError(f"{path}: {wanted}, got something else for {list_names(others)}")
    # Tensors may share memory, as tied weights do, but one byte of a file must not become a thousand.
    if (claimed := sum(tensor.nbytes for tensor in tensors.values())) > 2 * size:
        raise CheckpointError(f"{path}: {wanted}, got a file of {size} bytes for tensors of {claimed}")
    return {
        name: StoredTensor(
            shape=tuple(tensor.shape),
            dtype=tensor.dtype if tensor.dtype in _FLOATS.values() else None,
            read=tensor.detach,
        )
        for name, tensor in tensors.items()
    }


_FORMATS: Mapping[str, Callable[[Path], dict[str, StoredTensor]]] = {
    "model.safetensors": _open_safetensors,
    "pytorch_model.bin": _open_pickle,
}


def _open_shards(
    index: Path, suffix: str, open_file: Callable[[Path], dict[str, StoredTensor]]
) -> dict[str, StoredTensor]:
    """Open the shards that an index lists: each holds exactly the tensors that the index says."""
    weight_map = read_json_object(index, CheckpointError).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: expected a weight_map of tensor names to files, found none")
    files = {file for file in weight_map.values() if isinstance(file, str)}
    plain = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]*{re.escape(suffix)}")
    if odd := [name for name, file in weight_map.items() if not (isinstance(file, str) and plain.fullmatch(file))]:
        raise CheckpointError(
            f"{index}: expected names of {suffix} files beside it, got something else for {list_names(odd)}"
        )
    if missing := [file for file in sorted(files) if not (index.parent / file).is_file()]:
        raise CheckpointError(f"{index}: expected all its shards, found no {list_names(missing)}")
    tensors: dict[str, StoredTensor] = {}
    for file in sorted(files):
        shard = open_file(index.parent / file)
        listed = {name for name, place in weight_map.items() if place == file}
        if listed != shard.keys():
            raise CheckpointError(
                f"{index.parent / file}: expected the tensors that {index.name} lists, "
                f"but these are only in one of both: {list_names(sorted(listed ^ shard.keys()))}"
            )
        tensors.update(shard)
    return tensors


def _unpacked_size(path: Path) -> int:
    """Add up what the files in an archive unpack to; PyTorch does not compress, and its old format is no archive."""
    if not zipfile.is_zipfile(path):
        return 0
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def _is_plain(tensor: object) -> bool:
    return isinstance(tensor, Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
