"""Which names say nothing: the words STYLE refuses for modules, classes and functions."""

import re

REFUSED_WORDS = frozenset(
    (
        *("manager", "managers", "handler", "handlers", "helper", "helpers", "util", "utils"),
        *("common", "misc", "data", "info", "obj"),
    )
)
REFUSED_VERBS = frozenset(("do", "process"))
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def is_refused(name: str) -> bool:
    """Whether a name is one of the refused words, ends in one, or begins with an empty verb."""
    words = [word.lower() for word in WORD.findall(name)]
    return bool(words) and (words[-1] in REFUSED_WORDS or words[0] in REFUSED_VERBS)
