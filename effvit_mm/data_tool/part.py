"""A data set to look through: its splits, and the files it should have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMATS = ("coco", "masks", "depth", "folders")
LAYOUTS = {
    "coco": """annotations/instances_train2017.json   annotations/instances_val2017.json
train2017/000000000009.jpg ...         val2017/000000000139.jpg ...""",
    "ade20k": """images/training/ADE_train_00000001.jpg     annotations/training/ADE_train_00000001.png
images/validation/ADE_val_00000001.jpg     annotations/validation/ADE_val_00000001.png""",
    "nyu": """nyu_train.txt   nyu_test.txt               "picture depth focal" in every line
sync/kitchen_0028b/rgb_00045.jpg           sync/kitchen_0028b/sync_depth_00045.png
official_splits/test/bathroom/rgb_00045.jpg   official_splits/test/bathroom/sync_depth_00045.png""",
    "imagenet": """train/n01440764/n01440764_18.JPEG          val/n01440764/ILSVRC2012_val_00000293.JPEG""",
    "toy": """toy_scenes.json   coco/   ade20k/   nyu/   imagenet/""",
    "masks": """images/training/1.jpg    annotations/training/1.png
images/validation/2.jpg  annotations/validation/2.png    (or images/*.jpg and annotations/*.png)""",
    "depth": """images/train/1.jpg  depth/train/1.png
images/val/2.jpg    depth/val/2.png    (or images/*.jpg and depth/*.png)""",
}


@dataclass(frozen=True)
class Part:
    """One split of a data set.

    Args:
        split: Its name.
        kind: One of ``FORMATS``.
        spec: The data set's dict, as a config has it; of class folders ``folder``, ``ann_file`` and ``classes``.
        expected: How many ``pictures``, ``boxes`` or ``classes`` there should be.
        known_empty: Ids of pictures in which boxes of no area are known.
        only_seen: Whether the classes are those that occur, as nothing names them.
    """

    split: str
    kind: str
    spec: Mapping[str, Any]
    expected: Mapping[str, int] = field(default_factory=dict)
    known_empty: frozenset[int] = frozenset()
    only_seen: bool = False


@dataclass(frozen=True)
class Target:
    """A data set to look through.

    Args:
        name: For titles and files.
        parts: Its splits.
        layout: The files it should have, and where they come from.
        refusals: What a run would refuse before it opens pictures.
        notes: What is worth knowing of its splits together and no problem.
    """

    name: str
    parts: tuple[Part, ...]
    layout: str = ""
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def say_option(text: str) -> str:
    """Return what a run says of missing data, with this tool's option in place of the run's."""
    return text.replace("--data-root DIR", "--root DIR")


def say_layout(name: str, root: Path, source: str) -> str:
    """Say which files belong under a root, and where they come from."""
    lines: Sequence[str] = LAYOUTS.get(name, "").splitlines()
    listing = "".join(f"\n  {line}" for line in lines)
    return (f"Expected under {root}/:{listing}\n" if lines else "") + say_option(source)
