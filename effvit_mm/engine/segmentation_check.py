"""Do pictures and index masks belong together, and the masks to the classes of the model? Asked before a run.

Understands the data sets of mmsegmentation that pair a folder of pictures with one of masks. The values of the masks
are read for :class:`~effvit_mm.datasets.index_mask_folder.IndexMaskFolder`, whose classes are the user's; the
benchmarks that mmsegmentation knows by name are trusted in that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image
from rich.progress import track

from effvit_mm.engine.dataset_spec import check_presence, class_of, reads_local_files
from effvit_mm.engine.picture_check import READERS, Wording, check_pictures, turns_images
from effvit_mm.errors import BadInputError, listed, some_of

INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
INDEX_REMEDY = "an index mask is a PNG of one channel whose values are class numbers: write them again as such"
SOURCES = {
    "ADE20KDataset": (
        "ADE20K's scene parsing data is ADEChallengeData2016.zip of http://sceneparsing.csail.mit.edu: unpack it so\n"
        "that {root}/images is there, or say where it lies with --data-root DIR."
    ),
    "IndexMaskFolder": (
        "Pictures and masks lie in the two folders that data_prefix names under {root}; say where that is with\n"
        "--data-root DIR. docs/segmentation.md shows the layout."
    ),
}


@dataclass(frozen=True)
class Mask:
    """What a mask file holds.

    Args:
        file: The file.
        size: `(H, W)` in pixels.
        counts: Pixels of each value that occurs; empty where values were not asked for.
        problem: What is wrong with it, or an empty string.
    """

    file: Path
    size: tuple[int, int] = (0, 0)
    counts: Mapping[int, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def values(self) -> frozenset[int]:
        """The values that occur."""
        return frozenset(self.counts)


def pairs_masks(dataset: Any, scope: str) -> bool:
    """Tell whether a data set of a config reads a folder of pictures and one of masks as mmsegmentation does.

    Args:
        dataset: The data set's dict.
        scope: The config's ``default_scope``.
    """
    if scope != "mmseg":
        return False
    # Detectors do not wait for mmseg's data sets.
    from mmseg.datasets import BaseSegDataset

    from effvit_mm.datasets.index_mask_folder import IndexMaskFolder

    readers = (BaseSegDataset.load_data_list, IndexMaskFolder.load_data_list)
    return reads_local_files(dataset, scope, BaseSegDataset, readers)


def check_segmentation(
    cfg: Config,
    datasets: list[tuple[str, Any]],
    toy_hint: str,
    *,
    open_masks: bool = True,
    tell: Callable[[str], object] = print,
) -> None:
    """Check the folders of a run's data sets: pairs, sizes, values of the masks, and classes of the heads.

    Args:
        cfg: The config of a run.
        datasets: Split and dict of each data set of :func:`pairs_masks`.
        toy_hint: What to try where there is no data.
        open_masks: Whether pictures and masks are opened.
        tell: Takes a line on what is no reason to stop.

    Raises:
        BadInputError: At the first thing that would make the run fail or learn something else.
    """
    built = [(split, spec, build_dataset(split, spec, cfg.get("default_scope") or "mmseg")) for split, spec in datasets]
    built = [entry for entry in built if entry[2] is not None]
    _check_presence(built, toy_hint)
    checked: dict[tuple, tuple[Any, Counter[int]]] = {}
    for split, spec, dataset in built:
        _check_heads(cfg, split, spec["type"], len(dataset.metainfo["classes"]))
        key = (str(dataset.data_prefix), dataset.ann_file, str(spec.get("metainfo")), split == "train")
        if key not in checked and open_masks:
            checked[key] = dataset, _check_files(split, dataset, turns=turns_images(spec), tell=tell)
    measured: Counter[int] = sum((counts for key, (_, counts) in checked.items() if not key[-1]), Counter())
    for dataset, counts in (checked[key] for key in checked if key[-1]):
        problem = shift_problem(dataset, counts, measured)
        if problem:
            raise BadInputError(f"the masks of {dataset.data_prefix['seg_map_path']}: {problem}")


def build_dataset(split: str, spec: Any, scope: str) -> Any:
    """Build a data set without reading its files; None where that fails, which is told when the run is built."""
    cls = class_of(spec, scope)
    names = (spec.get("metainfo") or {}).get("classes") if isinstance(spec.get("metainfo"), dict | None) else None
    known = cls.METAINFO.get("classes")
    others = [name for name in names or () if known is not None and name not in known]
    if others:
        raise BadInputError(
            f"{split}_dataloader.dataset: {spec['type']} knows its own {len(known)} classes only, and {others[0]!r} is "
            f"none of them; for classes of your own take type='IndexMaskFolder'"
        )
    options = {key: value for key, value in spec.items() if key not in ("type", "_scope_", "pipeline", "lazy_init")}
    try:
        dataset = cls(**options, pipeline=[], lazy_init=True)
    except BadInputError as error:
        raise BadInputError(f"{split}_dataloader.dataset: {error}") from error
    except (TypeError, ValueError, AssertionError, AttributeError):
        return None
    return dataset if dataset.metainfo.get("classes") and dataset.data_prefix.get("img_path") else None


def _check_presence(built: list[tuple[str, Any, Any]], toy_hint: str) -> None:
    if not built:
        return
    parts: dict[str, str] = {}
    for split, _, dataset in built:
        for what, key in (("pictures", "img_path"), ("masks", "seg_map_path")):
            if dataset.data_prefix.get(key):
                parts[f"{split} {what:<8}"] = f"{Path(dataset.data_prefix[key])}/"
    _, spec, _ = built[0]
    root = Path(spec.get("data_root") or ".")
    source = SOURCES.get(spec["type"], SOURCES["IndexMaskFolder"]).format(root=root)
    check_presence(parts, source, toy_hint)


def _check_heads(cfg: Config, split: str, kind: str, num_classes: int) -> None:
    """Compare the classes of a data set with those of the heads that predict them."""
    # One channel can tell two classes apart.
    allowed = {num_classes, 1} if num_classes == 2 else {num_classes}
    for name in ("decode_head", "auxiliary_head"):
        heads = cfg.model.get(name) or []
        for place, head in enumerate(heads if isinstance(heads, list | tuple) else [heads]):
            if isinstance(head, dict) and head.get("num_classes", num_classes) not in allowed:
                path = f"model.{name}" + (f"[{place}]" if isinstance(heads, list | tuple) else "")
                raise BadInputError(
                    f"{path}.num_classes={head['num_classes']!r}, but the {split} data set ({kind}) has {num_classes} "
                    f"classes; set num_classes={num_classes}, or {split}_dataloader.dataset.metainfo.classes"
                )


def _check_files(split: str, dataset: Any, *, turns: bool, tell: Callable[[str], object]) -> Counter[int]:
    """Check pictures and masks; return the pixels of each value, of masks whose classes are the user's."""
    # Imported here, as it brings mmseg.
    from effvit_mm.datasets.index_mask_folder import IndexMaskFolder, describe_files_left_out, pairs_of

    left_out = describe_files_left_out(dataset)
    if left_out:
        tell(f"{split}: {left_out}")
    pairs = list(pairs_of(dataset).values())
    files = [mask for _, mask in pairs if mask is not None]
    counts: Counter[int] = Counter()
    if not files:
        return counts
    own = isinstance(dataset, IndexMaskFolder)
    folder = Path(dataset.data_prefix["seg_map_path"])
    with ThreadPoolExecutor(READERS) as readers:
        masks: Iterable[Mask] = readers.map(lambda file: read_mask(file, values=own), files)
        # A bar is worth its lines only where a person would wait.
        if len(files) > 5000:
            masks = track(masks, total=len(files), description=f"Checking {folder}", transient=True)
        masks = list(masks)
    _refuse(
        folder,
        [f"{mask.file.relative_to(folder)}  {mask.problem}" for mask in masks if mask.problem],
        len(masks),
        "cannot be used",
        INDEX_REMEDY,
    )
    if own:
        _check_values(dataset, folder, masks)
        for mask in masks:
            counts.update(mask.counts)
        if split == "train":
            _check_variety(dataset, folder, masks)
            absent = describe_absent(dataset, counts)
            if absent:
                tell(f"{split}: {absent}")
    _check_sizes(dataset, pairs, masks, turns=turns, tell=tell)
    return counts


