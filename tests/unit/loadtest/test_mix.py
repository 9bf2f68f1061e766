"""Mixes: drawn by weight, read strictly."""

from pathlib import Path

import numpy as np
import pytest

from loadtest.arrivals import at_once
from loadtest.mix import MIXES, BadMix, Kind, checked, draw, named_or_read
from loadtest.workload import NO_END, Workload


def drawn(*kinds: Kind, count: int = 400, seed: int = 0) -> Workload:
    return draw(kinds, at_once(count), np.random.default_rng(seed), "p/")


def test_kinds_come_by_their_weight_with_their_own_shape() -> None:
    gang = Kind({"cpu": 2}, weight=3, count=10, min=4, priorities=(5, 7))
    work = drawn(Kind({"cpu": 1}), gang)

    is_gang = work.count == 10
    assert 250 < is_gang.sum() < 350
    assert set(work.min[is_gang].tolist()) == {4}
    assert set(work.min[~is_gang].tolist()) == {1}
    assert set(work.priority[is_gang].tolist()) == {5, 7}
    assert set(work.priority[~is_gang].tolist()) == {0}
    assert [dict(work.classes[k].demand) for k in (0, 1)] == [{"cpu": 1}, {"cpu": 2}]
    assert len(work.runs_s) == 0


def test_like_specs_are_one_class() -> None:
    work = drawn(Kind({"cpu": 1}), Kind({"cpu": 1}, count=3), Kind({"cpu": 1}, selector={"a": "b"}))

    assert len(work.classes) == 2


def test_run_times_are_drawn_around_their_mean_for_those_that_end() -> None:
    work = drawn(Kind({"cpu": 1}), Kind({"cpu": 2}, runs_s=10.0))

    ending = work.runs_s[work.klass == 1]
    assert ((ending >= 5.0) & (ending <= 15.0)).all()
    assert (work.runs_s[work.klass == 0] == NO_END).all()


def test_built_in_mixes_are_valid() -> None:
    for name, mix in MIXES.items():
        assert drawn(*mix, count=10).keys[0].startswith("p/"), name
        assert named_or_read(name) == mix


def test_a_file_has_kinds(tmp_path: Path) -> None:
    path = tmp_path / "mix.yaml"
    path.write_text("- {demand: {cpu: 5}, count: 2}\n")

    assert named_or_read(str(path)) == (Kind({"cpu": 5}, count=2),)
    with pytest.raises(BadMix, match="neither a file nor one of gangs, mixed, singles"):
        named_or_read(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("content", "want"),
    [
        ([], "names no kind"),
        ([{"demand": {}, "wait": 1}], "unknown field `wait`"),
        ([{"demand": {"cpu": "x"}}], "Expected `int`"),
        ([{"demand": {}, "weight": 0}], r"\[0\].weight: 0"),
        ([{"demand": {}, "count": 2, "min": 3}], r"\[0\].min: 3"),
        ([{"demand": {}, "priorities": []}], r"\[0\].priorities"),
    ],
)
def test_a_bad_mix_names_the_field(content: object, want: str) -> None:
    with pytest.raises(BadMix, match=want):
        checked("file", content)
