"""`mobilebert-export setup-arm`: what the emulated ARM cores of `benchmark` need."""

import json as json_module
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mobilebert_export.cli.terminal import printable

if TYPE_CHECKING:
    from mobilebert_benchmarks.emulation.setup import SetupState

NOT_READY = 1


def setup_arm(
    install: Annotated[
        bool, typer.Option("--install", help="Install missing system packages with apt-get (as root, or with sudo).")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Report, change nothing; exit code 1 if not ready.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Set up the emulated ARM side: QEMU, a cross compiler, LiteRT for aarch64, our runner and plugin."""
    from mobilebert_benchmarks.emulation import setup
    from mobilebert_benchmarks.emulation.cache import default_root, prune
    from mobilebert_benchmarks.emulation.tools import Tools
    from mobilebert_benchmarks.emulation.tools import install as install_packages
    from mobilebert_benchmarks.host import profile
    from rich.console import Console

    if install and check:
        raise typer.BadParameter("--install changes the system and --check nothing; use one of them.")
    removed: tuple[str, ...] = ()
    if not check:
        with Console(stderr=True).status("looking at the system") as status:  # shows nothing where there is no terminal
            missing = Tools()
            if install and missing.packages:
                status.update(f"installing {' '.join(missing.packages)}")
                install_packages(missing.packages)
            setup.set_up(progress=status.update)
            removed = prune(default_root(), keep={setup.key(Tools()), profile.key()})
    state = setup.state()
    if json:
        typer.echo(json_module.dumps(_report(state, removed)))
    else:
        _show(state, removed)
    if not state.ready:
        raise typer.Exit(NOT_READY)


def _report(state: "SetupState", removed: Sequence[str]) -> dict[str, object]:
    return {
        "ready": state.ready,
        "missing": list(state.missing),
        "packages": list(state.packages),
        "problem": state.problem,
        "versions": asdict(state.versions) if state.versions else None,
        "directory": str(state.directory) if state.directory else None,
        "built": state.built,
        "llvm_mca": state.mca,
        "removed": list(removed),
    }


def _show(state: "SetupState", removed: Sequence[str]) -> None:
    from mobilebert_benchmarks.emulation.mca import PACKAGE

    rows = [("ready", "yes" if state.ready else "no")]
    if state.missing:
        rows.append(("missing", ", ".join(state.missing)))
    elif state.problem:
        rows.append(("problem", state.problem))
    if state.versions:
        rows.append(("QEMU", state.versions.qemu))
        rows.append(("libc", f"{state.versions.libc} (of the guest)"))
        rows.append(("LiteRT", f"{state.versions.litert} (Linux, aarch64)"))
    if state.directory:
        rows.append(("cache", f"{state.directory}{'' if state.built else ' (not built)'}"))
    if removed:
        rows.append(("removed", f"{len(removed)} of other versions, or not whole"))
    rows.append(("llvm-mca", f"{state.mca or 'none'} (optional, models milliseconds; Debian's {PACKAGE})"))
    if not state.ready:
        rows.append(
            ("next", "mobilebert-export setup-arm --install" if state.missing else "mobilebert-export setup-arm")
        )
    for name, value in rows:
        typer.echo(f"{name:<11}  {printable(value, sys.stdout.encoding)}")
