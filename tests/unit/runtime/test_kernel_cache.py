"""The kernel cache moves when, and only when, a kernel source changes."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime import kernel_cache
from runtime.kernel_cache import export_kernel_cache, kernel_cache_directory, kernel_digest

KERNEL = "scheduler/plugins/fit/kernel.py"


def a_tree(root: Path, **changed: str) -> Path:
    """Two kernels that call each other and a module without any; `changed` replaces texts."""
    texts = {
        "caller": "from cell.jit import njit\n@njit\ndef score(): ...\n",
        "callee": "from cell.jit import njit\n@njit\ndef fits(): ...\n",
        "plain": "SHARDS = 2\n",
    } | changed
    places = {"caller": KERNEL, "callee": "cell/fit/resources.py", "plain": "binder/ledger.py"}
    for name, place in places.items():
        path = root / place
        path.parent.mkdir(parents=True)
        path.write_text(texts[name])
    return root


@dataclass(frozen=True)
class Case:
    """A change of one source and whether compiled kernels must be left behind."""

    name: str
    changed: dict[str, str]
    want_moved: bool


CASES = [
    Case("equal sources share a cache", {}, want_moved=False),
    Case("an edited callee in another file moves it", {"callee": "njit # 2\n"}, want_moved=True),
    Case("an edited caller moves it", {"caller": "njit # 2\n"}, want_moved=True),
    Case("a module without kernels does not", {"plain": "SHARDS = 3\n"}, want_moved=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_digest_follows_kernel_sources(tmp_path: Path, case: Case) -> None:
    before = kernel_digest(a_tree(tmp_path / "before"))
    after = kernel_digest(a_tree(tmp_path / "after", **case.changed))
    assert (before != after) is case.want_moved


def test_a_renamed_kernel_moves_the_cache(tmp_path: Path) -> None:
    root = a_tree(tmp_path)
    before = kernel_digest(root)
    (root / KERNEL).rename(root / "scheduler/plugins/fit/loop.py")
    assert kernel_digest(root) != before


def test_the_directory_lies_in_the_users_cache(tmp_path: Path) -> None:
    root = a_tree(tmp_path)
    got = kernel_cache_directory(root, {"XDG_CACHE_HOME": "/caches"})
    assert got == Path("/caches/godel") / f"numba-{kernel_digest(root)}"


def test_a_directory_set_by_the_user_stands() -> None:
    environ = {"NUMBA_CACHE_DIR": "/theirs"}
    assert export_kernel_cache(environ) == "/theirs"
    assert environ["NUMBA_CACHE_DIR"] == "/theirs"


def test_export_sets_the_variable_once(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    exported = export_kernel_cache(environ)
    assert environ["NUMBA_CACHE_DIR"] == exported
    assert exported.startswith(str(tmp_path / "godel" / "numba-"))


@pytest.mark.parametrize(
    ("features", "theirs", "want"),
    [
        ("+avx2,+avx512vbmi2", {}, "+avx2,+avx512vbmi2,-prefer-256-bit"),
        ("+avx2,-avx512vbmi2", {}, None),
        ("+avx2,+avx512vbmi2", {"NUMBA_CPU_FEATURES": "+avx2"}, "+avx2"),
    ],
    ids=["wide where the processor is", "else as LLVM has it", "what the user set stands"],
)
def test_kernels_use_wide_vectors(
    features: str, theirs: dict[str, str], want: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_cache, "host_features", lambda: features)
    environ = dict(theirs)
    export_kernel_cache(environ)
    assert environ.get("NUMBA_CPU_FEATURES") == want
