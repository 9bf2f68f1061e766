"""Everything that checks the project; a package so that tests.simulation can be run and imported.

Importing it points numba at the kernel cache of these sources, which must happen before any test,
simulation or benchmark imports a kernel.
"""

from runtime.kernel_cache import export_kernel_cache

export_kernel_cache()
