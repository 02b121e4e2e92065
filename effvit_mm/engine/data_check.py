"""Is the data of a config there, whole, and of its classes? Asked before anything is built."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from effvit_mm.engine.classification_check import check_classification, reads_classes
from effvit_mm.engine.coco_check import check_crowds, check_masks, is_trained_on, read_coco
from effvit_mm.engine.coco_evaluation import (
    check_class_order,
    check_ids,
    check_numbers,
    check_output,
    describe_limits,
    is_coco_metric,
)
from effvit_mm.engine.coco_faults import CORNERS, annotation_faults, are_corners, describe_faults
from effvit_mm.engine.coco_leaks import describe_shared
from effvit_mm.engine.coco_use import describe_left_out, images_left_out, learnt_from, masks_loaded
from effvit_mm.engine.dataset_spec import check_presence, evaluators_of
from effvit_mm.engine.depth_check import check_depth, reads_depth
from effvit_mm.engine.evaluator_check import Source, check_ids_of_sources, check_same_images, differing_objects
from effvit_mm.engine.picture_check import check_pictures, turns_images
from effvit_mm.engine.segmentation_check import check_segmentation, pairs_masks
from effvit_mm.engine.types_of_ours import how_to_register
from effvit_mm.errors import BadInputError, some_of
from effvit_mm.registry import near_names

SOURCES = {
    "CocoDataset": (
        "COCO 2017 comes from https://cocodataset.org/#download: unpack train2017.zip, val2017.zip and "
        "annotations_trainval2017.zip\nunder {root}, or say where it lies with --data-root DIR."
    )
}
TOY_HINT = "To see a run at once, without any data: add --toy to the command."


def check_data(
    cfg: Config, splits: tuple[str, ...], *, open_pictures: bool = True, tell: Callable[[str], object] = print
) -> None:
    """Check the data sets of a run: files that are missing or cut off, annotations of another kind, class names.

    Understands COCO annotations (``CocoDataset`` and all that read its files), index masks (mmsegmentation's data sets,
    see :mod:`effvit_mm.engine.segmentation_check`), depth maps (see :mod:`effvit_mm.engine.depth_check`) and class
    folders (mmpretrain's, see :mod:`effvit_mm.engine.classification_check`); other data sets are left to themselves.

    Args:
        cfg: The config of a run.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run reads.
        open_pictures: Whether pictures, masks and depth maps are opened, and what is odd in single annotations is told;
            without it annotations, folders and classes are checked, for the data tool, which does the rest itself.
        tell: Takes lines on what is no reason to stop: what training leaves out, images that splits share.

    Raises:
        BadInputError: At the first thing that would make the run fail or learn nothing.
    """
    datasets = []
    masked = []
    measured = []
    classified = []
    for split in splits:
        name = f"{split}_dataloader.dataset"
        root = (cfg.get(f"{split}_dataloader") or {}).get("dataset")
        scope = cfg.get("default_scope") or "mmdet"
        leaves = list(leaves_of(root, name))
        datasets += [(split, leaf) for leaf in leaves if reads_coco(leaf, name, scope)]
        masked += [(split, leaf) for leaf in leaves if pairs_masks(leaf, scope)]
        measured += [(split, leaf) for leaf in leaves if reads_depth(leaf, scope)]
        classified += [(split, leaf) for leaf in leaves if reads_classes(leaf, scope)]
    _check_presence(cfg, datasets)
    checked: dict[tuple[Path, Path, bool], list[Any]] = {}
    sources: dict[str, list[Source]] = {}
    contents: dict[Path, Any] = {}
    for split, dataset in datasets:
        key = (path_in(dataset, dataset["ann_file"]), pictures_of(dataset), split == "train")
        if key not in checked:
            content, ids = _check_coco(split, dataset, evaluators_of(cfg, split))
            for note in _notes_of(cfg.get("model"), split, dataset, content, ids, odd=open_pictures):
                tell(f"{split}: {note}")
            checked[key] = content["images"]
            if split != "train":
                contents[key[0]] = content
        if split != "train":
            content = contents[key[0]]
            used = _taken(content["images"], dataset.get("indices"))
            sources.setdefault(split, []).append(Source(key[0], key[1], content, used))
    for split, of_split in sources.items():
        leaves = [dataset for name, dataset in datasets if name == split]
        if len(leaves) == len(list(leaves_of(cfg[f"{split}_dataloader"].dataset, f"{split}_dataloader.dataset"))):
            _check_evaluators(cfg, split, leaves[0], of_split, tell)
    turns = {(path_in(one, one["ann_file"]), pictures_of(one)): turns_images(one) for _, one in reversed(datasets)}
    for (file, folder, _), images in checked.items() if open_pictures else ():
        check_pictures(folder, images, file, turns=turns[file, folder], tell=tell)
    checked = {key: [image["file_name"] for image in images] for key, images in checked.items()}
    for note in describe_shared(checked):
        tell(note)
    check_segmentation(cfg, masked, TOY_HINT, open_masks=open_pictures, tell=tell)
    check_depth(cfg, measured, open_files=open_pictures, tell=tell)
    check_classification(cfg, classified, TOY_HINT, tell=tell)


def leaves_of(dataset: Any, name: str) -> Iterator[Any]:
    """Walk through wrappers (repeat, concatenate, mix) to the data sets that read files.

    Args:
        dataset: A data set's dict, or None.
        name: Its place in the config, for messages.
    """
    if dataset is None:
        return
    if not isinstance(dataset, dict) or not dataset.get("type"):
        raise BadInputError(f"{name} is {dataset!r}, expected dict(type='CocoDataset', ...) or another data set")
    inner = dataset.get("datasets") or ([dataset["dataset"]] if "dataset" in dataset else [])
    if not inner:
        yield dataset
    for child in inner:
        yield from leaves_of(child, name)


def reads_coco(dataset: Any, name: str, scope: str) -> bool:
    """Tell whether a data set reads its files as mmdet's ``CocoDataset`` does, and has names for them.

    Args:
        dataset: The data set's dict.
        name: Its place in the config, for messages.
        scope: The config's ``default_scope``.

    Raises:
        BadInputError: If it does and lacks a name, or its type is not registered.
    """
    # mmdet is imported here because a missing file should be reported without waiting for it.
    if dataset["type"] != "CocoDataset" and not _is_coco_class(dataset["type"], name, scope):
        return False
    if not isinstance(dataset.get("ann_file"), str) or not dataset["ann_file"]:
        raise BadInputError(f"{name}.ann_file is {dataset.get('ann_file')!r}, expected the annotation file's path")
    prefix = dataset.get("data_prefix", {"img": ""})
    if not isinstance(prefix, dict) or not isinstance(prefix.get("img"), str):
        raise BadInputError(f"{name}.data_prefix is {prefix!r}, expected dict(img='<folder of the pictures>')")
    min_size = (dataset.get("filter_cfg") or {}).get("min_size", 0) if _is_dict_or_none(dataset, "filter_cfg") else None
    if not isinstance(min_size, int | float):
        raise BadInputError(f"{name}.filter_cfg is {dataset['filter_cfg']!r}, expected dict(min_size=<pixels>, ...)")
    return True


def _is_dict_or_none(spec: Any, key: str) -> bool:
    return isinstance(spec.get(key), dict | None)


def _is_coco_class(kind: Any, name: str, scope: str) -> bool:
    from mmdet.datasets import CocoDataset
    from mmengine.registry import DATASETS

    with DATASETS.switch_scope_and_registry(scope) as registry:
        cls = registry.get(kind) if isinstance(kind, str) else kind
        if cls is None:
            raise BadInputError(
                f"{name}.type={kind!r} is not registered; {how_to_register(kind, registry.module_dict)}"
            )
    # A subclass that reads its files in its own way is left to itself.
    return (
        isinstance(cls, type)
        and issubclass(cls, CocoDataset)
        and cls.load_data_list is CocoDataset.load_data_list
        and cls.parse_data_info is CocoDataset.parse_data_info
    )


def path_in(dataset: Any, name: str) -> Path:
    """Return the path of what a data set's dict names, below its root."""
    return Path(dataset.get("data_root") or "", name)


def pictures_of(dataset: Any) -> Path:
    """Return the folder of a COCO data set's pictures."""
    return path_in(dataset, (dataset.get("data_prefix") or {}).get("img", ""))


def _check_presence(cfg: Config, datasets: list[tuple[str, Any]]) -> None:
    if not datasets:
        return
    named: list[tuple[str, str | Path]] = []
    for split, dataset in datasets:
        named += [(f"{split} annotations", path_in(dataset, dataset["ann_file"]))]
        named += [(f"{split} pictures   ", f"{pictures_of(dataset)}/")]
    for split in dict.fromkeys(split for split, _ in datasets if split != "train"):
        files = [evaluator.get("ann_file") for evaluator in evaluators_of(cfg, split)]
        named += [(f"{split} evaluator  ", file) for file in files if file]
    # Of several parts of one kind, as a ConcatDataset has them, each keeps its line.
    numbers = [sum(what == other for other, _ in named[:place]) + 1 for place, (what, _) in enumerate(named)]
    parts = {f"{what} {n}" if n > 1 else what: path for n, (what, path) in zip(numbers, named, strict=True)}
    root = Path(datasets[0][1].get("data_root") or ".")
    source = SOURCES["CocoDataset"].format(root=f"{root}/")
    if all(_is_of_a_user(dataset) for _, dataset in datasets):
        source = _own_places(datasets, root)
    elif root.is_dir() and any(not pictures_of(dataset).is_dir() for _, dataset in datasets):
        source = f"{_own_places(datasets, root)}\n{source}"
    check_presence(parts, source, TOY_HINT)


def _is_of_a_user(dataset: Any) -> bool:
    """Tell whether a data set is no part of COCO 2017: it has classes of its own, and files without that year."""
    names = f"{dataset['ann_file']} {(dataset.get('data_prefix') or {}).get('img', '')}"
    return bool((dataset.get("metainfo") or {}).get("classes")) and "2017" not in names


def _own_places(datasets: list[tuple[str, Any]], root: Path) -> str:
    """Say which settings name the files of data of one's own, and what there is."""
    folders = sorted(f"{entry.name}/" for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    wrong = [dataset for _, dataset in datasets if not pictures_of(dataset).is_dir()]
    setting = "ann_file of the data set names the annotations"
    there = sorted({file.relative_to(root).as_posix() for file in (*root.glob("*.json"), *root.glob("*/*.json"))})
    if wrong:
        prefix = (wrong[0].get("data_prefix") or {}).get("img", "")
        setting, there = f"data_prefix=dict(img={prefix!r}) of the data set names the folder of the pictures", folders
    what = "folder" if wrong else "file"
    listing = f"are the {what}s {some_of(there)}" if there else f"is no {what if wrong else 'JSON file'}"
    return (
        f"Data of your own: {setting}, below data_root; in {root}/ there {listing}. Say where all of it lies with "
        f"--data-root DIR."
    )


def _check_coco(split: str, dataset: Any, evaluators: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Check an annotation file and return what it holds, and the ids of the data set's classes."""
    file = path_in(dataset, dataset["ann_file"])
    # Predictions that are only written to a file are compared with nothing.
    compared = not evaluators or not all(evaluator.get("format_only") for evaluator in evaluators)
    content = read_coco(file, annotated=compared)
    ids = _check_classes(split, dataset, file, content)
    if compared:
        _check_use(split, dataset, file, content, ids)
    return content, ids


def _notes_of(
    model: Any, split: str, dataset: Any, content: dict[str, Any], ids: list[Any], *, odd: bool
) -> Iterator[str]:
    """Say what of an annotation file is odd or left out, and how much of it a figure can take."""
    if odd:
        yield from describe_faults(annotation_faults(content), len(content["annotations"]))
    if odd and split == "train":
        yield from describe_left_out(dataset, content, ids, masks_loaded(dataset.get("pipeline")))
    if split != "train":
        yield from describe_limits(model, content, _of(content, ids))


def _of(content: dict[str, Any], ids: list[Any]) -> list[Any]:
    """Return the annotations of a file's images and of some categories."""
    images, wanted = {image["id"] for image in content["images"]}, set(ids)
    return [entry for entry in content["annotations"] if entry["category_id"] in wanted and entry["image_id"] in images]


def _check_use(split: str, dataset: Any, file: Path, content: dict[str, Any], ids: list[Any]) -> None:
    """Check what a data set will give: enough to learn from or to measure, and masks where its pipeline loads them."""
    if are_corners(content):
        raise BadInputError(
            f"annotation file {file}: {CORNERS}; write the width and height of each, x2 - x1 and y2 - y1"
        )
    masks = masks_loaded(dataset.get("pipeline"))
    left, left_out = learnt_from(dataset, content, ids, masks if split == "train" else "")
    if not left:
        raise BadInputError(
            f"{file} has {len(content['annotations'])} annotations and {len(content['images'])} pictures, and of the "
            f"{split} data set's classes nothing would be left to {'learn from' if split == 'train' else 'measure'}"
            f"{f' ({left_out})' if left_out else ''}; choose classes that are annotated, and check the units of the "
            f"boxes, the image_id of the annotations, iscrowd, and filter_cfg"
        )
    if masks:
        gone = {image["id"] for images in images_left_out(dataset, content, ids).values() for image in images}
        images = {image["id"]: image for image in content["images"] if image["id"] not in gone}
        wanted = [entry for entry in _of(content, ids) if entry["image_id"] in images]
        used = [entry for entry in wanted if is_trained_on(entry, images[entry["image_id"]])]
        check_masks(file, content, used, short=True)


def _taken(images: list[Any], indices: Any) -> list[Any]:
    """Return the images that a data set's ``indices`` leave of its file, as MMEngine takes them."""
    if isinstance(indices, int):
        return images[:indices] if indices >= 0 else images[indices:]
    return images if indices is None else [images[index] for index in indices]


def _check_evaluators(
    cfg: Config, split: str, dataset: Any, sources: list[Source], tell: Callable[[str], object]
) -> None:
    """Check what the evaluators of a split read: the same images, and what COCO's evaluation asks."""
    evaluators = evaluators_of(cfg, split)
    for number, evaluator in enumerate(evaluators):
        place = f"{split}_evaluator{f'.{number}' if len(evaluators) > 1 else ''}"
        is_coco = is_coco_metric(evaluator)
        if is_coco:
            check_output(place, evaluator)
        if evaluator.get("format_only"):
            continue
        if is_coco:
            check_numbers(place, evaluator)
        if is_coco or evaluator.get("ann_file"):
            check_ids_of_sources(split, sources)
        if evaluator.get("ann_file"):
            _check_own_file(cfg, place, evaluator, split, dataset, sources, tell)
        elif is_coco:
            # Without a file of its own it numbers annotations and classes itself.
            for source in sources:
                check_ids(source.file, evaluator, source.images, [], [])


def _check_own_file(
    cfg: Config,
    place: str,
    evaluator: Any,
    split: str,
    dataset: Any,
    sources: list[Source],
    tell: Callable[[str], object],
) -> None:
    own = Path(evaluator["ann_file"])
    shared = next((source for source in sources if own.samefile(source.file)), None)
    content = shared.content if shared else read_coco(own)
    check_same_images(place, own, content, split, sources)
    if shared is None:
        _check_other_folders(cfg, place, own, sources)
        odd = differing_objects(content, sources)
        if odd:
            tell(
                f"{split}: {odd} of the {len(content['images'])} images have other objects in {place}.ann_file {own} "
                f"than in {sources[0].file}; figures are measured against {own}"
            )
    ids = _check_classes(split, dataset, own, content)
    wanted = _of(content, ids)
    check_crowds(own, wanted)
    if is_coco_metric(evaluator):
        check_ids(own, evaluator, content["images"], wanted, ids)
        check_class_order(own, evaluator, ids)
    metric = evaluator.get("metric")
    if "segm" in (metric if isinstance(metric, list | tuple) else [metric]):
        check_masks(own, content, wanted, short=False)


def _check_other_folders(cfg: Config, place: str, own: Path, sources: list[Source]) -> None:
    """Refuse an evaluator's file that another split reads with images of another folder, which may have equal names."""
    folders = {source.folder.resolve() for source in sources}
    for split in ("train", "val", "test"):
        name = f"{split}_dataloader.dataset"
        for leaf in leaves_of((cfg.get(f"{split}_dataloader") or {}).get("dataset"), name):
            if not reads_coco(leaf, name, cfg.get("default_scope") or "mmdet"):
                continue
            file, folder = path_in(leaf, leaf["ann_file"]), pictures_of(leaf)
            if file.is_file() and own.samefile(file) and folder.resolve() not in folders:
                raise BadInputError(
                    f"{place}.ann_file {own} is the file of {name}, whose images lie in {folder}, and those that are "
                    f"measured lie in {sources[0].folder}; give the evaluator {sources[0].file}"
                )


def _check_classes(split: str, dataset: Any, file: Path, content: dict[str, Any]) -> list[Any]:
    """Return the ids of a data set's classes, in the file's order; refuse classes that mmdet would confuse."""
    wanted = _classes_of(split, dataset)
    in_file = [category["name"] for category in content["categories"]]
    names = [name for name in in_file if name in wanted]
    setting = f"{split}_dataloader.dataset.metainfo=dict(classes=(...))"
    odd = [name for name in wanted if name not in in_file]
    if odd and "classes" not in (dataset.get("metainfo") or {}):
        how_many = f"{len(odd)} of the {len(wanted)} classes are" if names else f"none of the {len(wanted)} classes is"
        raise BadInputError(
            f"{split}_dataloader.dataset has no metainfo, so its classes are {dataset['type']}'s ({some_of(wanted)}): "
            f"{how_many} in {file}, which has {some_of(in_file)}; set {setting} to the names in the file, in all data "
            f"sets of the run, and num_classes of the heads to their number"
        )
    if not names:
        raise BadInputError(
            f"none of the {len(wanted)} classes of the {split} data set ({some_of(wanted)}) is a category of {file}, "
            f"which has {some_of(in_file)}; {_likely_meant(odd, in_file)}set "
            f"{setting} to the names in the file, and num_classes of the heads to their number"
        )
    if odd:
        raise BadInputError(
            f"of the {len(wanted)} classes of the {split} data set {some_of(map(repr, odd))} is no category of {file}; "
            f"{_likely_meant(odd, in_file)}set {setting} to the names in the file, which has {some_of(in_file)}, or "
            f"add the missing categories to the file"
        )
    if names != list(wanted):
        # mmdet numbers classes as the file does: others would be learnt, and drawn, under each other's names.
        raise BadInputError(
            f"the classes of the {split} data set are {some_of(wanted)}, but {file} has of them, in this order, "
            f"{some_of(names)}; set {setting} to the file's names in the file's order, or add the missing categories "
            f"to the file{', each once' if len(names) > len(set(names)) else ''}"
        )
    return [category["id"] for category in content["categories"] if category["name"] in wanted]


def _likely_meant(odd: list[str], in_file: list[str]) -> str:
    """Say of names that a file lacks which of its names were meant, two of them where a comma is missing."""
    for name in odd:
        joined = [(one, name[len(one) :]) for one in in_file if name.startswith(one) and name[len(one) :] in in_file]
        if joined:
            return f"{name!r} is {joined[0][0]!r} and {joined[0][1]!r} without a comma between them; "
    near = [(name, near_names(name, in_file)) for name in odd]
    meant = [f"for {name!r} {hint.rstrip('?')}" for name, hint in near if hint.startswith("did you mean")]
    return f"{', '.join(meant[:3])}? " if meant else ""


def _classes_of(split: str, dataset: Any) -> tuple[str, ...]:
    metainfo = dataset.get("metainfo") or {}
    classes = metainfo.get("classes") if isinstance(metainfo, dict) else metainfo
    if isinstance(metainfo, dict) and "classes" not in metainfo:
        from mmdet.registry import DATASETS

        classes = DATASETS.get(dataset["type"]).METAINFO["classes"]
    if isinstance(classes, str):
        # mmdet would take its letters, or what contains it, for the names.
        raise BadInputError(
            f"{split}_dataloader.dataset.metainfo has classes={classes!r}, a text and no tuple of names; "
            f"a single name needs its comma: metainfo=dict(classes=({classes!r},))"
        )
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes) or not classes:
        raise BadInputError(
            f"{split}_dataloader.dataset.metainfo names the classes {classes!r}, expected dict(classes=('one', 'two'))"
        )
    return tuple(classes)
