"""Which tensors hold numbers that are none."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def not_finite(tensors: Mapping[str, NDArray[np.generic]]) -> list[str]:
    """The names of the tensors that hold NaN or infinity, or the largest number that there is.

    LiteRT's plain kernels cut off there what overflows. The least one is no overflow: some exporters mask with it.
    """
    return [
        name
        for name, values in tensors.items()
        if np.issubdtype(values.dtype, np.floating)
        and not (np.all(np.isfinite(values)) and values.max(initial=0) < np.finfo(values.dtype.name).max)
    ]
