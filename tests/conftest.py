"""What every test run needs before the first import of numba: the kernel cache of these sources."""

from runtime.kernel_cache import export_kernel_cache

export_kernel_cache()
