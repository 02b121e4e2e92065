"""Any config in another setting: on toy scenes, or on a few pictures of its own data learnt by heart."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from effvit_mm.engine.coco_leaks import FEW_IMAGES
from effvit_mm.engine.data_check import check_data, leaves_of
from effvit_mm.engine.dataset_spec import evaluators_of
from effvit_mm.engine.explain import arguments_of
from effvit_mm.engine.few_masks import keep_few_masks
from effvit_mm.engine.report import write_json
from effvit_mm.engine.segmentation_check import pairs_masks
from effvit_mm.errors import BadInputError
from effvit_mm.registry import near_names


def apply_overlay(cfg: Config, config_file: Path, overlays: Path) -> None:
    """Merge the overlay of a config's method into ``cfg``.

    The overlay is ``<overlays>/<method>.py``, where the method is the first word of the config's file name:
    ``maskrcnn`` of ``maskrcnn_anchorformer.py``. What it says of a part of the model whose ``type`` it names is meant
    for that type: a part of another one stays as it is. What it says of a neck goes to the last of several.

    Args:
        cfg: The config, changed in place.
        config_file: The file it came from.
        overlays: Folder of the overlays, ``configs/_base_/toy`` or ``configs/_base_/overfit``.

    Raises:
        BadInputError: If there is no overlay for the method.
    """
    method = config_file.stem.split("_")[0]
    overlay = overlays / f"{method}.py"
    if not overlay.is_file():
        known = sorted(
            path.stem for path in overlays.glob("*.py") if (overlays.parent / "models" / path.name).is_file()
        )
        raise BadInputError(
            f"--{overlays.name} has no overlay for {config_file.name}: it looked for {overlay}.\n"
            f"Overlays exist for the methods {', '.join(known)}, and a config's file name begins with its method: "
            f"maskrcnn_mine.py."
        )
    changes = Config.fromfile(overlay)._cfg_dict.to_dict()
    cfg.merge_from_dict({**changes, "model": _meant_for(cfg.model, changes.get("model", {}))})


def _meant_for(part: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of a model, or of a part of it, without those of parts that are of another type."""
    kept = {}
    for name, change in changes.items():
        inner = part.get(name)
        if isinstance(inner, list | tuple) and isinstance(change, Mapping):
            # Necks one behind the other: the heads read the last.
            kept[name] = [*inner[:-1], {**inner[-1], **change}]
        elif not isinstance(change, Mapping) or not isinstance(inner, Mapping) or "_delete_" in change:
            kept[name] = change
        elif change.get("type", inner.get("type")) == inner.get("type"):
            kept[name] = _meant_for(inner, change)
    return kept


def make_toy_scenes(cfg: Config, before_rendering: Callable[[], None] | None = None) -> None:
    """Render the scenes that the toy overlay asks for, unless they are there already.

    Args:
        cfg: The config.
        before_rendering: Called where there is something to render.

    Raises:
        BadInputError: If their number or size is not allowed, or their folder holds something else.
    """
    # Only runs on toy scenes pay for importing the renderer.
    from effvit_mm.datasets.toy_export import ensure_toy_scenes

    arguments = arguments_of(ensure_toy_scenes) - {"before_rendering"}
    for name in set(cfg.toy_scenes) - arguments:
        raise BadInputError(f"toy_scenes.{name} is no argument of toy scenes; {near_names(name, arguments)}")
    try:
        ensure_toy_scenes(**cfg.toy_scenes, before_rendering=before_rendering)
    except BadInputError:
        raise
    except ValueError as error:
        raise BadInputError(f"toy_scenes: {error}") from error


def keep_few_pictures(cfg: Config, num_pictures: int) -> None:
    """Train and validate a config on the same few pictures of its training data.

    In COCO's format, their annotations are written to ``<work dir>/few_pictures.json``; of index masks, their names to
    ``<work dir>/few_pictures.txt``.

    Args:
        cfg: The config, changed in place; its work dir is set.
        num_pictures: How many; the first of the annotation file that have annotations.

    Raises:
        BadInputError: If the training data cannot be used, or has fewer pictures.
    """
    # What is odd in the images that are kept is told when they are checked.
    check_data(cfg, ("train",), tell=lambda line: None)
    train = cfg.train_dataloader.dataset
    if list(leaves_of(train, "train_dataloader.dataset")) != [train]:
        raise BadInputError(
            f"--overfit takes the first pictures of one data set; train_dataloader.dataset is a {train.type} around "
            f"others; put one of them in its place, in a config of your own with _delete_=True"
        )
    if pairs_masks(train, cfg.get("default_scope") or "mmdet"):
        keep_few_masks(cfg, num_pictures)
        return
    content = json.loads(Path(train.data_root or "", train.ann_file).read_bytes())
    annotated = {annotation["image_id"] for annotation in content["annotations"] if not annotation.get("iscrowd")}
    images = [image for image in content["images"] if image["id"] in annotated][:num_pictures]
    if not 1 <= num_pictures <= len(images):
        raise BadInputError(
            f"--overfit {num_pictures}: give a number from 1 to {len(annotated)}, the annotated pictures"
        )
    kept = {image["id"] for image in images}
    annotations = [annotation for annotation in content["annotations"] if annotation["image_id"] in kept]
    file = Path(cfg.work_dir, FEW_IMAGES).absolute()
    write_json(file, {**content, "images": images, "annotations": annotations})
    train.ann_file = str(file)
    for split in ("val", "test"):
        if cfg.get(f"{split}_dataloader"):
            loader = cfg[f"{split}_dataloader"]
            loader.dataset = next(leaves_of(loader.dataset, f"{split}_dataloader.dataset"))
            loader.dataset.update(ann_file=str(file), data_root=train.data_root, data_prefix=train.data_prefix)
        for evaluator in evaluators_of(cfg, split):
            if "ann_file" in evaluator:
                evaluator.ann_file = str(file)
