"""A phone: the commands that `adb` is given, and what is made of its answers. No phone is here; adb is a script."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mobilebert_benchmarks import phone as phone_module
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.emulation.tools import Versions
from mobilebert_benchmarks.errors import PhoneError
from mobilebert_benchmarks.model_file import Arithmetic, ModelFile, Signature
from mobilebert_benchmarks.phone import DIRECTORY, Phone, command, measure, parsed

SAID = {"peak_kib": 2048, "first_answer_ns": 9_000_000, "cpu_ns": 6_000_000, "times_ns": [3_000_000] * 2}
SIGNATURE = Signature(2, "s; reboot", 16)


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its directory: `log` has a line for each call, `answer` is what the runner says, `state` the device's."""
    (tmp_path / "bin").mkdir()
    script = f"""#!/bin/sh
echo "$@" >> {tmp_path}/log
case "$*" in
  *get-state) cat {tmp_path}/state;;
  *push*) [ -e "$4" ];;
  *runner*) cat {tmp_path}/answer;;
esac
"""
    (tmp_path / "bin" / "adb").write_text(script)
    (tmp_path / "bin" / "adb").chmod(0o755)
    (tmp_path / "state").write_text("device\n")
    (tmp_path / "answer").write_text(json.dumps(SAID) + "\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def side(tmp_path: Path) -> ArmSide:
    library = tmp_path / "sysroot" / "lib"
    library.mkdir(parents=True)
    for name in (*phone_module._LIBRARIES, *phone_module._CPP_LIBRARIES):
        (library / name).touch()
    for name in ("runner", "libLiteRt.so"):
        (tmp_path / name).touch()
    here = tmp_path / "unused"
    versions = Versions("", "", "")
    runner, runtime = tmp_path / "runner", tmp_path / "libLiteRt.so"
    return ArmSide(here, here, tmp_path / "sysroot", runner, here, here, runtime, versions, None)


def model(directory: Path) -> ModelFile:
    path = directory / "strange; name.tflite"
    path.touch()
    return ModelFile(path, (SIGNATURE,), Arithmetic.FLOAT)


def test_a_model_is_pushed_run_and_removed(adb: Path, side: ArmSide) -> None:
    results = measure(Phone("emulator-5554"), side, [(model(adb), SIGNATURE)], runs=10)
    assert [(result.cpu, result.threads, result.runs, result.median_ms) for result in results] == [
        ("adb:emulator-5554", 1, 10, 3.0),
        ("adb:emulator-5554", 2, 10, 3.0),
    ]
    assert (results[0].cpu_ms, results[0].cold_start_ms, results[0].peak_memory_bytes) == (3.0, 9.0, 2 << 20)
    calls = (adb / "log").read_text().splitlines()
    assert all(call.startswith("-s emulator-5554 ") for call in calls)
    assert calls[-1].endswith(f"shell rm -rf {DIRECTORY}")
    assert sum("./runner" in call for call in calls) == 10  # 5 rounds with 1 thread and with 2
    pushed = {call.rsplit("/", 1)[1] for call in calls if " push " in call}
    assert {"runner", "libLiteRt.so", "0.tflite", "ld-linux-aarch64.so.1", "libstdc++.so.6"} <= pushed


def test_nothing_of_a_file_gets_into_the_phones_shell() -> None:
    assert "reboot" not in command(0, SIGNATURE, 10, 1)
    assert command(0, SIGNATURE, 10, 1).endswith("./libLiteRt.so ./0.tflite 2 3 10 1 0")


def test_a_step_that_fails_is_one_line_and_the_phone_is_cleaned(adb: Path, side: ArmSide) -> None:
    gone = replace(model(adb), path=adb / "gone.tflite")
    with pytest.raises(PhoneError, match=r"expected adb push to succeed on phone, got: no word of why"):
        measure(Phone("phone"), side, [(gone, SIGNATURE)], runs=1)
    assert (adb / "log").read_text().splitlines()[-1].endswith(f"rm -rf {DIRECTORY}")


@pytest.mark.parametrize("serial", ["", "-s", "a b", "a;b", "$(reboot)", "x" * 101])
def test_what_is_no_serial_is_refused(adb: Path, serial: str) -> None:
    with pytest.raises(PhoneError, match=r"expected a serial"):
        Phone(serial)
    assert not (adb / "log").exists()


def test_a_device_that_is_not_ready_is_refused(adb: Path) -> None:
    (adb / "state").write_text("unauthorized\n")
    with pytest.raises(PhoneError, match=r"whose state is 'unauthorized'; see `adb devices`"):
        Phone("phone")


def test_without_adb_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PhoneError, match=r"expected the program adb, got none; install"):
        Phone("phone")


def test_lines_before_the_answer_are_left_out() -> None:
    assert parsed("WARNING: linker: noise\r\n" + json.dumps(SAID) + "\r\n")["times_ns"] == SAID["times_ns"]


@pytest.mark.parametrize("said", ["", "Killed", "[]", "{}", json.dumps({**SAID, "times_ns": []})])
def test_another_answer_is_one_line(said: str) -> None:
    with pytest.raises(PhoneError, match=r"expected the runner's line of JSON from the phone"):
        parsed(said)
