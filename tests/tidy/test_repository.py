"""Rules for every text file, and for the names this distribution installs."""

import importlib.metadata
import importlib.util
import re

import pytest

from tests.tidy.sources import PACKAGES, ROOT, text_files

DISTRIBUTION = "godel-scheduler"

# A note about later says why it waits and what makes it due.
MARK = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME)\b")
EXPLAINED_MARK = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME)\([^;()]+; when [^()]+\)")

# In pieces, so that this file does not name them either.
REGISTRY_HOSTS = [
    ".".join(pieces)
    for pieces in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "k8s", "io"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("gcr", "io"),
        ("quay", "io"),
        ("crates", "io"),
    )
]
REGISTRY = re.compile("|".join(rf"(?<![\w-]){re.escape(host)}\b" for host in REGISTRY_HOSTS))


def findings(pattern: re.Pattern[str], allowed: re.Pattern[str] | None = None) -> list[str]:
    """Every line that matches `pattern` once what `allowed` matches is taken out, as path:line."""
    found = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if pattern.search(allowed.sub("", line) if allowed else line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return found


def test_a_mark_for_later_names_its_reason_and_its_trigger() -> None:
    assert findings(MARK, EXPLAINED_MARK) == []


def test_no_registry_host_is_named() -> None:
    assert findings(REGISTRY) == []


@pytest.mark.parametrize("name", [*PACKAGES, "godel"])
def test_no_other_distribution_owns_our_name(name: str) -> None:
    owners = importlib.metadata.packages_distributions().get(name, [])
    assert set(owners) <= {DISTRIBUTION}


@pytest.mark.parametrize("name", PACKAGES)
def test_our_name_imports_this_tree(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")