def read_mask(file: Path, *, values: bool) -> Mask:
    """Read a mask as ``LoadAnnotations`` will: palettes are not applied, channels not merged.

    Args:
        file: The mask.
        values: Whether its pixels are decoded and counted by value.
    """
    try:
        with Image.open(file) as mask:
            size = (mask.height, mask.width)
            if mask.mode not in INDEX_MODES:
                return Mask(file, problem=f"is a colour picture ({mask.mode})")
            if mask.format == "JPEG":
                return Mask(file, problem="is a JPEG, which blurs values into one another")
            if not values:
                return Mask(file, size)
            if mask.mode in ("L", "P"):
                return Mask(file, size, {value: count for value, count in enumerate(mask.histogram()) if count})
            found, counts = np.unique(np.asarray(mask), return_counts=True)
            return Mask(file, size, dict(zip(found.astype(int).tolist(), counts.tolist(), strict=True)))
    except (OSError, SyntaxError, ValueError) as error:
        return Mask(file, problem=f"is torn or no picture: {str(error)[:200]}")


def _check_values(dataset: Any, folder: Path, masks: list[Mask]) -> None:
    allowed = {*dataset.class_values, *dataset.ignored_values}
    problems = [
        f"{mask.file.relative_to(folder)}  {some_of(sorted(mask.values - allowed))}"
        for mask in masks
        if mask.values - allowed
    ]
    _refuse(folder, problems, len(masks), "hold values that are no class", say_values(dataset))


