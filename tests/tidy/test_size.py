"""Sizes at which something hides: a module is two, a function has left the screen."""

import ast

from tests.tidy.sources import functions, python_modules

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
DOCSTRING_LINES_MAX = 15


def test_modules_are_short() -> None:
    found = []
    for module in python_modules():
        line_count = len(module.text.splitlines())
        if line_count > MODULE_LINES_MAX:
            found.append(f"{module.at(1)} has {line_count} lines")
    assert found == []


def test_functions_fit_a_screen() -> None:
    found = []
    for module in python_modules():
        for function in functions(module):
            assert function.end_lineno is not None
            line_count = function.end_lineno - function.lineno + 1
            if line_count > FUNCTION_LINES_MAX:
                found.append(f"{module.at(function.lineno)} {function.name}: {line_count} lines")
    assert found == []


def test_modules_say_what_they_own_in_a_few_lines() -> None:
    found = []
    for module in python_modules():
        docstring = ast.get_docstring(module.tree)
        if docstring is None and module.tree.body:
            found.append(f"{module.at(1)} has no docstring")
        elif docstring is not None and len(docstring.splitlines()) > DOCSTRING_LINES_MAX:
            found.append(f"{module.at(1)} has a docstring of {len(docstring.splitlines())} lines")
    assert found == []
