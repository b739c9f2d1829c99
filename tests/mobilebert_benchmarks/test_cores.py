"""The profiles: complete, and what the manuals say."""

import pytest
from mobilebert_benchmarks.cores import HWCAP, HWCAP2, cores, known
from mobilebert_benchmarks.errors import UnknownCoreError

# Part numbers of Arm's cores, as in Linux's arch/arm64/include/asm/cputype.h.
PARTS = {"cortex-a53": 0xD03, "cortex-a55": 0xD05, "cortex-a72": 0xD08, "cortex-a76": 0xD0B, "armv9-i8mm": 0xD47}


def test_every_core_of_the_issue_is_there_and_is_what_its_midr_says() -> None:
    arm, architecture_by_features = 0x41, 0xF
    for name, part in PARTS.items():
        midr = cores()[name].midr
        assert (midr >> 24, midr >> 16 & 0xF, midr >> 4 & 0xFFF) == (arm, architecture_by_features, part)
    assert cores().keys() == PARTS.keys()


def test_every_feature_is_one_that_the_guest_can_be_asked_for() -> None:
    assert all(core.features <= HWCAP.keys() | HWCAP2.keys() for core in cores().values())


def test_only_armv9_multiplies_matrices_and_only_old_cores_lack_dot_products() -> None:
    assert {name for name, core in cores().items() if "i8mm" in core.features} == {"armv9-i8mm"}
    assert {name for name, core in cores().items() if "asimddp" not in core.features} == {"cortex-a53", "cortex-a72"}
    assert not any("sme" in core.features for core in cores().values())


def test_every_cache_has_whole_sets_and_each_level_is_larger_than_the_one_before() -> None:
    for core in cores().values():
        assert all(level.kib * 1024 % (64 * level.ways) == 0 for level in core.caches)
        sizes = [level.kib for level in core.caches]
        assert sizes == sorted(set(sizes))


def test_names_are_kept_once_and_in_order() -> None:
    assert known(["host", "cortex-a76", "host"]) == ("host", "cortex-a76")


def test_an_unknown_core_is_refused_with_those_known() -> None:
    with pytest.raises(UnknownCoreError, match=r"cortex-a53, .*, host, got 'cortex-a77'"):
        known(["cortex-a53", "cortex-a77"])
