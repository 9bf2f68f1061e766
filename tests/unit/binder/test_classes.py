"""A session's dictionary of classes."""

import numpy as np

from binder.classes import SessionClasses
from binder.kernels.layout import NONE
from binder.ledger import Ledger
from cell.messages import ClassDef
from tests.unit.binder.builders import a_class


def test_a_session_names_classes_up_to_a_limit_and_none_beyond() -> None:
    last = (1 << 20) - 1
    session = SessionClasses(Ledger().classes)
    session.learn(tuple(ClassDef(index, a_class().encoded()) for index in (3, last, last + 1)))
    known = session.local(np.array([3, last, last + 1, 4], np.uint32)).tolist()
    assert known == [0, 0, NONE, NONE]
