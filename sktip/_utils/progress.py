"""Optional progress bars."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(
    what: str, unit: str, total: int | None, *, verbose: int
) -> Iterator[Callable[..., None]]:
    """Show a bar if `verbose`. Yields a function to call after each unit, with numbers to show."""
    if not verbose:
        yield lambda **numbers: None
        return
    # Imported late: without ipywidgets, tqdm warns in a notebook as soon as it is imported.
    from tqdm.auto import tqdm

    with tqdm(desc=what, unit=unit, total=total) as bar:

        def step(**numbers: float) -> None:
            if numbers:
                bar.set_postfix(numbers)
            bar.update()

        yield step
