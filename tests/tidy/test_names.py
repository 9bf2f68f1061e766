"""Names use the words of the glossary, and never the words that fit everything."""

from dataclasses import dataclass

import pytest

from tests.tidy.names import is_refused
from tests.tidy.sources import ROOT, classes, functions, python_modules


@dataclass(frozen=True)
class Case:
    """A name and whether the rule refuses it."""

    name: str
    want_refused: bool


CASES = [
    Case("NodeManager", want_refused=True),
    Case("node_utils", want_refused=True),
    Case("do_bind", want_refused=True),
    Case("process_batch", want_refused=True),
    Case("GRPCHandler", want_refused=True),
    Case("metadata", want_refused=False),
    Case("handle", want_refused=False),
    Case("data_columns", want_refused=False),
    Case("__init__", want_refused=False),
    Case("processor_count", want_refused=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rule_reads_the_words_of_a_name(case: Case) -> None:
    assert is_refused(case.name) is case.want_refused


def test_no_module_class_or_function_has_a_refused_name() -> None:
    found = []
    for module in python_modules():
        folders = module.path.relative_to(ROOT).with_suffix("").parts
        found += [module.at(1) for part in folders if is_refused(part)]
        for node in (*classes(module), *functions(module)):
            if is_refused(node.name):
                found.append(f"{module.at(node.lineno)} {node.name}")
    assert found == []
