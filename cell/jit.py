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


def bare_njit(function: Callable[P, R]) -> Callable[P, R]:
    """As `njit`, for kernels that call kernels in a loop: without reference counts or allocation.

    numba drops the counts of plain arrays by itself where it can prove that nobody keeps them.
    Elsewhere, and wherever arrays come in tuples, each call of a kernel from a kernel counts every
    array, 5 ns each: a repair of one key took 266 ns, without counts it takes 20.
    """
    compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(
        function
    )
    return compiled
