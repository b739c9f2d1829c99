"""Counts a model on an emulated core, if the core and its kernels are what they should be."""

from mobilebert_benchmarks.cores import Core
from mobilebert_benchmarks.emulation import guest
from mobilebert_benchmarks.emulation.delegation import delegation
from mobilebert_benchmarks.emulation.instructions import disassemble, mix
from mobilebert_benchmarks.emulation.kernels import check_kernels
from mobilebert_benchmarks.emulation.mca import estimate
from mobilebert_benchmarks.emulation.setup import ArmSide
from mobilebert_benchmarks.errors import MismatchError
from mobilebert_benchmarks.model_file import ModelFile, Signature
from mobilebert_benchmarks.operators import costs, linear_share
from mobilebert_benchmarks.results import CoreResult


def measure(
    arm: ArmSide, core: Core, model: ModelFile, signature: Signature, guests: guest.Guests | None = None
) -> CoreResult:
    """One signature of the model on the core; `guests` can stop it.

    Raises:
        ModelError: the runtime refuses the model.
        GuestError: the guest crashes or does not end.
        MismatchError: the guest is another core, or runs other kernels than the core would.
    """
    try:
        run = guest.run(arm, core, model, signature, guests)
        counts = run.counts
        assembly = disassemble((word for block in counts.blocks for word in block.code), arm.objdump)
        kinds = mix(counts, assembly)
        operators = guest.operators(arm, core, model, signature, guests)
        check_kernels(kinds, core, model.arithmetic, linear_share(operators))
    except MismatchError as error:
        raise MismatchError(f"{model.name}: {error}") from error
    return CoreResult(
        model=model.name,
        cpu=core.name,
        length=signature.length,
        instructions_per_inference=counts.instructions,
        mix=kinds,
        accesses=counts.accesses,
        cache_misses=counts.misses,
        peak_memory_bytes=counts.peak_bytes,
        set_up_instructions=counts.set_up_instructions,
        delegation=delegation(operators),
        operators=costs(operators),
        estimate=estimate(arm.mca, core, counts, assembly),
        output_hash=run.output_hash,
    )
