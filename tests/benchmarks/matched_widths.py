"""One pyramid for each token mixer, all with the multiply-adds of one reference: what ``mixers.py`` measures.

Depths, MLPs and merging are those of ``pyramid_t``. Its widths follow one factor for all stages as nearly as heads of
32, 40 or 24 channels allow: all of these are multiples of 8, as fast kernels want them.
"""

import json
from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import torch

from effvit_mm.analysis import Ledger, count
from effvit_mm.backbones import Pyramid, create_backbone
from effvit_mm.errors import BadInputError

REFERENCE = "spatial_reduction"
MATCHED_AT, TOLERANCE = (512, 512), 0.05
HEAD_DIMS = (32, 40, 24)
NARROWEST, WIDEST = 0.5, 2.0
WIDTHS = Pyramid.variants["t"]["channels"]
REDUCTIONS = (8, 4, 2, 1)

Widths = tuple[int, ...]

# What differs from one name for all blocks: a value for each stage, and two that take turns where the papers have two.
IN_STAGES: dict[str, tuple[Any, ...]] = {
    "spatial_reduction": tuple({"type": "spatial_reduction", "reduction_ratio": ratio} for ratio in REDUCTIONS),
    # As many keys as spatial reduction has.
    "deformable": tuple({"type": "deformable", "stride": ratio} for ratio in REDUCTIONS),
    "convolutional_projection": tuple(
        {"type": "convolutional_projection", "key_stride": ratio} for ratio in REDUCTIONS
    ),
    # A table for the grid of 224x224 pixels.
    "relative": tuple({"type": "relative", "table_grid": (side, side)} for side in (56, 28, 14, 7)),
    "shifted_window": (("window", "shifted_window"),) * 4,
    "channel_group": (("window", "channel_group"),) * 4,
}


def mixers_of(name: str) -> Any:
    """Return what a pyramid takes for a mixer.

    Args:
        name: A registered name; a dict of ``type`` and options as JSON; or names for each of the four stages as in
            ``window|focal|anchor|self``, two that take turns as in ``window+channel_group`` (alone: in all stages).
            Behind ``@``, what multiplies the reference's multiply-adds: ``focal@0.8``.
    """
    name = name.partition("@")[0]
    if name.startswith("{"):
        return json.loads(name)
    if "|" in name or "+" in name:
        stages = name.split("|") if "|" in name else [name] * len(WIDTHS)
        return tuple(_in_stage(some, stage) for stage, some in enumerate(stages))
    return IN_STAGES.get(name, name)


def _in_stage(name: str, stage: int) -> Any:
    """Return what one stage of a hybrid takes: what the stage has where all stages have that mixer."""
    if "+" in name:
        alone = ((some, _in_stage(some, stage)) for some in name.split("+"))
        # What takes turns by itself is one of two here.
        return tuple(some if isinstance(there, tuple) else there for some, there in alone)
    return IN_STAGES[name][stage] if name in IN_STAGES else name


def layer_of(name: str) -> Any:
    """Return the mixer of a single layer: the first stage's, of two that take turns the second; a hybrid has none."""
    if not name.startswith("{") and {"|", "+"} & set(name):
        raise BadInputError(f"{name} has layers of several kinds; leave out the part layer")
    mixers = mixers_of(name)
    first = mixers[0] if isinstance(mixers, tuple) else mixers
    return first[-1] if isinstance(first, tuple) else first


def heads_of(channels: int) -> int:
    """Return the number of heads: of 32 channels where that divides, else of 40 or 24."""
    return next(channels // head_dim for head_dim in HEAD_DIMS if channels % head_dim == 0)


def candidates() -> list[Widths]:
    """Return widths of four stages from half to twice the reference's, the narrowest first.

    A common factor grows, and each stage moves on to its next width where the factor has passed the middle of the two;
    one stage at a time, so that the cost grows in small steps (of at most 12 %).
    """
    allowed = sorted({size * heads for size in HEAD_DIMS for heads in range(1, 2 * max(WIDTHS) // size + 1)})
    steps = [
        ((narrow + wide) / 2 / WIDTHS[stage], -stage, wide)
        for stage in range(len(WIDTHS))
        for narrow, wide in pairwise(allowed)
    ]
    widths = [min(allowed, key=lambda some: abs(some - NARROWEST * base)) for base in WIDTHS]
    found = [tuple(widths)]
    for factor, stage, wide in sorted(steps):
        if NARROWEST < factor < WIDEST:
            widths[-stage] = wide
            found.append(tuple(widths))
    return found


def nearest(cost_of: Callable[[Widths], int], target: int, widths: list[Widths]) -> Widths:
    """Return the widths whose cost is nearest to the target.

    Args:
        cost_of: Cost of some widths; it grows along the list but for a step back here and there (a mixer may cost less
            with other heads).
        target: The cost to come near to.
        widths: Candidates, the cheapest first.

    Returns:
        One of the candidates; the first or last one where all cost more or less.
    """
    place = bisect_left(widths, target, key=cost_of)
    return min(widths[max(place - 2, 0) : place + 2], key=lambda some: abs(cost_of(some) - target))


def options_of(name: str, widths: Widths) -> dict[str, Any]:
    """Return the options with which ``pyramid_t`` has a mixer at some widths."""
    heads = tuple(heads_of(channels) for channels in widths)
    return {"mixers": mixers_of(name), "channels": tuple(widths), "num_heads": heads}


@cache
def ledger_of(name: str, widths: Widths, shape: tuple[int, int] = MATCHED_AT) -> Ledger:
    """Count a pyramid on one picture."""
    return count(create_backbone("pyramid_t", **options_of(name, widths)), torch.zeros(1, 3, *shape))


def reference_macs() -> int:
    """Return the multiply-adds that all pyramids are brought to."""
    return ledger_of(REFERENCE, WIDTHS).macs


def matched_widths(name: str) -> Widths | None:
    """Return the widths at which a mixer's pyramid costs what it should; None where none comes within 5 %.

    That is what the reference costs, or what :func:`mixers_of` says behind the name.
    """
    if name == REFERENCE:
        return WIDTHS
    target = round(reference_macs() * float(name.partition("@")[2] or 1))
    found = nearest(lambda widths: ledger_of(name, widths).macs, target, candidates())
    within = abs(ledger_of(name, found).macs / target - 1) <= TOLERANCE
    return found if within else None