def say_values(dataset: Any) -> str:
    """Say which values masks may hold, and what to set where they hold others."""
    classes = dataset.class_values
    ignored = ", ".join(map(str, sorted(dataset.ignored_values)))
    from_one = "" if dataset.reduce_zero_label else "reduce_zero_label=True if the classes count from 1, "
    return (
        f"the {len(classes)} classes are the values {classes[0]} to {classes[-1]}, and {ignored} is ignored; set "
        f"{from_one}ignore_index=N if the value N marks pixels to leave out, or name all classes in metainfo"
    )


def _check_variety(dataset: Any, folder: Path, masks: list[Mask]) -> None:
    """Refuse training masks of one class: the model would learn to answer nothing else, and measure well."""
    values = frozenset().union(*(mask.values for mask in masks))
    names = dataset.metainfo["classes"]
    seen = [name for name, value in zip(names, dataset.class_values, strict=True) if value in values]
    if len(seen) < min(2, len(names)):
        only = f"only {seen[0]!r} occurs" if seen else "none occurs"
        raise BadInputError(
            f"the masks of {folder} hold only the values {some_of(sorted(values))}: of the classes {some_of(names)} "
            f"{only}, so there is nothing to tell apart; write class numbers as they are counted here, from "
            f"{dataset.class_values[0]} to {dataset.class_values[-1]} (255 is ignored)"
        )


def shift_problem(dataset: Any, learnt: Mapping[int, int], measured: Mapping[int, int]) -> str:
    """Return what shows that masks count their classes from 0 where 0 is left out; an empty string if nothing does.

    Masks whose last class is rare, and whose 0 marks what has no class, may look the same in one split: the class has
    to be missing where is measured, too, and 0 to be no rarer than all classes.

    Args:
        dataset: A data set of mmseg.
        learnt: Pixels of each value that occurs in the masks of training.
        measured: Pixels of each value that occurs in those of validation and test; empty where they are not known.
    """
    names = dataset.metainfo["classes"]
    last = len(names)
    if not dataset.reduce_zero_label or not measured or learnt.get(last) or measured.get(last):
        return ""
    found = [learnt.get(value, 0) for value in range(last)]
    if not all(found) or found[0] < min(found[1:], default=0):
        return ""
    return (
        f"all values from 0 to {last - 1} occur, and no mask of training, validation or test holds {last}, which "
        f"stands for {names[-1]!r} under reduce_zero_label=True; 0 is left out, and covers "
        f"{found[0] / sum(found):.0%}: do the {last} classes count from 0? Set reduce_zero_label=False in the data "
        f"sets and pipelines, or take {names[-1]!r} out of metainfo.classes"
    )


def describe_absent(dataset: Any, counts: Mapping[int, int]) -> str:
    """Say which classes occur in no mask, and how much is left out as 0; an empty string for none.

    Args:
        dataset: A data set of mmseg.
        counts: Pixels of each value that occurs in its masks.
    """
    names = dataset.metainfo["classes"]
    first = int(bool(dataset.reduce_zero_label))
    absent = [f"{name!r} ({value})" for value, name in enumerate(names, first) if not counts.get(value)]
    if not absent:
        return ""
    share = counts.get(0, 0) / max(1, sum(counts.values()))
    zero = f"; 0, which reduce_zero_label=True leaves out, covers {share:.1%} of the pixels" if first else ""
    return f"{len(absent)} of the {len(names)} classes occur in no mask: {some_of(absent)}{zero}"


def _check_sizes(
    dataset: Any,
    pairs: list[tuple[Path, Path | None]],
    masks: list[Mask],
    *,
    turns: bool,
    tell: Callable[[str], object],
) -> None:
    folder = Path(dataset.data_prefix["img_path"])
    sizes = {mask.file: mask.size for mask in masks}
    images = []
    for picture, mask in pairs:
        height, width = sizes[mask]
        images.append(dict(file_name=str(picture.relative_to(folder)), height=height, width=width))
    masks_folder = dataset.data_prefix["seg_map_path"]
    wording = Wording(f"with masks in {masks_folder}", "its mask is", "make their masks again or take them out")
    check_pictures(folder, images, Path(masks_folder), wording, turns=turns, tell=tell)


def _refuse(folder: Path, problems: list[str], total: int, what: str, remedy: str) -> None:
    if problems:
        raise BadInputError(f"{len(problems)} of the {total} masks of {folder} {what}:{listed(problems)}\n{remedy}")
