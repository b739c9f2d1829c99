"""The demo model, and torch on one thread where a test takes long enough to matter."""

from collections.abc import Iterator

import pytest
import torch
from mobilebert_reference import Checkpoint, load_checkpoint
from mobilebert_reference.demo import CHECKPOINT


@pytest.fixture(scope="session")
def demo() -> Checkpoint:
    """No test changes it."""
    return load_checkpoint(CHECKPOINT)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """More make small products no faster, and a busy machine slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
