"""Are the pictures of a classifier sorted into the classes it has? Asked before a run.

Understands the data sets of mmpretrain that read class folders or a list of pictures and labels (``ImageNet``,
``CustomDataset``).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from effvit_mm.engine.dataset_spec import check_presence, class_of, evaluators_of, reads_local_files
from effvit_mm.errors import BadInputError, listed, some_of
from effvit_mm.image_files import NearFiles, describe_left_out, find_images, has_suffix

SOURCES = {
    "ImageNet": (
        "ImageNet-1k comes from https://image-net.org/download.php: unpack it so that {root}/train/n01440764/ and its "
        "999\nneighbours are there and {root}/val/ has the same folders (or {root}/meta/val.txt says 'picture label' a "
        "line),\nor say where it lies with --data-root DIR."
    ),
    "CustomDataset": (
        "One folder a class lies in each folder that data_prefix names under {root}; say where that is with\n"
        "--data-root DIR. docs/pretraining.md shows the layout."
    ),
}


def reads_classes(dataset: Any, scope: str) -> bool:
    """Tell whether a data set of a config reads class folders or a list of labels as mmpretrain does.

    Args:
        dataset: The data set's dict.
        scope: The config's ``default_scope``.
    """
    if scope != "mmpretrain":
        return False
    from mmpretrain.datasets import CustomDataset

    return reads_local_files(dataset, scope, CustomDataset, [CustomDataset.load_data_list])


def check_classification(
    cfg: Config, datasets: list[tuple[str, Any]], toy_hint: str, *, tell: Callable[[str], object] = print
) -> None:
    """Check the folders of a run's data sets: that they are there, their classes, and those of the head.

    Args:
        cfg: The config of a run.
        datasets: Split and dict of each data set of :func:`reads_classes`.
        toy_hint: What to try where there is no data.
        tell: Takes a line on what is no reason to stop.

    Raises:
        BadInputError: At the first thing that would make the run fail or learn something else.
    """
    built = [(split, spec, build_class_folders(spec)) for split, spec in datasets if spec.get("with_label", True)]
    _check_presence(built, toy_hint)
    of_training: list[str] | None = None
    for split, spec, dataset in built:
        where = f"{split}_dataloader.dataset"
        if dataset.ann_file:
            count = _check_list(where, dataset)
        else:
            names = _check_folders(where, spec, dataset, tell)
            of_training = names if of_training is None else of_training
            if names != of_training:
                odd = sorted(set(names) ^ set(of_training))
                raise BadInputError(
                    f"{dataset.img_prefix} has other class folders than the training data ({some_of(odd)}): labels are "
                    f"the places of the folders in the alphabet, so all splits need the same; add the missing ones"
                )
            count = len(names)
        _check_model(cfg, split, count)


def build_class_folders(spec: Any) -> Any:
    """Build a data set of mmpretrain without reading its files.

    Args:
        spec: Its dict in a config.
    """
    options = {key: value for key, value in spec.items() if key not in ("type", "_scope_", "pipeline", "lazy_init")}
    return class_of(spec, "mmpretrain")(**options, pipeline=[], lazy_init=True)


def images_of_classes(folder: Path, extensions: Sequence[str]) -> tuple[dict[str, list[Path]], str]:
    """Return the images of each class folder, and which images and videos are left out; an empty string for none.

    Args:
        folder: Of the class folders.
        extensions: What the names of images end in.
    """
    found = {entry.name: find_images(entry, extensions) for entry in sorted(folder.iterdir()) if entry.is_dir()}
    others = [file for _, files in found.values() for file in files]
    kinds = sorted({file.suffix.lower() for file in others if has_suffix(file)})
    remedy = "convert them to have them read"
    if kinds:
        remedy = f"set extensions={(*extensions, *kinds)!r} of the data set to have {' and '.join(kinds)} read"
    return {name: images for name, (images, _) in found.items()}, describe_left_out(folder, others, remedy)


def _check_presence(built: list[tuple[str, Any, Any]], toy_hint: str) -> None:
    if not built:
        return
    parts: dict[str, str] = {}
    for split, _, dataset in built:
        parts[f"{split} pictures"] = f"{Path(dataset.img_prefix)}/"
        if dataset.ann_file:
            parts[f"{split} labels  "] = dataset.ann_file
    _, spec, _ = built[0]
    own = (spec.get("metainfo") or {}).get("classes") or spec["type"] not in SOURCES
    source = SOURCES["CustomDataset" if own else spec["type"]].format(root=Path(spec.get("data_root") or "."))
    check_presence(parts, source, toy_hint)


def _check_folders(where: str, spec: Any, dataset: Any, tell: Callable[[str], object]) -> list[str]:
    """Return the names of the class folders, which are the classes in the order of their labels."""
    folder = Path(dataset.img_prefix)
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not names:
        raise BadInputError(
            f"{folder} has no class folders, expected one a class with its pictures; sort the pictures into folders, "
            f"or give {where}.ann_file, a list of 'picture label' a line"
        )
    by_class, left_out = images_of_classes(folder, sorted(dataset.extensions))
    if left_out:
        tell(left_out)
    empty = [name for name in names if not by_class[name]]
    if empty:
        raise BadInputError(
            f"{len(empty)} of the {len(names)} class folders of {folder} hold no picture ({some_of(empty)}), expected "
            f"files in {', '.join(sorted(dataset.extensions))}; fill or remove them in every split"
        )
    classes = dataset.CLASSES
    if classes is not None and len(classes) != len(names):
        raise BadInputError(
            f"{folder} has {len(names)} class folders ({some_of(names)}), but {where} has {len(classes)} classes; set "
            f"{where}.metainfo=dict(classes=(...)) to one name a folder in the order of the alphabet"
        )
    if classes is not None and spec.get("metainfo") and set(classes) == set(names) and list(classes) != names:
        raise BadInputError(
            f"{where}.metainfo names the classes {some_of(list(classes))}, but labels follow the alphabet of the "
            f"folders: {some_of(names)}; give them in that order, or they are drawn under each other's names"
        )
    return names


def _check_list(where: str, dataset: Any) -> int:
    """Check a list of pictures and labels; return how many classes there are."""
    labels = []
    missing = []
    there: dict[Path, set[str]] = {}
    for number, line in enumerate(Path(dataset.ann_file).read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("\ufeff"):
            raise BadInputError(
                f"{dataset.ann_file} begins with a byte order mark, which would be part of the first picture's name; "
                f"save it again as UTF-8 without signature (without BOM)"
            )
        picture, _, label = line.strip().rpartition(" ")
        if not picture or not label.isdecimal():
            raise BadInputError(f"{dataset.ann_file}, line {number} is {line[:80]!r}, expected 'picture label'")
        # A folder is asked once, and not once for each of its pictures.
        file = Path(dataset.img_prefix, picture)
        if file.parent not in there:
            there[file.parent] = {entry.name for entry in file.parent.iterdir()} if file.parent.is_dir() else set()
        if file.name not in there[file.parent]:
            missing.append(picture)
        labels.append(int(label))
    if not labels:
        raise BadInputError(f"{dataset.ann_file} is empty, expected 'picture label' a line")
    if missing:
        near = NearFiles().describe(f"{dataset.img_prefix}/{missing[0]}")
        raise BadInputError(
            f"{len(missing)} of the {len(labels)} pictures of {dataset.ann_file} are not in {dataset.img_prefix}:"
            f"{listed(missing)}\n{f'{near}; ' if near else ''}set {where}.data_prefix, fetch them again, or "
            f"take them out of the list"
        )
    count = len(dataset.CLASSES) if dataset.CLASSES is not None else max(labels) + 1
    if max(labels) >= count:
        raise BadInputError(f"{dataset.ann_file} has the label {max(labels)}, but there are {count} classes, from 0 on")
    return count


def _check_model(cfg: Config, split: str, count: int) -> None:
    """Compare the number of classes with the head, with what mixes pictures, and with how many guesses are counted."""
    for part in ("head", "data_preprocessor"):
        spec = cfg.model.get(part)
        if isinstance(spec, dict) and spec.get("num_classes", count) != count:
            raise BadInputError(
                f"model.{part}.num_classes={spec['num_classes']!r}, but the {split} data set has {count} classes; set "
                f"model.head.num_classes and model.data_preprocessor.num_classes to {count}"
            )
    for evaluator in evaluators_of(cfg, split):
        guesses = evaluator.get("topk", 1)
        if max([guesses] if isinstance(guesses, int) else guesses) > count:
            raise BadInputError(
                f"{split}_evaluator.topk={guesses!r} counts more guesses than the {count} classes there are; set "
                f"topk=(1,)"
            )
