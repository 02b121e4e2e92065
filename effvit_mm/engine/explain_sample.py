"""What a step of a pipeline says of an image or of a value that it cannot use, said with their names.

A data loader's worker hands on the text of an exception and not its frames, which alone know the image and the step: so
it is explained where it is raised.
"""

import linecache
import re
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Any

import cv2

# What wrong values raise, and parts whose package is not installed; memory, files, interrupts and everything else is
# none of a config's business.
EXPLAINED = (
    *(TypeError, ValueError, LookupError, AttributeError, AssertionError, ArithmeticError, NotImplementedError),
    *(RuntimeError, cv2.error, ImportError),
)


def explain_sample(error: Exception) -> str | None:
    """Say which image or step of a pipeline broke, or None if it was neither.

    Args:
        error: What was raised, by a step or in a data loader's worker.
    """
    frames = frames_of(error)
    said = said_by(error)
    unread = re.search(r"failed to load image: (.*)", said)
    if unread:
        return f"picture {unread[1]} cannot be decoded; fetch it again, or take its entry out of the annotation file"
    frame = next((frame for frame in reversed(frames) if _is_transform(frame)), None)
    if frame is None:
        return None
    step = frame.f_locals["self"]
    name = type(step).__name__
    problem = f"({type(error).__name__}: {said}; {place_of(frames)})"
    hint = hint_of_tuples(said, vars(step))
    if hint:
        return f"the transform {name} cannot use a value of the pipeline {problem}{hint}"
    return (
        f"picture {frame.f_locals['results']['img_path']} and its annotations break the transform {name} {problem}: "
        f"correct them, or the transform's values in the pipeline"
    )


def hint_of_tuples(said: str, values: Mapping[str, Any]) -> str:
    """Say which lists to write as tuples where what failed asks for one or names the list; else an empty string.

    Args:
        said: What failed said, or its line of code.
        values: The values that it was given, by name.
    """
    lists = {name: value for name, value in values.items() if isinstance(value, list)}
    likely = [
        f"{name}={tuple(value)}" for name, value in lists.items() if "tuple" in said or (value and str(value) in said)
    ]
    return f": in place of a list write the tuple {' or '.join(likely[:3])}" if likely else ""


def frames_of(error: BaseException) -> list[FrameType]:
    """Return the frames that an exception came through, the outermost first."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def said_by(error: BaseException) -> str:
    """Return what an exception says, without the traceback that a worker puts before it; what failed where it is mute.

    An assertion without words is its line of code.
    """
    said = from_worker(str(error)).strip()
    if said or not isinstance(error, AssertionError) or error.__traceback__ is None:
        return said or type(error).__name__
    frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
    return linecache.getline(frame.f_code.co_filename, number).strip() or type(error).__name__


def from_worker(said: str) -> str:
    """Return what an exception said, without the traceback that a data loader's worker puts before it."""
    if not said.startswith("Caught "):
        return said
    last = said.rsplit("\n  File ", 1)[-1]
    return "\n".join(last.strip().splitlines()[1:]).partition(": ")[2] or said


def place_of(frames: list[FrameType]) -> str:
    """Name the line that failed, from the library's name on."""
    frame = frames[-1]
    return f"in {frame.f_code.co_filename.rpartition('site-packages/')[2]}:{frame.f_lineno}"


def _is_transform(frame: FrameType) -> bool:
    results = frame.f_locals.get("results")
    return isinstance(results, dict) and "img_path" in results and "self" in frame.f_locals
