"""The ARM cores that can be emulated, described in `cores.json`.

What is counted depends on the features and the MIDR alone, and the guest is checked against both. Clocks and caches are
typical values, not those of one chip: licensees choose them, and cache misses and estimates of time follow them.

`host` is no core of that file: it is this machine, measured and not emulated.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from mobilebert_benchmarks.errors import UnknownCoreError

HOST = "host"

# These decide which kernels LiteRT (XNNPACK) may choose. The bits are Linux's: arch/arm64/include/uapi/asm/hwcap.h.
HWCAP = {"asimd": 1, "fphp": 9, "asimdhp": 10, "asimddp": 20, "sve": 22}
HWCAP2 = {"sve2": 1, "i8mm": 13, "bf16": 14, "sme": 23}


@dataclass(frozen=True)
class Cache:
    """One level of data cache, of `kib` KiB in `ways` ways, with lines of 64 bytes."""

    kib: int
    ways: int


@dataclass(frozen=True)
class Core:
    """One kind of core.

    Attributes:
        name: what `--cpu` calls it.
        phones: which phones carry it.
        qemu_cpu: what QEMU's `-cpu` is given; it decides the instruction set.
        midr: main ID register, by which LiteRT tells cores apart that have the same instruction set.
        features: which of `HWCAP` and `HWCAP2` it has; it has no other of them.
        int8_floor: instructions that multiply by the best of its features, of an inference in int8, are at least this
            share of the Linear layers' instructions; `emulation/kernels.py` tells how it is chosen.
        clock_ghz: of the phones named, for estimates of time.
        caches: data caches, from the first level on.
        in_order: whether it issues instructions in their order.
        mca_cpu: llvm-mca's model of it, or of the core closest to it.
        mca_llvm: the oldest LLVM of which that is known; older ones may take another core's model without a word.
        mca_float: whether the model can be believed where floats are multiplied.
        mca_note: where the model is known to be too slow; empty if nowhere.
    """

    name: str
    phones: str
    qemu_cpu: str
    midr: int
    features: frozenset[str]
    int8_floor: float
    clock_ghz: float
    caches: tuple[Cache, ...]
    in_order: bool
    mca_cpu: str
    mca_llvm: int
    mca_float: bool
    mca_note: str


@cache
def cores() -> dict[str, Core]:
    """Every core by its name, in the file's order."""
    described = json.loads(resources.files("mobilebert_benchmarks").joinpath("cores.json").read_text("utf-8"))
    return {
        name: Core(
            name=name,
            phones=fields["phones"],
            qemu_cpu=fields["qemu_cpu"],
            midr=int(fields["midr"], 16),
            features=frozenset(fields["features"]),
            int8_floor=fields["int8_floor"],
            clock_ghz=fields["clock_ghz"],
            caches=tuple(Cache(**level) for level in fields["caches"]),
            in_order=fields["in_order"],
            mca_cpu=fields["mca_cpu"],
            mca_llvm=fields["mca_llvm"],
            mca_float=fields["mca_float"],
            mca_note=fields["mca_note"],
        )
        for name, fields in described.items()
    }


def known(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in their order.

    Raises:
        UnknownCoreError: a name is neither a core's nor `host`; with those known.
    """
    choices = (*cores(), HOST)
    for name in names:
        if name not in choices:
            raise UnknownCoreError(f"expected a CPU among {', '.join(choices)}, got {name!r}")
    return tuple(dict.fromkeys(names))
