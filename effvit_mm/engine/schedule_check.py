"""Does the schedule of a run fit its length? Legal and told: what was meant for another length learns with odd rates.

Lengths are compared as MMEngine's schedulers count them: in epochs or steps of the optimizer's updates of their values,
from ``begin`` on and up to ``end``, which is the end of the run where a config names none.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from effvit_mm.engine.group_rates import kind_of
from effvit_mm.errors import BadInputError

# A schedule may be a little longer or shorter than its run, as those that count from 0 or leave a tail are.
TOLERANCE = 0.1


@dataclass(frozen=True)
class RunLength:
    """How long a run is.

    Args:
        steps: Iterations in all.
        epochs: Passes over the data; None where the run counts iterations.
        epoch_length: Iterations of a pass over the data.
    """

    steps: int
    epochs: int | None
    epoch_length: int


@dataclass(frozen=True)
class _Part:
    """A scheduler in the run: its dict, its place in the config, and the range it acts in, in units of its own."""

    spec: Any
    path: str
    kind: str
    length: float
    unit: str

    @property
    def begin(self) -> float:
        return self.spec.get("begin", 0)

    @property
    def end(self) -> float:
        return self.spec.get("end", self.length)

    @property
    def span(self) -> float:
        return min(self.end, self.length) - self.begin

    @property
    def is_warmup(self) -> bool:
        """Whether it leaves the value as it is set in the end."""
        return self.kind == "Constant" or (self.kind == "Linear" and self.spec.get("end_factor", 1.0) == 1.0)


def schedule_notes(cfg: Config, run: RunLength) -> list[str]:
    """Say which schedulers do not fit the length of their run, with both numbers and what to set.

    Args:
        cfg: The config of the run.
        run: How long it is.

    Returns:
        One line a misfit.

    Raises:
        BadInputError: If a scheduler ends the run with an error before its end.
    """
    schedules = cfg.get("param_scheduler") or []
    named = [("param_scheduler", schedules)]
    if isinstance(schedules, dict) and "type" not in schedules:
        named = [(f"param_scheduler.{name}", one) for name, one in schedules.items()]
    notes = []
    for path, one in named:
        several = one if isinstance(one, list | tuple) else [one]
        places = [path if several is not one else f"{path}.{place}" for place in range(len(several))]
        parts = [_part(place, spec, run) for place, spec in zip(places, several, strict=True) if isinstance(spec, dict)]
        notes += [note for part in parts for note in _misfits(part)]
        notes += _early_ends(parts)
    return notes


def _part(path: str, spec: Any, run: RunLength) -> _Part:
    kind = re.sub(r"^PerGroup|(LR|Momentum|ParamScheduler)$", "", kind_of(spec))
    by_epoch = spec.get("by_epoch", True)
    if not by_epoch:
        length = float(run.steps)
    elif run.epochs is not None:
        length = float(run.epochs)
    else:
        length = run.steps / run.epoch_length if spec.get("convert_to_iter_based") else 0.0
    return _Part(spec, path, kind, length, "epochs" if by_epoch else "steps")


def _misfits(part: _Part) -> Iterator[str]:
    spec, unit = part.spec, part.unit
    where = f"{part.path} ({part.kind})"
    has = f"the run has {part.length:g} {unit}"
    if part.kind == "ReduceOnPlateau":
        return
    if not part.length:
        yield f"{where} counts epochs, and the run counts steps, so it never acts; set by_epoch=False and give it steps"
        return
    if part.begin >= part.length:
        yield f"{where} begins at {part.begin:g}, and {has}, so it never acts; set begin to less, or train longer"
        return
    if part.kind == "MultiStep":
        behind = [m for m in spec.get("milestones", ()) if part.begin + m >= part.length]
        if behind:
            yield (
                f"{where} has milestones={list(spec['milestones'])}, and {has}: nothing happens at "
                f"{', '.join(f'{m:g}' for m in behind)}; set milestones within the run, or train longer"
            )
        return
    if part.kind == "Step" and spec.get("step_size", 0) >= part.span:
        yield f"{where} has step_size={spec['step_size']:g}, and {has}, so it never acts; set step_size to less"
        return
    wanted, setting = _wanted(part)
    if part.kind == "OneCycle" and wanted < math.floor(part.span):
        raise BadInputError(
            f"{where} has {setting}={wanted:g}, and {has}: it ends the run with an error after {wanted:g} {unit}; set "
            f"{part.path}.{setting}={part.span:g}"
        )
    if wanted > part.span * (1 + TOLERANCE):
        does = "warms up" if part.is_warmup else "goes on"
        share = f"{part.span / wanted:.0%}"
        least = max(1, round(part.length / 10))
        remedy = least if part.is_warmup else part.span
        name = "end" if setting == "end - begin" else setting
        remedy += part.begin if name == "end" else 0
        yield (
            f"{where} {does} for {wanted:g} {unit} ({setting}), and {has}, so it comes to {share} of its way; set "
            f"{part.path}.{name}={remedy:g}, or train longer"
        )
    elif part.kind in ("CosineAnnealing", "CosineRestart") and wanted < part.span * (1 - TOLERANCE):
        after = "it turns and rises again" if part.kind == "CosineAnnealing" else "it stays where it is"
        yield (
            f"{where} has {setting}={wanted:g}, and {part.span:g} {unit} of the run: behind {wanted:g} {after}; set "
            f"{part.path}.{setting} to {part.span:g} in all"
        )


def _wanted(part: _Part) -> tuple[float, str]:
    """Return how long a scheduler is meant to act, in its unit, and the setting that says so."""
    if part.kind == "CosineAnnealing" and part.spec.get("T_max"):
        return part.spec["T_max"], "T_max"
    if part.kind == "OneCycle" and part.spec.get("total_steps"):
        return part.spec["total_steps"], "total_steps"
    if part.kind == "CosineRestart":
        return sum(part.spec.get("periods", ())), "periods"
    if part.kind in ("Linear", "Constant", "Poly", "CosineAnnealing", "OneCycle"):
        return part.end - part.begin, "end - begin"
    return part.span, ""


def _early_ends(parts: list[_Part]) -> Iterator[str]:
    """Say where all that lowers a value has ended long before the run, which goes on at the lowest one."""
    lowering = [part for part in parts if not part.is_warmup and part.length and part.begin < part.length]
    if not lowering or any(part.end >= part.length * (1 - TOLERANCE) for part in lowering):
        return
    last = max(lowering, key=lambda part: part.end / part.length)
    yield (
        f"{last.path} ({last.kind}) ends at {last.end:g}, and the run has {last.length:g} {last.unit}: the rest of it "
        f"goes on at the last value; set {last.path}.end={last.length:g}, or train for less"
    )
