"""Counts several models and cores at once: what is emulated counts the same whatever else the machine does."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from mobilebert_benchmarks.cores import Core
from mobilebert_benchmarks.emulation.measure import measure
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.results import CoreResult

_POLL_SECONDS = 0.05


def count(
    arm: ArmSide,
    wanted: Sequence[tuple[Core, ModelFile, Signature]],
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[CoreResult]:
    """Counts each, as many at once as there are processors, and gives the results in the order of `wanted`.

    Args:
        arm: the emulated side.
        wanted: the cores, each with a model and what to run of it.
        progress: is told what happens.

    Raises:
        BenchmarkError: as soon as one of them raises it, in whichever place; what runs then is stopped.
    """
    threads: list[int] = []
    pool = ThreadPoolExecutor(
        len(os.sched_getaffinity(0)), initializer=lambda: threads.append(threading.get_native_id())
    )
    futures = [pool.submit(measure, arm, *each) for each in wanted]
    pending = set(futures)
    try:
        for (core, model, _), future in zip(wanted, futures, strict=True):
            while future in pending:
                done = len(futures) - len(pending)
                progress(f"counting {model.name} on {core.name}, {done} of {len(futures)} done")
                ended, pending = wait(pending, return_when=FIRST_COMPLETED)
                for each in ended:
                    each.result()  # raises
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(future.done() for future in futures):
            for thread in threads:
                _stop_children(thread)
            time.sleep(_POLL_SECONDS)


def _stop_children(thread: int) -> None:
    """Kills the processes that this thread has started: while it waits for one, it cannot be stopped itself."""
    with suppress(OSError):  # they ended meanwhile
        for child in Path(f"/proc/self/task/{thread}/children").read_text(encoding="ascii").split():
            os.kill(int(child), signal.SIGKILL)
