"""`mobilebert-export tflite` through its entry point."""

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilebert_export.check import FLOORS
from mobilebert_export.precisions import Precision
from mobilebert_export.runtimes.litert import LiteRtModel
from tests.command import COMMAND, run


def test_demo_without_a_checkpoint(tmp_path: Path) -> None:
    done = run("tflite", "--quantize", "int8", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["mobilebert-demo-int8.tflite"]
    shown = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1].strip() for line in done.stdout.splitlines()}
    assert {"precision", "size", "nodes", "partitions", "SQNR", "agreement", "file", "next"} <= set(shown)
    assert re.fullmatch(r"int8 \(\d+ nodes compute in integers.*\)", shown["precision"])
    assert shown["partitions"].startswith("1 ")
    again = run(*shown["next"].split()[1:], cwd=tmp_path)
    assert again.returncode == 0


def test_json_is_one_object_and_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    done = run("tflite", checkpoint, "--quantize", "float16", "--seq-len", 16, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    path = tmp_path / "small-float16.tflite"
    assert report["output"] == path.name
    assert report["size"] == path.stat().st_size
    assert report["precision"] == report["quantize"] == "float16"
    assert report["verification"]["sqnr"]["logits"] >= report["floor"]
    model = LiteRtModel(path)
    assert (report["nodes"], report["partitions"]) == (model.nodes, model.partitions)
    row = np.zeros((1, 16), np.int32)
    assert model.run({"input_ids": row, "attention_mask": row, "token_type_ids": row})["logits"].shape == (1, 5)


def test_same_checkpoint_gives_the_same_bytes(checkpoint: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    assert call("tflite", checkpoint, "--seq-len", 16, "--output", "a.tflite")[0] == 0
    assert call("tflite", checkpoint, "--seq-len", 16, "--output", "b.tflite")[0] == 0
    assert Path("a.tflite").read_bytes() == Path("b.tflite").read_bytes()


def test_existing_output_is_replaced_only_when_asked(
    checkpoint: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    output = Path("out.tflite")
    output.write_text("mine")
    code, _, error = call("tflite", checkpoint, "--seq-len", 16, "--output", output)
    assert (code, output.read_text()) == (2, "mine")
    assert "which exists; use --overwrite" in error
    assert call("tflite", checkpoint, "--seq-len", 16, "--output", output, "--overwrite")[0] == 0
    assert output.read_bytes()[4:8] == b"TFL3"


def test_file_below_the_floor_is_not_put_in_place(
    checkpoint: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FLOORS, Precision.FLOAT16, 200.0)  # more than float16 can reach
    before = set(tmp_path.iterdir())
    code, output, error = call("tflite", checkpoint, "--quantize", "float16", "--seq-len", 16)
    assert (code, output) == (1, "")
    assert "expected an SQNR of at least 200 dB against the reference with float16" in error
    assert error.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.jsonl", b"", "expected rows of text in rows.jsonl, got none"),
        ("rows.txt", b"\n \n", "expected rows of text in rows.txt, got none"),
        ("rows.jsonl", b'{"text": "a"}\n{"label": "b"}\n', "line 2 of rows.jsonl"),
        ("rows.jsonl", b'{"text": 1}\n', "line 1 of rows.jsonl"),
        ("rows.jsonl", b"a b c\n", "line 1 of rows.jsonl"),
        ("rows.txt", b"\xff\xfe\x00", "expected UTF-8 text in rows.txt"),
        ("rows.jsonl", b'{"text": ""}\n' * 3, "no row with two tokens of text"),
        ("rows.txt", b"a\nb\n", "no row with two tokens of text"),
        ("rows.json", b'{"text": "a b c"}\n', "line 1 of rows.json, got JSON; name a file of rows *.jsonl"),
    ],
)
def test_bad_calibration_is_one_line(
    name: str, content: bytes, said: str, checkpoint: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    Path(name).write_bytes(content)
    code, output, error = call("tflite", checkpoint, "--quantize", "dynamic", "--seq-len", 16, "--calibration", name)
    assert (code, output) == (2, "")
    assert error.count("\n") == 1
    assert said in error
    assert not list(Path().glob("*.tflite"))


def test_calibration_says_what_it_used(checkpoint: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    Path("rows.txt").write_text("some text\nand more\n")
    arguments = ["tflite", checkpoint, "--quantize", "dynamic", "--seq-len", 16, "--overwrite"]
    shown = " ".join(call(*arguments, "--calibration", "rows.txt")[1].split())
    assert "calibration 2 rows of rows.txt" in shown
    assert "warning fitted to 2 rows; 100 or more would show its ranges better" in shown
    shown = " ".join(call(*arguments)[1].split())
    assert "calibration 300 rows of the demo's queries" in shown
    assert "warning fitted to generic queries, not to text of yours; --calibration FILE does better" in shown
    printed = json.loads(call(*arguments, "--json")[1])
    assert printed["calibration_rows"] == 300
    assert [each[:25] for each in printed["warnings"]] == ["fitted to generic queries"]
    assert "nowhere.txt: No such file" in call(*arguments, "--calibration", "nowhere.txt")[2]


def test_text_is_used_where_numbers_stay_real_too(checkpoint: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    Path("rows.txt").write_text("some text\nand more\n")
    code, output, _ = call("tflite", checkpoint, "--seq-len", 16, "--calibration", "rows.txt", "--json")
    assert (code, json.loads(output)["calibration_rows"]) == (0, 2)
    code, output, _ = call("tflite", checkpoint, "--seq-len", 16, "--overwrite", "--json")
    assert (code, json.loads(output)["calibration_rows"]) == (0, 0)


@pytest.mark.slow
def test_auto_says_what_it_chose_and_why(call: Callable[..., tuple[int, str, str]]) -> None:
    code, output, _ = call("tflite", "--quantize", "auto", "--max-drop", 5, "--seq-len", 24, "--json")
    printed = json.loads(output)
    assert (code, printed["quantize"], printed["precision"]) == (0, "auto", "int8")
    assert "held-out rows may change; int8 changes" in printed["reason"]
    assert Path(printed["output"]).stat().st_size == printed["size"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quantize", "int8", "--max-drop", 1], "expected auto with a largest drop, got int8; leave out --max-drop"),
        (["--quantize", "auto", "--max-drop", 101], "expected a largest drop from 0 to 100 percent, got 101"),
    ],
)
def test_option_that_would_have_no_effect_is_an_error(
    arguments: list[Any], said: str, checkpoint: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    code, output, error = call("tflite", checkpoint, "--seq-len", 16, *arguments)
    assert (code, output) == (2, "")
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seq-len", 1], "from 2 to the model's 20 positions, got 1"),
        (["--seq-len", 21], "from 2 to the model's 20 positions, got 21"),
        (["--seq-len", "many"], "--seq-len"),
        (["--quantize", "int3"], "int3"),
        (["--seq-len", 16, "--output", "nowhere/out.tflite"], "create nowhere first"),
        (["--seq-len", 16, "--output", "small"], "got the directory small"),
        (["--seq-len", 16, "--output", "small.txt/out.tflite"], "small.txt"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_bad_call_is_one_line(
    arguments: list[Any], said: str, checkpoint: Path, call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, output, error = call("tflite", checkpoint, *arguments)
    assert (code, output) == (2, "")
    assert error.count("\n") == 1
    assert said in error
    assert not list(tmp_path.glob("*.tflite"))


def test_full_disk_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    done = run(
        "tflite",
        checkpoint,
        "--seq-len",
        16,
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "small-none.tflite: File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_run_leaves_nothing(number: int, tmp_path: Path) -> None:
    command = [*COMMAND, "tflite", "--seq-len", "128"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".*.part")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, number)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "mobilebert-export: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def shell(command: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command, called `$program` in it, with what only a shell can do to its streams."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env={**os.environ, "program": shlex.join(COMMAND), **environment},
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("a[/b].tflite", "utf-8"),
        ("[bold]x :smile: $HOME.tflite", "utf-8"),
        ("名.tflite", "utf-8"),
        ("名.tflite", "ascii"),
        ("l" * 200, "ascii"),
    ],
)
def test_any_name_is_shown_as_it_is(name: str, encoding: str, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    environment = {"PYTHONIOENCODING": encoding, "output": name}
    done = shell(f'$program tflite {checkpoint} --seq-len 16 --output "$output"', tmp_path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    shown = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1].rstrip() for line in done.stdout.splitlines()}
    assert shown["file"] == name.encode(encoding, "backslashreplace").decode(encoding)
    if name.isascii():
        assert shlex.split(shown["next"]) == ["mobilebert-export", "inspect", name]


@pytest.mark.parametrize(
    ("redirected", "said"),
    [
        ("--help >/dev/full", "No space left"),
        ("--help >&-", "expected a standard output"),
        ("--help | true; exit ${PIPESTATUS[0]}", ""),
        ("inspect nowhere 2>&-", ""),
        ("inspect nowhere 2>/dev/full", ""),
        ("inspect nowhere <&- >&- 2>&-", ""),
    ],
)
def test_stream_that_takes_nothing_is_exit_code_2(redirected: str, said: str, tmp_path: Path) -> None:
    # A reader that is gone before the first line, not perhaps after the last one.
    done = shell(f"$program {redirected}".replace("$program --help |", "(sleep 1; exec $program --help) |"), tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.parametrize("options", ["", "--json"])
def test_result_that_cannot_be_shown_is_exit_code_2(options: str, checkpoint: Path, tmp_path: Path) -> None:
    done = shell(f"$program tflite {checkpoint} --seq-len 16 {options} >/dev/full", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1


def test_export_without_a_standard_error(checkpoint: Path, tmp_path: Path) -> None:
    done = shell(f"$program tflite {checkpoint} --seq-len 16 --json <&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["size"] == (tmp_path / "small-none.tflite").stat().st_size


def test_runtime_without_a_standard_error(checkpoint: Path, tmp_path: Path) -> None:
    assert shell(f"$program tflite {checkpoint} --seq-len 16 --output good", tmp_path).returncode == 0
    (tmp_path / "bad").write_bytes(b"no model")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from mobilebert_export.errors import ModelFileError\n"
        "from mobilebert_export.runtimes.litert import LiteRtModel\n"
        "assert sys.stderr is None\n"
        "assert LiteRtModel(Path('good')).partitions == 1\n"
        "try: LiteRtModel(Path('bad'))\n"
        "except ModelFileError: print('refused')"
    )
    for closed in ("2>&-", "<&- 2>&-"):
        done = shell(f'"$python" -c "$code" {closed}', tmp_path, python=sys.executable, code=code)
        assert (done.returncode, done.stdout) == (0, "refused\n")


def test_no_arguments_show_the_help(tmp_path: Path) -> None:
    bare, asked = run(cwd=tmp_path), run("--help", cwd=tmp_path)
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, asked.stdout, "")
    assert "tflite" in bare.stdout


def test_error_obeys_no_terminal_codes_of_a_name(call: Callable[..., tuple[int, str, str]]) -> None:
    code, output, error = call("inspect", "\x1b[2Jnowhere\u202e")
    assert (code, output) == (2, "")
    assert "\\x1b[2Jnowhere\\u202e" in error
    assert error.rstrip("\n").isprintable()


def test_checkpoint_that_links_to_itself_is_one_line(call: Callable[..., tuple[int, str, str]]) -> None:
    Path("loop").symlink_to("loop")
    code, output, error = call("tflite", "loop")
    assert (code, output) == (2, "")
    assert "loop" in error
    assert error.count("\n") == 1


def test_file_is_named_after_the_link_that_was_given(
    checkpoint: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    Path("latest").symlink_to(checkpoint)
    assert call("tflite", "latest/.", "--seq-len", 16)[0] == 0
    assert Path("latest-none.tflite").exists()


def test_existing_output_is_refused_before_the_checkpoint_is_read(call: Callable[..., tuple[int, str, str]]) -> None:
    Path("out").write_text("mine")
    code, _, error = call("tflite", "nowhere", "--output", "out")
    assert code == 2
    assert "which exists; use --overwrite" in error


def test_ignored_hangup_stays_ignored(call: Callable[..., tuple[int, str, str]]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert call("inspect", "nowhere", "--json")[0] == 2
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['mobilebert-export', '--help']\n"
        "from mobilebert_export.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted({'torch', 'numpy', 'ai_edge_litert', 'tokenizers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "tflite" in done.stdout
    assert "inspect" in done.stdout
