"""What is installed here, what is wrong with it, and the one command that mends each thing.

Nothing in this package needs more than the standard library, so that it can speak where everything else is broken. What
may fail, crash or hang is tried in processes of its own (:mod:`effvit_mm.doctor.inside` is what runs in them).
"""

from effvit_mm.doctor.examination import examine
from effvit_mm.doctor.finding import Finding, Status, would_run
from effvit_mm.doctor.presentation import show

__all__ = ["Finding", "Status", "examine", "show", "would_run"]
