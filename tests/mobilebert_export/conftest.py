"""The demo model and a small one, the command in this process, and torch on one thread where a test takes long."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mobilebert_reference import Checkpoint, load_checkpoint
from mobilebert_reference.demo import CHECKPOINT

from mobilebert_export.cli import main
from tests.models import VOCABULARY_SIZE, random_model, write_checkpoint


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


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A directory with a small classifier, which nothing has trained."""
    model = random_model("MobileBertForSequenceClassification", "near_one", vocab_size=VOCABULARY_SIZE)
    return write_checkpoint(model, tmp_path / "small")


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The entry point in this process: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mobilebert-export", *map(str, arguments)])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            with pytest.raises(SystemExit) as stopped:
                main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return int(stopped.value.code or 0), *capfd.readouterr()

    return call
