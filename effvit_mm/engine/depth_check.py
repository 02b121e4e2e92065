"""Do pictures and depth maps belong together, are they whole, and of the size that is compared? Asked before a run.

Of every file the header and the last bytes are read. The unit of depth is told by the data sets, see
:mod:`effvit_mm.depth.datasets`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmengine.config import Config
from PIL import Image
from rich.progress import track

from effvit_mm.engine.dataset_spec import class_of, evaluators_of, reads_local_files
from effvit_mm.engine.picture_check import READERS, Wording, check_pictures, picture_problem, turns_images
from effvit_mm.errors import BadInputError, listed

FAR = 10.0  # metres, of a head or metric that names none
Size = tuple[int, int]  # (H, W), pixels


def reads_depth(dataset: Any, scope: str) -> bool:
    """Tell whether a data set of a config pairs pictures with depth maps as those of this package do.

    Args:
        dataset: The data set's dict.
        scope: The config's ``default_scope``.
    """
    if scope != "mmseg":
        return False
    # Detectors do not wait for mmseg.
    from effvit_mm.depth.datasets import DepthDataset

    return reads_local_files(dataset, scope, DepthDataset, [DepthDataset.load_data_list])


def check_depth(
    cfg: Config, datasets: list[tuple[str, Any]], *, open_files: bool = True, tell: Callable[[str], object] = print
) -> None:
    """Check the files of a run's data sets: that they are there, whole, 16-bit depth, and of one size with each other.

    Args:
        cfg: The config of a run.
        datasets: Split and dict of each data set of :func:`reads_depth`.
        open_files: Whether files are looked at; without it only what is written of depth is checked.
        tell: Takes a line on what is no reason to stop.

    Raises:
        BadInputError: At the first thing that would stop the run.
    """
    for split, _ in datasets:
        _check_units(cfg, split)
        note = _describe_ranges(cfg, split)
        if note:
            tell(note)
    checked: dict[str, list[Size]] = {}
    for split, spec in datasets if open_files else ():
        dataset = _build(split, spec, cfg.get("default_scope") or "mmseg")
        if dataset is None:
            continue
        pairs = _used(dataset.load_data_list(), spec.get("indices"))
        # Most configs test on what they validate on.
        key = f"{dataset.ann_file} {dataset.data_prefix} {spec.get('indices')}"
        if key not in checked:
            left_out = dataset.describe_left_out()
            if left_out:
                tell(f"{split}: {left_out}")
            checked[key] = _check_files(split, dataset, pairs, turns=turns_images(spec), tell=tell)
        for wanted, why, remedy in _wanted_sizes(cfg, split, spec):
            _check_sizes(split, pairs, checked[key], wanted, why, remedy)


def _check_units(cfg: Config, split: str) -> None:
    """Check that the 16-bit files a run writes can hold its depth: it would be cut off in silence."""
    from effvit_mm.depth.files import MILLIMETRES, refuse_clipping

    visualizer, head = cfg.get("visualizer") or {}, cfg.get("model", {}).get("decode_head") or {}
    if _name_of(visualizer) == "DepthVisualizer" and isinstance(head, dict):
        scale = visualizer.get("png_scale", MILLIMETRES)
        refuse_clipping(head.get("max_depth", FAR), scale, "visualizer.png_scale")
    for evaluator in evaluators_of(cfg, split):
        if _name_of(evaluator) == "MonoDepthMetric" and evaluator.get("output_dir"):
            scale = evaluator.get("png_scale", MILLIMETRES)
            refuse_clipping(evaluator.get("max_depth", FAR), scale, f"{split}_evaluator.png_scale")


def _describe_ranges(cfg: Config, split: str) -> str:
    """Say where the metric compares another range of depth than the head is trained on; an empty string if not."""
    head = cfg.get("model", {}).get("decode_head") or {}
    trained = head.get("max_depth", FAR) if isinstance(head, dict) else FAR
    for evaluator in evaluators_of(cfg, split):
        measured = evaluator.get("max_depth", FAR)
        if _name_of(evaluator) == "MonoDepthMetric" and measured != trained:
            return (
                f"{split}_evaluator compares depth up to max_depth={measured:g} m, and model.decode_head trains on "
                f"depth up to max_depth={trained:g} m; set both to one range, unless a part of it is to be measured"
            )
    return ""


def _name_of(spec: Any) -> str:
    kind = spec.get("type") if isinstance(spec, dict) else None
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _build(split: str, spec: Any, scope: str) -> Any:
    """Build a data set without reading its files; None where that fails, which is told when the run is built."""
    options = {key: value for key, value in spec.items() if key not in ("type", "_scope_", "pipeline", "lazy_init")}
    try:
        return class_of(spec, scope)(**options, pipeline=[], lazy_init=True)
    except BadInputError as error:
        raise BadInputError(f"{split}_dataloader.dataset: {error}") from error
    except (TypeError, ValueError, AttributeError):
        return None


def _used(pairs: list[Any], indices: int | Sequence[int] | None) -> list[Any]:
    """Return the pairs that MMEngine leaves of a data set."""
    if isinstance(indices, int):
        return pairs[:indices] if indices >= 0 else pairs[indices:]
    return pairs if indices is None else [pairs[index] for index in indices]


def _check_files(
    split: str, dataset: Any, pairs: list[Any], *, turns: bool, tell: Callable[[str], object]
) -> list[Size]:
    """Check each depth map, and each picture against its map; return their sizes."""
    from effvit_mm.depth.files import say_writing

    folders = [Path(dataset.data_prefix[key]) for key in ("img_path", "depth_map_path")]
    with ThreadPoolExecutor(READERS) as readers:
        maps: Iterable[tuple[Size, str]] = readers.map(read_header, [pair["depth_map_path"] for pair in pairs])
        # A bar is worth its lines only where a person would wait.
        if len(pairs) > 5000:
            maps = track(maps, total=len(pairs), description=f"Checking {folders[1]}", transient=True)
        maps = list(maps)
    problems = [
        f"{pair['depth_map_path']}  {problem}" for pair, (_, problem) in zip(pairs, maps, strict=True) if problem
    ]
    if problems:
        raise BadInputError(
            f"{len(problems)} of the {len(pairs)} depth maps of the {split} data set cannot be used:"
            f"{listed(problems)}\n{say_writing(dataset.depth_scale)}"
        )
    sizes = [size for size, _ in maps]
    images = [
        dict(file_name=Path(pair["img_path"]).absolute(), height=height, width=width)
        for pair, (height, width) in zip(pairs, sizes, strict=True)
    ]
    remedy = "pair the files that belong together, or resize depth maps by nearest neighbours"
    wording = Wording(f"with depth maps in {folders[1]}", "its depth map is", remedy)
    check_pictures(folders[0], images, folders[1], wording, turns=turns, tell=tell)
    return sizes


def read_header(file: str) -> tuple[Size, str]:
    """Return the size of a depth map and what is wrong with it, or an empty string.

    Args:
        file: The map. Only one that is no 16-bit PNG of one channel at first sight is decoded.
    """
    from effvit_mm.depth.files import stored_depth

    try:
        with Image.open(file) as picture:
            size = (picture.height, picture.width)
            # Such a PNG had the first mode in older Pillow.
            is_depth = picture.format == "PNG" and picture.mode in ("I", "I;16")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        is_depth = False
    if is_depth:
        return size, picture_problem(Path(file))
    stored, problem = stored_depth(file)
    return (0, 0) if stored is None else stored.shape, problem


def _wanted_sizes(cfg: Config, split: str, spec: Any) -> Iterator[tuple[Size, str, str]]:
    """Give each size that all pictures must have, what asks for it, and how to be rid of that."""
    from effvit_mm.depth.metric import NYU_SIZE

    for evaluator in evaluators_of(cfg, split):
        if evaluator.get("eigen_crop"):
            why = f"for which alone eigen_crop=True of {split}_evaluator compares the part that published tables do"
            yield NYU_SIZE, why, "set eigen_crop=False in val_evaluator and test_evaluator"
    for step in spec.get("pipeline") or ():
        kind = _name_of(step)
        if kind == "BorderCrop":
            place = f"{split}_dataloader.dataset.pipeline"
            remedy = f"take BorderCrop out of {place}, or give it rows, columns and size of this camera"
            yield tuple(step.get("size", NYU_SIZE)), f"for which BorderCrop of {place} is meant", remedy
        # Behind another step pictures may have other sizes.
        if kind not in ("LoadImageFromFile", "LoadDepth"):
            return


def _check_sizes(split: str, pairs: list[Any], sizes: list[Size], wanted: Size, why: str, remedy: str) -> None:
    odd = [
        f"{pair['img_path']}  is {height} x {width}"
        for pair, (height, width) in zip(pairs, sizes, strict=True)
        if (height, width) != wanted
    ]
    if odd:
        raise BadInputError(
            f"{len(odd)} of the {len(pairs)} pictures of the {split} data set {'is' if len(odd) == 1 else 'are'} not "
            f"{wanted[0]} x {wanted[1]} pixels (H x W), {why}:{listed(odd)}\n{remedy}"
        )
