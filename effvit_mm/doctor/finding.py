"""One line of the report."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: The part of the report it belongs to.
        name: What was looked at.
        status: How much it matters; only ``WRONG`` keeps the toolkit from running.
        found: What was found, in a sentence.
        mend: The command that mends it; empty where nothing is wrong, or where mending an earlier finding mends it.
    """

    area: str
    name: str
    status: Status
    found: str
    mend: str = ""


def would_run(findings: Iterable[Finding]) -> bool:
    """Whether the toolkit would run: warnings do not keep it from running."""
    return all(finding.status is not Status.WRONG for finding in findings)
