"""Do the steps of a pipeline carry what its first steps load? Asked before a run.

Steps of mmdet that change an image together with its boxes alone leave masks and segmentation maps where they were: at
best the run breaks at PackDetInputs, which blames an image; at worst masks of another place are learnt.
"""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from effvit_mm.engine.argument_check import class_of_type
from effvit_mm.errors import BadInputError

MASKS, MAPS = "masks", "segmentation maps"
# What a step does to an image, and what it does not do it to. Found by running each step of mmdet on masks whose boxes
# are known; the others keep both, CopyPaste among them.
LEFT_BEHIND = {
    "Mosaic": ("mixes pictures", (MASKS, MAPS)),
    "MixUp": ("mixes pictures", (MASKS, MAPS)),
    "CachedMosaic": ("mixes pictures", (MAPS,)),
    "CachedMixUp": ("mixes pictures", (MAPS,)),
    "RandomAffine": ("turns pictures", (MASKS, MAPS)),
    "RandomCenterCropPad": ("crops pictures", (MASKS, MAPS)),
    "RandomShift": ("shifts pictures", (MASKS, MAPS)),
}


def check_steps(cfg: Config, splits: tuple[str, ...]) -> None:
    """Refuse steps that change images without the masks or segmentation maps that are loaded with them.

    Args:
        cfg: The config of a run.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run reads.

    Raises:
        BadInputError: At the first such step.
    """
    for split in splits:
        root = (cfg.get(f"{split}_dataloader") or {}).get("dataset")
        _check_tree(f"{split}_dataloader.dataset", root, cfg.get("default_scope") or "mmdet")


def _check_tree(path: str, dataset: Any, scope: str) -> set[str]:
    """Check a data set with the wrappers around it; return what its samples come with."""
    if not isinstance(dataset, dict):
        return set()
    inner = dataset.get("datasets") or []
    children = [(f"{path}.datasets.{i}", child) for i, child in enumerate(inner if isinstance(inner, list) else [])]
    if "dataset" in dataset:
        children.append((f"{path}.dataset", dataset["dataset"]))
    loaded = set().union(*(_check_tree(place, child, scope) for place, child in children))
    for place, step in steps_of(f"{path}.pipeline", dataset.get("pipeline")):
        cls = _class_of(step, scope)
        loaded |= _loaded_by(step)
        if cls is None or not cls.__module__.startswith("mmdet.") or cls.__name__ not in LEFT_BEHIND:
            continue
        does, without = LEFT_BEHIND[cls.__name__]
        lost = next((what for what in without if what in loaded), None)
        if lost:
            carries = "CopyPaste and CachedMosaic carry" if lost == MASKS else "CopyPaste carries"
            raise BadInputError(
                f"{place}: {cls.__name__} {does} without their {lost}; take it out ({carries} masks), or train a model "
                f"that learns no {lost}, with LoadAnnotations without {'with_mask' if lost == MASKS else 'with_seg'}"
            )
        _check_cached_mosaic(place, cls, step, loaded)
    return loaded


def _check_cached_mosaic(place: str, cls: type, step: Any, loaded: set[str]) -> None:
    """Refuse the one that carries masks onto a canvas of height and width exchanged."""
    sides = step.get("img_scale")
    if cls.__name__ == "CachedMosaic" and MASKS in loaded and isinstance(sides, list | tuple) and len(set(sides)) > 1:
        raise BadInputError(
            f"{place}.img_scale is {sides}: CachedMosaic of mmdet exchanges height and width of masks, so with masks "
            f"it needs a square, such as img_scale=({max(sides)}, {max(sides)})"
        )


def steps_of(path: str, pipeline: Any) -> Iterator[tuple[str, Any]]:
    """Walk over the steps of a pipeline, those inside of steps that choose or repeat included.

    Args:
        path: Its place in the config.
        pipeline: The list of steps; anything else has none.
    """
    for i, step in enumerate(pipeline if isinstance(pipeline, list | tuple) else ()):
        place = f"{path}.{i}"
        if isinstance(step, dict):
            yield place, step
            yield from steps_of(f"{place}.transforms", step.get("transforms"))
        else:
            yield from steps_of(place, step)


def _class_of(step: Any, scope: str) -> type | None:
    kind = step.get("type")
    if isinstance(kind, str) and kind.rpartition(".")[2] not in LEFT_BEHIND:
        return None  # which waits for no library
    return class_of_type(TRANSFORMS, kind, scope)


def _loaded_by(step: Any) -> set[str]:
    kind = step.get("type")
    name = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
    panoptic = name == "LoadPanopticAnnotations"
    if not panoptic and name != "LoadAnnotations":
        return set()
    wanted = ((MASKS, step.get("with_mask", panoptic)), (MAPS, step.get("with_seg", panoptic)))
    return {what for what, loads in wanted if loads}
