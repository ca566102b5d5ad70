"""Copies of estimators whose saved files leave out settings of the machine."""

import copy
from typing import Any, Self


class WholeCopiesMixin:
    """`copy.copy` and `copy.deepcopy` keep everything, also what ``__getstate__`` leaves out of files."""

    def __copy__(self) -> Self:
        new = type(self).__new__(type(self))
        vars(new).update(vars(self))
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = memo[id(self)] = type(self).__new__(type(self))
        vars(new).update(copy.deepcopy(vars(self), memo))
        return new
