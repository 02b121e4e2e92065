"""What looking through a data set gives: counts, problems by file, classes, and pictures for the contact sheet."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Count:
    """How many of something there are.

    Args:
        what: What was counted.
        where: The file or folder.
        found: How many; None where the file or folder is missing.
        expected: How many there should be; None where any number will do.
    """

    what: str
    where: Path
    found: int | None
    expected: int | None = None

    @property
    def is_fine(self) -> bool:
        """Whether it is there, in the number that is expected."""
        return self.found is not None and self.expected in (None, self.found)


@dataclass(frozen=True)
class Problem:
    """Something wrong with one file.

    Args:
        kind: Short, for counting problems of a kind.
        file: The file, and the entry in it.
        text: What was found and what was expected.
    """

    kind: str
    file: str
    text: str


@dataclass(frozen=True)
class Cell:
    """A picture of the contact sheet.

    Args:
        title: Above it.
        picture: With its annotations drawn.
        legend: Names and colours that occur in it.
    """

    title: str
    picture: Image.Image
    legend: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass
class Findings:
    """What was found in one split.

    Args:
        split: ``'train'``, ``'val'`` or another name.
        unit: What ``amounts`` counts: boxes, pixels or pictures.
        counts: Of files and entries.
        problems: All of them.
        remedies: How problems that many files share are mended, each once.
        notes: What is worth knowing and no problem.
        amounts: Boxes, pixels or pictures of each class, all classes included.
        pictures: Pictures in which each class occurs.
        values: Pixels of each value of index masks, where all of them were opened.
        num_opened: Pictures that were opened.
        num_pictures: Pictures there are.
        drawable: Pictures that can be drawn.
        draw: Draws one of them.
    """

    split: str
    unit: str
    counts: list[Count] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remedies: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    amounts: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)
    values: Counter[int] = field(default_factory=Counter)
    num_opened: int = 0
    num_pictures: int = 0
    drawable: Sequence[Any] = ()
    draw: Callable[[Any], Cell] | None = None

    def add_problem(self, kind: str, file: Path | str, text: str) -> None:
        """Note a problem of a file."""
        self.problems.append(Problem(kind, str(file), text))

    def add_remedy(self, text: str) -> None:
        """Note how problems are mended, if that is not noted yet."""
        if text not in self.remedies:
            self.remedies.append(text)

    def add_note(self, text: str) -> None:
        """Note what is worth knowing, if it is any."""
        if text:
            self.notes.append(text)

    @property
    def is_fine(self) -> bool:
        """Whether everything is there and nothing is wrong with it."""
        return not self.problems and all(count.is_fine for count in self.counts)


@dataclass
class Report:
    """What was found in a data set.

    Args:
        name: Of the data set.
        findings: One a split.
        layout: The files that are expected, where some are missing.
        refusals: What a run would refuse beside the problems of files.
        notes: What is worth knowing of the splits together and no problem.
        sheet: The contact sheet, if one was written.
        unsaved: Why one could not be written.
    """

    name: str
    findings: list[Findings]
    layout: str = ""
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sheet: Path | None = None
    unsaved: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.refusals and all(part.is_fine for part in self.findings)

    @property
    def problems(self) -> list[Problem]:
        """The problems of all splits."""
        return [problem for part in self.findings for problem in part.problems]
