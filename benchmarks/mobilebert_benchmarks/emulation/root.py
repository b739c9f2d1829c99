"""The guest's file system: the sysroot's libraries, and a /proc and a /sys that show the core it is to see.

QEMU 7.2 lets the guest read the host's /proc/cpuinfo, which is of another architecture. A file below the prefix that it
is given (`-L`) stands before the host's.
"""

from pathlib import Path

from mobilebert_benchmarks.cores import Core


def make_root(directory: Path, core: Core, sysroot: Path) -> None:
    """Fills the directory, for a machine with one such core."""
    (directory / "proc").mkdir(parents=True)
    (directory / "proc" / "cpuinfo").write_text(_cpuinfo(core), encoding="ascii")
    (directory / "lib").symlink_to(sysroot / "lib")
    system = directory / "sys" / "devices" / "system" / "cpu"
    files = {
        "possible": "0",
        "present": "0",
        "online": "0",
        "cpu0/cpufreq/cpuinfo_max_freq": str(round(core.clock_ghz * 1e6)),
        "cpu0/regs/identification/midr_el1": f"0x{core.midr:016x}",
        "cpu0/topology/core_id": "0",
        "cpu0/topology/core_siblings_list": "0",
        "cpu0/topology/package_cpus_list": "0",
        "cpu0/topology/physical_package_id": "0",
    }
    for name, content in files.items():
        path = system / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="ascii")


def _cpuinfo(core: Core) -> str:
    fields = {
        "processor": "0",
        "BogoMIPS": "100.00",
        "Features": " ".join(["fp", *sorted(core.features)]),
        "CPU implementer": f"0x{core.midr >> 24:02x}",
        "CPU architecture": "8",
        "CPU variant": f"0x{core.midr >> 20 & 0xF:x}",
        "CPU part": f"0x{core.midr >> 4 & 0xFFF:03x}",
        "CPU revision": str(core.midr & 0xF),
    }
    return "".join(f"{name:<15}\t: {value}\n" for name, value in fields.items()) + "\n"
