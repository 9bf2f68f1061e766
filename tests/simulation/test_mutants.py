"""Every planted bug still applies to the tree as it is, and has a first seed."""

import pytest

from tests.simulation.mutants.plant import ROOT, Mutant, first_seeds, mutants

MUTANTS_MIN = 10


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_applies(mutant: Mutant) -> None:
    for edit in mutant.edit:
        assert (ROOT / edit.path).read_text(encoding="utf-8").count(edit.old) == 1, edit.path


def test_every_mutant_has_a_first_seed() -> None:
    names = {mutant.name for mutant in mutants()}
    assert len(names) >= MUTANTS_MIN
    assert set(first_seeds()) == names
