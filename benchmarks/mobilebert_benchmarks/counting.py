"""Counts several models and cores at once: what is emulated counts the same whatever else the machine does."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from mobilebert_benchmarks.cores import Core
from mobilebert_benchmarks.emulation.guest import Guests
from mobilebert_benchmarks.emulation.measure import measure
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.results import CoreResult

# Quota and period in microseconds, or `max` for no quota (Linux, Documentation/admin-guide/cgroup-v2.rst).
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def count(
    arm: ArmSide,
    wanted: Sequence[tuple[Core, ModelFile, Signature]],
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[CoreResult]:
    """Counts each, as many at once as `processors`, and gives the results in the order of `wanted`.

    Args:
        arm: the emulated side.
        wanted: the cores, each with a model and what to run of it.
        progress: is told what happens.

    Raises:
        BenchmarkError: as soon as one of them raises it, in whichever place; what runs then is stopped,
            and what ended behind one that runs is lost.
    """
    guests = Guests()
    pool = ThreadPoolExecutor(processors())
    futures = [pool.submit(measure, arm, *each, guests) for each in wanted]
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
        guests.stop()
        pool.shutdown(cancel_futures=True)


def processors(cpu_max: Path = _CPU_MAX) -> int:
    """How many this process may use, in whole ones, at least 1: fewer in a container that is given less of their time.

    A guest beyond them would only take longer, and is given up after a time.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = map(int, cpu_max.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # no such file, or no quota
        return allowed
    return max(1, min(allowed, quota // period))
