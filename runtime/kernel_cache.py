"""Where numba keeps compiled kernels: one directory per state of the sources.

Numba keys its cache on the file of the compiled function alone and misses an edit in a callee
of another file, so the directory carries a hash of every source that holds a kernel. Each
`__main__`, the command line and `tests` call `export_kernel_cache` first: it must run
before anything imports numba. A directory set by the user in NUMBA_CACHE_DIR stands.

It also lets kernels use vectors of 512 bits where the processor has them at no lower clock, which
LLVM by itself never does: scans of nodes take a third less.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

KERNEL_PACKAGES = ("binder", "cell", "dispatcher", "loadtest", "runtime", "scheduler", "sharding")
SOURCE_ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "NUMBA_CACHE_DIR"
FEATURES_VARIABLE = "NUMBA_CPU_FEATURES"
WIDE_FEATURE = "+avx512vbmi2"
"""Of processors with AVX-512 since Ice Lake and Zen 4; those before lower their clock for it."""
DIGEST_BYTES = 8


def export_kernel_cache(environ: MutableMapping[str, str] = os.environ) -> str:
    """Set NUMBA_CACHE_DIR and NUMBA_CPU_FEATURES unless set already; return the directory."""
    if FEATURES_VARIABLE not in environ:
        features = host_features()
        if WIDE_FEATURE in features.split(","):
            environ[FEATURES_VARIABLE] = f"{features},-prefer-256-bit"
    if not environ.get(VARIABLE):
        environ[VARIABLE] = str(kernel_cache_directory(SOURCE_ROOT, environ))
    return environ[VARIABLE]


def host_features() -> str:
    """Features of this processor as LLVM lists them: +has,-lacks, and so on."""
    from llvmlite import binding

    features: str = binding.get_host_cpu_features().flatten()
    return features


def kernel_cache_directory(source_root: Path, environ: Mapping[str, str]) -> Path:
    """The directory for the kernels below `source_root`: equal sources give an equal path."""
    caches = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(caches) / "godel" / f"numba-{kernel_digest(source_root)}"


def kernel_digest(source_root: Path) -> str:
    """Hash the path and text of every kernel source below `source_root`, as hex."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path in _python_sources(source_root):
        text = path.read_bytes()
        if b"njit" in text:
            for part in (path.relative_to(source_root).as_posix().encode(), text):
                digest.update(len(part).to_bytes(8, "little"))
                digest.update(part)
    return digest.hexdigest()


def _python_sources(source_root: Path) -> Iterator[Path]:
    for package in KERNEL_PACKAGES:
        yield from sorted((source_root / package).rglob("*.py"))
