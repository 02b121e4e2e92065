"""Which files are opened, and opening them with several threads and a progress bar."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from effvit_mm.engine.picture_check import READERS
from effvit_mm.errors import BadInputError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Opening:
    """How many of the files of a split are opened.

    Args:
        sample: So many, drawn at random, the same every time; None for all.
    """

    sample: int | None = None

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample < 1:
            raise BadInputError(f"--sample {self.sample} must be at least 1; leave it out to open every picture")

    def choose(self, items: Sequence[Item], num: int | None = None) -> list[Item]:
        """Draw some of the items and keep their order.

        Args:
            items: What there is.
            num: How many; by default ``sample``.
        """
        num = self.sample if num is None else num
        if num is None or num >= len(items):
            return list(items)
        places = np.random.default_rng(0).choice(len(items), num, replace=False)
        return [items[place] for place in sorted(places.tolist())]

    def open(self, read: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
        """Read every item, in order.

        Args:
            read: Reads one; called from several threads.
            items: What to read.
            what: Beside the progress bar.
        """
        with ThreadPoolExecutor(READERS) as readers:
            return list(show_progress(readers.map(read, items), what, len(items)))


def show_progress(items: Iterable[Item], what: str, total: int) -> Iterable[Item]:
    """Go through items with a bar, where someone looks at it.

    Args:
        items: What is gone through.
        what: Beside the bar.
        total: How many there are.
    """
    console = Console(stderr=True)
    return track(items, what, total=total, console=console, transient=True, disable=not console.is_terminal)
