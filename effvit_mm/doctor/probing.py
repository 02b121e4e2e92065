"""Run a group of steps in a process of its own and read what came of each."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from effvit_mm.doctor import inside

# Importing everything takes ten seconds; on a network drive, or for the first time, a minute.
TIMEOUT = 300


@dataclass(frozen=True)
class Outcome:
    """What came of one step.

    Attributes:
        facts: What the step found out.
        trouble: Why it failed, in a line; empty if it did not.
        missing: The module that was not found, if that is why.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""
    missing: str = ""


def run_steps(group: str, *, timeout: float = TIMEOUT) -> dict[str, Outcome]:
    """Run the steps of a group.

    Args:
        group: A group of :data:`effvit_mm.doctor.inside.GROUPS`.
        timeout: Seconds after which the process is ended.

    Returns:
        The outcome of each step that was tried, by name.
    """
    command = [sys.executable, str(Path(inside.__file__).absolute()), group]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
        output, end = done.stdout, _describe_end(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as expired:
        # Bytes even in text mode.
        output = (expired.stdout or b"").decode(errors="replace")
        end = f"no answer within {timeout:.0f} seconds"
    except OSError as error:
        output, end = "", f"{sys.executable} does not start: {error}"
    outcomes = _read(output, end)
    return outcomes or {inside.GROUPS[group][0][0]: Outcome(trouble=end)}


def _describe_end(code: int, stderr: str) -> str:
    last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
    if code < 0:
        return f"the process was killed by {signal.Signals(-code).name}: {last}"
    return f"the process ended with status {code}: {last}"


def _read(output: str, end: str) -> dict[str, Outcome]:
    """The outcomes in an output; ``end`` is what became of a step that began and was not done."""
    outcomes: dict[str, Outcome] = {}
    for line in output.splitlines():
        # splitlines also splits at the mark's first character, which no library prints.
        if not line.startswith(inside.MARK[1:]):
            continue
        content = json.loads(line[len(inside.MARK) - 1 :])
        outcomes[content["step"]] = _outcome(content, end)
    return outcomes


def _outcome(content: Mapping[str, Any], end: str) -> Outcome:
    if "facts" in content:
        return Outcome(facts=content["facts"])
    if "error" not in content:
        return Outcome(trouble=end)
    # Some errors go on for pages; the first line says what happened.
    message = next(iter(content["message"].strip().splitlines()), "")
    return Outcome(trouble=f"{content['error']}: {message}"[:500], missing=content["missing"] or "")
