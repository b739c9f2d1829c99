"""Several models and cores at once: the same counts, in the order asked for, and stopped soon when one fails."""

import os
import signal
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mobilebert_benchmarks import counting
from mobilebert_benchmarks.cores import cores
from mobilebert_benchmarks.counting import count, processors
from mobilebert_benchmarks.emulation.guest import Guests
from mobilebert_benchmarks.emulation.measure import measure
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import ModelError
from mobilebert_benchmarks.model_file import read_model

pytestmark = pytest.mark.slow

A53, A76 = (cores()[name] for name in ("cortex-a53", "cortex-a76"))


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "processors", lambda: 2)


def script(arm: ArmSide, directory: Path, lines: str) -> ArmSide:
    """With an emulator that does this first."""
    path = directory / "qemu"
    path.write_text(f'#!/bin/sh\n{lines}\nexec {arm.qemu} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return replace(arm, qemu=path)


def test_at_once_they_count_what_they_count_alone(arm: ArmSide, demo_float: Path, demo_dynamic: Path) -> None:
    files = [read_model(path) for path in (demo_float, demo_dynamic)]
    wanted = [(core, model, model.signatures[-1]) for core in (A76, A53) for model in files]
    told = list[str]()
    assert list(count(arm, wanted, told.append)) == [measure(arm, *each) for each in wanted]
    assert told[0] == "counting demo-none on cortex-a76, 0 of 4 done"
    assert told == sorted(told, key=lambda line: line.split(", ")[1])  # more and more are done


def test_as_many_run_at_once_as_there_are_processors(arm: ArmSide, demo_float: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    # Each waits until another is there too; one at a time would wait for ever.
    waiting = f"""touch {tmp_path}/here/$$
for turn in $(/usr/bin/seq 300); do
  [ $(/bin/ls {tmp_path}/here | /usr/bin/wc -l) -ge 2 ] && break
  [ $turn = 300 ] && exit 9
  /bin/sleep 0.1
done"""
    model = read_model(demo_float)
    wanted = [(core, model, model.signatures[-1]) for core in (A76, A53)]
    assert [result.cpu for result in count(script(arm, tmp_path, waiting), wanted)] == ["cortex-a76", "cortex-a53"]


@pytest.mark.parametrize("failing", ["first", "last", "interrupted"])
def test_when_one_fails_the_rest_is_stopped(arm: ArmSide, demo_float: Path, tmp_path: Path, failing: str) -> None:
    model = read_model(demo_float)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\xff\xff\xff\xffTFL3" + bytes(1000))
    hanging = (A76, model, model.signatures[-1])
    bad = (A76, replace(model, path=broken), model.signatures[-1])
    side = script(
        arm,
        tmp_path,
        f"echo $$ >> {tmp_path}/running\ncase $(/usr/bin/readlink model) in *broken*) /bin/sleep 1;; "
        "*) exec /bin/sleep 600;; esac",
    )

    def interrupt(_: str) -> None:
        if failing == "interrupted":
            while not (tmp_path / "running").exists():
                time.sleep(0.05)
            raise KeyboardInterrupt

    start = time.monotonic()
    wanted = [bad, *[hanging] * 4] if failing == "first" else [hanging, bad, *[hanging] * 3]
    with pytest.raises(KeyboardInterrupt if failing == "interrupted" else ModelError) as raised:
        list(count(side, wanted, interrupt))
    assert "\n" not in str(raised.value)
    assert time.monotonic() - start < 60  # one that hangs would take ten minutes
    for pid in (tmp_path / "running").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_guest_that_starts_after_the_stop_is_stopped(tmp_path: Path) -> None:
    guests = Guests()
    guests.stop()
    assert guests.run(["/bin/sleep", "600"], tmp_path, timeout=60).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("said", "expected"),
    [("max 100000\n", 4), ("800000 100000\n", 4), ("250000 100000\n", 2), ("50000 100000\n", 1), (None, 4)],
)
def test_the_share_that_a_container_has_of_the_processors_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    if said is not None:
        (tmp_path / "cpu.max").write_text(said)
    assert processors(tmp_path / "cpu.max") == expected
