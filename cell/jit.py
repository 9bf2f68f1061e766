"""The one way kernels are compiled: cached, without the GIL, exact arithmetic.

Called by every `kernel.py` and by `cell/fit`. `runtime.kernel_cache` keys the cache directory by a
hash of all kernel sources, because numba does not notice an edit in a callee of another file.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def njit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel; typed, because numba's own decorator erases the signature."""
    compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled
