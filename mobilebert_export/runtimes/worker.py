"""The child process: loads one model and answers `run`, `tensors` and `exact` until its input ends.

Started by `mobilebert_export.runtimes.child`; see `mobilebert_export.runtimes.wire` for what is said.
"""

import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mobilebert_export.runtimes.finite import not_finite
from mobilebert_export.runtimes.interface import Arrays, LoadedModel, ModelRefusedError, Runtime, RuntimeMissingError
from mobilebert_export.runtimes.wire import Message, pack, receive


def main(path: str, runtime: str, threads: str, memory: str) -> None:
    """Serves one model.

    Args:
        path: the file.
        runtime: a `Runtime` by its value.
        threads: that the runtime may use.
        memory: bytes of address space that this process may take.
    """
    # Native code prints on standard output as it likes; answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_memory(int(memory))
    try:
        model = _loaded(path, Runtime(runtime), int(threads))
    except ModelRefusedError as error:
        _answer(answers, {"refused": _words(error), "unreadable": error.unreadable})
        return
    except RuntimeMissingError as error:
        _answer(answers, {"missing": _words(error)})
        return
    inputs, outputs = ([port.to_json() for port in ports] for ports in (model.inputs, model.outputs))
    said = {"inputs": inputs, "outputs": outputs, "precision": model.precision}
    _answer(answers, {**said, "findings": model.findings, "remarks": model.remarks})
    _serve(model, answers)


def _serve(model: LoadedModel, answers: BinaryIO) -> None:
    while True:
        try:
            asked, inputs = receive(_read)
        except EOFError:
            return
        try:
            said, given = _told(model, asked, inputs)
        except MemoryError:
            sys.exit("out of memory")
        except RuntimeMissingError as error:
            _answer(answers, {"missing": _words(error)})
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises is an answer
            _answer(answers, {"failed": _words(error)})
        else:
            _answer(answers, said, given)


def _told(model: LoadedModel, asked: Mapping[str, Any], inputs: Arrays) -> Message:
    """What is asked for; of all tensors only those that are wanted, if they are no larger than that."""
    if asked["what"] == "run":
        return {}, model.run(inputs)
    computed = {"tensors": model.tensors, "exact": model.exact}[asked["what"]](inputs)
    most = asked["wanted"]
    wanted = {name: values for name, values in computed.items() if values.size <= most.get(name, -1)}
    return {"not_finite": not_finite(computed)} if asked["what"] == "tensors" else {}, wanted


def _loaded(path: str, runtime: Runtime, threads: int) -> LoadedModel:
    if runtime is Runtime.ONNXRUNTIME:
        from mobilebert_export.runtimes.onnx_session import OnnxSessionModel

        return OnnxSessionModel(path, threads)
    from mobilebert_export.runtimes.tflite_interpreter import TfliteInterpreterModel

    return TfliteInterpreterModel(path, runtime, threads)


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = size if most == resource.RLIM_INFINITY else min(size, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(
    answers: BinaryIO, said: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]] | None = None
) -> None:
    answers.write(pack(said, arrays or {}))
    answers.flush()


def _read(size: int) -> bytes:
    data = sys.stdin.buffer.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
