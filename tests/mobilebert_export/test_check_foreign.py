"""Models that somebody else has named."""

import numpy as np
import pytest

from mobilebert_export.check.foreign import feeding, outputs
from mobilebert_export.errors import ModelFileError
from mobilebert_export.lowering import INPUTS
from mobilebert_export.runtimes.interface import Port


def ports(*names: str, dtype: str = "int32", shape: tuple[int, ...] = (1, 8)) -> list[Port]:
    return [Port(name, dtype, shape) for name in names]


@pytest.mark.parametrize(
    "names",
    [
        INPUTS,
        ("token_type_ids", "input_ids", "attention_mask"),
        ("input_word_ids", "input_mask", "input_type_ids"),
        ("serving_default_input_ids:0", "serving_default_attention_mask:0", "serving_default_token_type_ids:0"),
        ("serving_default_input_word_ids:0", "serving_default_input_mask:0", "serving_default_segment_ids:0"),
        ("input_ids_1", "attention_mask_1", "token_type_ids_1"),
        ("inputs/input_ids", "inputs/attention_mask", "inputs/segment_ids"),
    ],
)
def test_known_wordings_are_matched_by_name(names: tuple[str, ...]) -> None:
    found = feeding(ports(*names))
    assert not found.by_position
    for port, ours in found.ports.items():
        assert {"m": "attention_mask", "t": "token_type_ids", "w": "input_ids"}[_kind(port.name)] == ours


def _kind(name: str) -> str:
    return "m" if "mask" in name else "t" if "type" in name or "segment" in name else "w"


def test_names_that_tell_nothing_are_taken_in_order() -> None:
    found = feeding(ports("args_0", "args_1", "args_2"))
    assert found.by_position
    assert list(found.ports.values()) == list(INPUTS)


def test_arrays_have_the_type_and_the_batch_that_the_model_takes() -> None:
    found = feeding([Port("input_ids", "int64", (4, -1)), Port("attention_mask", "float32", (4, -1))])
    given = found.arrays({name: np.array([[1, 2, 3]]) for name in INPUTS})
    assert {name: (array.dtype.name, array.shape) for name, array in given.items()} == {
        "input_ids": ("int64", (4, 3)),
        "attention_mask": ("float32", (4, 3)),
    }
    assert found.length is None


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        ports("image", shape=(1, 224, 224, 3)),
        ports("input_ids", dtype="object"),
        ports("input_ids", "input_ids_1"),
        ports("input_ids", "hidden"),
        ports("a", "b", "c", "d"),
        ports("attention_mask", "token_type_ids"),
        [Port("input_ids", "int32", (1, 8)), Port("attention_mask", "int32", (1, 9))],
        ports("input_ids", shape=(1, 0)),
        ports("input_ids", shape=(2**40, 8)),
        ports("input_ids", shape=(65, 8)),
        ports("input_ids", shape=(-2, 8)),
    ],
)
def test_model_that_cannot_be_fed_is_shown(inputs: list[Port]) -> None:
    with pytest.raises(ModelFileError, match="expected a model that takes input_ids") as error:
        feeding(inputs)
    assert all(port.name in str(error.value) for port in inputs)


def test_outputs_by_name_by_shape_and_by_position() -> None:
    expected = {"start_logits": (1, 8), "end_logits": (1, 8)}
    start, end = np.zeros((1, 8)), np.ones((1, 8))
    for given in ({"end_logits": end, "start_logits": start}, {"Identity": start, "Identity_1": end}):
        found = outputs(given, expected)
        assert (found["start_logits"][0, 0], found["end_logits"][0, 0]) == (0, 1)
    assert outputs({"x": np.ones((1, 5)), "hidden": np.ones((1, 8, 4))}, {"logits": (1, 5)})["logits"].shape == (1, 5)


@pytest.mark.parametrize("shape", [(1, 6), (1, 8, 5), ()])
def test_outputs_of_another_task_are_shown(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelFileError, match=r"expected the outputs .*logits \[1, 5\], found scores"):
        outputs({"scores": np.zeros(shape)}, {"logits": (1, 5)})
