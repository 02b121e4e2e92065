"""Is the data of a config there, whole, and of its classes? Asked before anything is built."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmengine.config import Config
from PIL import Image
from rich.progress import track

from effvit_mm.errors import BadInputError

NUM_EXAMPLES = 3
READERS = 8
END_MARKERS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
SOURCES = {
    "CocoDataset": (
        "COCO 2017 comes from https://cocodataset.org/#download: unpack train2017.zip, val2017.zip and "
        "annotations_trainval2017.zip\nunder {root}, or say where it lies with --data-root DIR."
    )
}
TOY_HINT = "To see a run at once, without any data: add --toy to the command."


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the data sets of a run: files that are missing or cut off, annotations of another kind, class names.

    Understands COCO annotations (``CocoDataset`` and all that read its files); other data sets are left to themselves.

    Args:
        cfg: The config of a run.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run reads.

    Raises:
        BadInputError: At the first thing that would make the run fail or learn nothing.
    """
    roots = [(split, cfg.get(f"{split}_dataloader", {}).get("dataset")) for split in splits]
    datasets = [(split, leaf) for split, root in roots for leaf in _leaves(root) if _is_coco(leaf)]
    _check_presence(cfg, datasets)
    checked = set()
    for split, dataset in datasets:
        key = (_path(dataset, dataset["ann_file"]), _pictures(dataset))
        if key not in checked:
            _check_coco(split, dataset)
            checked.add(key)


def _leaves(dataset: Any) -> Iterator[Any]:
    """Walk through wrappers (repeat, concatenate, mix) to the data sets that read files."""
    if dataset is None:
        return
    inner = dataset.get("datasets") or ([dataset["dataset"]] if "dataset" in dataset else [])
    if not inner:
        yield dataset
    for child in inner:
        yield from _leaves(child)


def _is_coco(dataset: Any) -> bool:
    # mmdet is imported here because a missing file should be reported without waiting for it.
    if dataset.get("type") == "CocoDataset":
        return True
    from mmdet.datasets import CocoDataset
    from mmengine.registry import DATASETS

    with DATASETS.switch_scope_and_registry("mmdet") as registry:
        cls = registry.get(dataset["type"]) if isinstance(dataset["type"], str) else dataset["type"]
    return isinstance(cls, type) and issubclass(cls, CocoDataset)


def _path(dataset: Any, name: str) -> Path:
    return Path(dataset.get("data_root") or "", name)


def _pictures(dataset: Any) -> Path:
    return _path(dataset, (dataset.get("data_prefix") or {}).get("img", ""))


def _check_presence(cfg: Config, datasets: list[tuple[str, Any]]) -> None:
    lines: dict[str, bool] = {}
    for split, dataset in datasets:
        annotations, pictures = _path(dataset, dataset["ann_file"]), _pictures(dataset)
        lines[f"{split} annotations  {annotations}"] = annotations.is_file()
        lines[f"{split} pictures     {pictures}/"] = pictures.is_dir()
    for split in {split for split, _ in datasets} - {"train"}:
        evaluators = cfg.get(f"{split}_evaluator") or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            if evaluator.get("ann_file"):
                lines[f"{split} evaluator    {evaluator.ann_file}"] = Path(evaluator.ann_file).is_file()
    if all(lines.values()):
        return
    width = max(map(len, lines))
    listing = "\n".join(f"  {line:<{width}}  {'found' if found else 'MISSING'}" for line, found in lines.items())
    root = Path(datasets[0][1].get("data_root") or ".")
    source = SOURCES["CocoDataset"].format(root=f"{root}/")
    raise BadInputError(f"data is missing; looked from {Path.cwd()} for\n{listing}\n{source}\n{TOY_HINT}")


def _check_coco(split: str, dataset: Any) -> None:
    file = _path(dataset, dataset["ann_file"])
    content = _read_coco(file)
    _check_classes(split, dataset, file, content)
    _check_pictures(_pictures(dataset), [image["file_name"] for image in content["images"]], file)


def _read_coco(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"annotation file {file} is not whole JSON ({error}); it may have been cut off: fetch or write it again"
        ) from error
    keys = sorted(content) if isinstance(content, dict) else type(content).__name__
    needed = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in needed):
        raise BadInputError(
            f"annotation file {file} is not COCO's: expected an object with the lists {', '.join(needed)}, found "
            f"{keys}; convert it, or name the data set class that reads it"
        )
    fields = {"images": {"id", "file_name", "height", "width"}, "annotations": {"image_id", "category_id", "bbox"}}
    for key, expected in fields.items():
        for position, entry in enumerate(content[key]):
            missing = sorted(expected - entry.keys()) if isinstance(entry, dict) else sorted(expected)
            if missing:
                raise BadInputError(f"annotation file {file}: {key}[{position}] lacks {', '.join(missing)}")
    return content


def _check_classes(split: str, dataset: Any, file: Path, content: dict[str, Any]) -> None:
    wanted = (dataset.get("metainfo") or {}).get("classes")
    if wanted is None:
        from mmdet.registry import DATASETS

        wanted = DATASETS.get(dataset["type"]).METAINFO["classes"]
    wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    category_ids = {category["id"] for category in content["categories"] if category["name"] in wanted}
    if not category_ids:
        raise BadInputError(
            f"none of the {len(wanted)} classes of the {split} data set ({_some(wanted)}) is a category of {file}, "
            f"which has {_some([category['name'] for category in content['categories']])}; set "
            f"{split}_dataloader.dataset.metainfo=dict(classes=(...)) to the names in the file, and num_classes of "
            f"the heads to their number"
        )
    if not any(annotation["category_id"] in category_ids for annotation in content["annotations"]):
        raise BadInputError(
            f"{file} has {len(content['annotations'])} annotations, none of them of the classes {_some(wanted)}: "
            f"nothing would be left to learn from; choose classes that are annotated"
        )


def _check_pictures(folder: Path, names: list[str], annotations: Path) -> None:
    """Report pictures that are missing or cut off; reads the last bytes of each, decodes only where those are odd."""
    with ThreadPoolExecutor(READERS) as readers:
        states = readers.map(lambda name: _picture_problem(folder / name), names)
        # A bar is worth its lines only where a person would wait.
        if len(names) > 5000:
            states = track(states, total=len(names), description=f"Checking {folder}", transient=True)
        problems = [f"  {folder / name}  {state}" for name, state in zip(names, states, strict=True) if state]
    if problems:
        more = f"\n  ... and {len(problems) - NUM_EXAMPLES} more" if len(problems) > NUM_EXAMPLES else ""
        raise BadInputError(
            f"{len(problems)} of the {len(names)} pictures that {annotations} names cannot be read:\n"
            + "\n".join(problems[:NUM_EXAMPLES])
            + more
            + "\nfetch them again, or take their entries out of the annotation file"
        )


def _picture_problem(file: Path) -> str:
    """Return what is wrong with a picture, or an empty string."""
    try:
        with file.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(stream.tell() - 16, 0))
            tail = stream.read()
    except OSError as error:
        return "missing" if isinstance(error, FileNotFoundError) else str(error)
    marker = END_MARKERS.get(file.suffix.lower())
    if marker is not None and marker in tail:
        return ""
    try:
        with Image.open(file) as picture:
            picture.load()
    except (OSError, SyntaxError) as error:
        return f"torn or no picture: {error}"
    return ""


def _some(names: Any) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
