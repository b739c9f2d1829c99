"""Models to measure, and the emulated ARM side, which is set up here by the command that a user runs."""

import os
from pathlib import Path

import pytest
from mobilebert_benchmarks.emulation.setup import ArmSide, set_up, state
from mobilebert_benchmarks.errors import UnreachableError
from mobilebert_reference import load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.cli.setup_arm import setup_arm
from mobilebert_export.export import export_tflite
from mobilebert_export.precisions import Precision


@pytest.fixture(scope="session")
def arm() -> ArmSide:
    """The real thing. Where `CI` is set it is installed; on a person's machine nothing is."""
    if not state().ready:
        if not os.environ.get("CI"):
            pytest.skip("the emulated ARM side is not set up: mobilebert-export setup-arm --install")
        try:
            setup_arm(install=True)
        except UnreachableError as error:
            pytest.skip(f"the emulated ARM side cannot be set up here: {error}")
    return set_up()


@pytest.fixture(scope="session")
def demo_float(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in float32, at 16 tokens."""
    return _demo(tmp_path_factory, Precision.NONE)


@pytest.fixture(scope="session")
def demo_dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with int8 products, at 16 tokens."""
    return _demo(tmp_path_factory, Precision.DYNAMIC)


@pytest.fixture(scope="session")
def demo_int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model in int8, at 16 tokens."""
    return _demo(tmp_path_factory, Precision.INT8)


@pytest.fixture(scope="session")
def demo_int16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with activations of 16 bits, at 16 tokens."""
    return _demo(tmp_path_factory, Precision.INT16)


def _demo(factory: pytest.TempPathFactory, precision: Precision) -> Path:
    path = factory.mktemp("demo") / f"demo-{precision.value}.tflite"
    export_tflite(load_checkpoint(CHECKPOINT), path, precision=precision, sequence_length=16)
    return path
