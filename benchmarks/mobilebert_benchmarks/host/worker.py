"""The process that runs one model: `python -m mobilebert_benchmarks.host.worker MODEL SIGNATURE THREADS`.

It says one line of JSON when the first answer is there, and one for each line that it reads, which is a number of
inferences to run. A model of strangers that crashes it takes nothing else along.
"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORDS, _STRIDE = 64, 7  # ids that are words in every vocabulary; which they are changes no time


def main(path: str, signature: str, threads: int) -> None:
    """Serves until standard input ends."""
    from ai_edge_litert.interpreter import Interpreter

    before = _resident_bytes("VmRSS")
    start = time.perf_counter_ns()
    interpreter = Interpreter(model_path=path, num_threads=threads)
    run = interpreter.get_signature_runner(signature)
    inputs = {name: _values(name, detail) for name, detail in run.get_input_details().items()}
    run(**inputs)
    _say({"cold_start_ns": time.perf_counter_ns() - start, "peak_bytes": _resident_bytes("VmHWM") - before})
    for line in sys.stdin:
        cpu = time.process_time_ns()
        times = []
        for _ in range(int(line)):
            begin = time.perf_counter_ns()
            run(**inputs)
            times.append(time.perf_counter_ns() - begin)
        cpu = time.process_time_ns() - cpu
        _say({"times_ns": times, "cpu_ns": cpu, "peak_bytes": _resident_bytes("VmHWM") - before})


def _values(name: str, detail: dict[str, Any]) -> "NDArray[Any]":
    import numpy as np

    shape, dtype = tuple(detail["shape"]), detail["dtype"]
    if "mask" in name:
        return np.ones(shape, dtype)
    if "type" in name or "segment" in name:
        return np.zeros(shape, dtype)
    return (1 + np.arange(np.prod(shape)) * _STRIDE % _WORDS).reshape(shape).astype(dtype)


def _resident_bytes(field: str) -> int:
    """As Linux says it, 0 where there is no /proc: `getrusage` would give the peak of whoever started this process."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
