"""What one window of the page shows and has done: its photo, the way back, and its undo."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from sktip._label.store import NONE, Change

if TYPE_CHECKING:
    from sktip._label.session import Session


@dataclass(frozen=True)
class Done:
    """One action of a window, as a person reads it, and what it has changed."""

    text: str
    change: Change


class Window:
    """The photos that a window shows one after the other. Other windows do not show the same at once.

    Attributes
    ----------
    row : int or None
        The photo that is shown; None if all have an answer.

    order : str
        The words or the photo by which the photos are ranked; "" if those come first that teach most.

    done : list of Done
        Actions that can be undone, the last one at the end.
    """

    def __init__(self, session: "Session"):
        self.session = session
        self.done: list[Done] = []
        self.order = ""
        self._ranked: list[int] = []
        self._following: list[int] = []
        self._seen: list[int] = []
        self._at = -1
        self._is_open = True
        self.next()

    @property
    def row(self) -> int | None:
        """The photo that is shown."""
        return self._seen[self._at] if 0 <= self._at < len(self._seen) else None

    # Which photo

    def next(self) -> int | None:
        """Go on: to the photo that was shown after this one, else to a new one."""
        if self._at + 1 < len(self._seen):
            self._at += 1
        else:
            row = self.following()
            if row is not None:
                self._seen.append(row)
            self._at = len(self._seen) - (row is not None)
        return self.row

    def back(self) -> int | None:
        """Go back to the photo that was shown before."""
        self._at = max(self._at - 1, 0)
        return self.row

    def show(self, row: int) -> None:
        """Show a certain photo; the way back leads to the one that is shown now."""
        if row != self.row:
            self._at = min(self._at + 1, len(self._seen))
            self._seen.insert(self._at, row)

    def following(self) -> int | None:
        """Return the photo that `next` shows, so that it can be loaded ahead."""
        if self._at + 1 < len(self._seen):
            return self._seen[self._at + 1]
        others = {window.row for window in self.session.windows if window is not self}
        now, seen = self.row, set(self._seen)
        passed: int | None = None
        # The one that has been loaded ahead stays.
        for row in chain(self._following, self._ranked, self.session.queue()):
            if row == now or row in others or not self.session.is_open(row):
                continue
            if row not in seen:
                self._following = [row]
                return row
            # Photos that were passed over come last.
            passed = row if passed is None else passed
        return passed

    def find(self, words: str) -> None:
        """Show the photos first that look like words; slow, since the words are encoded."""
        self._rank(words, self.session.ranked_by_words(words))

    def like(self, row: int) -> None:
        """Show the photos first that look like a photo."""
        self._rank(f"like {self.session.name(row)}", self.session.ranked_like(row))

    def usual(self) -> None:
        """Show the photos first that teach most."""
        self._rank("", [])

    def _rank(self, order: str, rows: list[int]) -> None:
        self.order, self._ranked, self._following = order, rows, []
        # What was shown without an answer comes up again in the new order.
        self._seen = [row for row in self._seen[: self._at] if not self.session.is_open(row)]
        self._at = len(self._seen) - 1
        self.next()

    # Answers

    def answer(self, row: int, *labels: str, go_on: bool = True) -> None:
        """Store the answer about the photo that the person saw, and go on if it is still shown.

        A class, NONE, UNSURE or, in a session with tags, all tags of the photo; without labels the answer is
        taken away.
        """
        given = {row: labels or None}
        text = f"{self.session.name(row)}: {', '.join(labels) or 'no answer'}"
        self._do(text, lambda: self.session.give(given))
        if go_on and row == self.row:
            self.next()

    def answer_all(self, rows: Iterable[int], *labels: str) -> None:
        """Store one answer about several photos, which does not count as looking at each."""
        rows = list(rows)
        given = dict.fromkeys(rows, labels or None)
        n, what = f"{len(rows):,}", ", ".join(labels) or "no answer"
        self._do(f"{n} labelled as {what}", lambda: self.session.give(given, bulk=True))
        if self.row in rows:
            self.next()

    def toggle(self, row: int, tag: str) -> tuple[str, ...]:
        """Add a tag to a photo or take it away, and stay there; return its tags.

        Its last tag becomes "none of these": the photo has an answer.
        """
        answer = self.session.answer_of(row)
        tags = {tag} ^ ({*answer.labels} if answer else set())
        held = tuple(name for name in self.session.classes if name in tags)
        self.answer(row, *(held or [NONE]), go_on=False)
        return held

    # Classes

    def add_class(self, name: str) -> None:
        """Add a class. Photos that were none of the classes come up again."""
        self._do(f"{name} added", lambda: self.session.store.add_class(name))

    def rename_class(self, old: str, name: str) -> None:
        """Give a class another name."""
        self._do(f"{old} is now {name}", lambda: self.session.store.rename_class(old, name))

    def remove_class(self, name: str) -> None:
        """Remove a class; its photos have no answer then."""
        self._do(f"{name} removed", lambda: self.session.store.remove_class(name))

    def merge_classes(self, name: str, into: str) -> None:
        """Give all photos of a class another one, and remove it."""
        self._do(f"{name} is now {into}", lambda: self.session.store.merge_classes(name, into))

    def order_classes(self, names: Sequence[str]) -> None:
        """Put the classes into this order."""
        self._do("order changed", lambda: self.session.store.order_classes(names))

    # Undo

    def undo(self) -> str:
        """Take the last action of this window back, and show its photo; return what was undone, "" if nothing."""
        if not self.done:
            return ""
        last = self.done[-1]
        rows = self.session.undo(last.change)
        self.done.pop()
        if len(rows) == 1:
            if self.row is None and self._seen and self._seen[-1] == rows[0]:
                self._at = len(self._seen) - 1
            elif rows[0] in self._seen:
                self._at = len(self._seen) - 1 - self._seen[::-1].index(rows[0])
            else:
                self.show(rows[0])
        elif self.row is None:
            self.next()
        return last.text

    def close(self) -> None:
        """Let other windows show the photo."""
        self.session.windows.discard(self)

    def _do(self, text: str, action: Callable[[], Change]) -> None:
        change = action()
        self.session.changed()
        if change != Change():
            self.done.append(Done(text, change))
