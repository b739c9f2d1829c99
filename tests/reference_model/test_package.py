"""The public face of mobilebert_reference."""

import subprocess
import sys

import mobilebert_reference
import pytest


def test_every_exported_name_is_there_and_in_order() -> None:
    names = mobilebert_reference.__all__
    assert names == sorted(names)
    for name in names:
        assert getattr(mobilebert_reference, name).__name__ == name


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'MobileBertForNothing'"):
        mobilebert_reference.MobileBertForNothing  # noqa: B018


def test_configuration_and_errors_load_without_pytorch() -> None:
    program = """
import sys
import mobilebert_reference
mobilebert_reference.MobileBertConfig(), mobilebert_reference.CheckpointError
heavy = {"numpy", "safetensors", "tokenizers", "torch"} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)
