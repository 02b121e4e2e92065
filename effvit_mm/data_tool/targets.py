"""What is to be looked through: a benchmark by name, the data sets of a config, or a bare folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from effvit_mm.data_tool.bare_folders import bare_folder
from effvit_mm.data_tool.benchmarks import DEFAULT_ROOTS, benchmark
from effvit_mm.data_tool.part import FORMATS, Part, Target, say_option
from effvit_mm.engine.classification_check import build_class_folders, reads_classes
from effvit_mm.engine.data_check import leaves_of, reads_coco
from effvit_mm.engine.preflight import check_run
from effvit_mm.engine.run import load_config
from effvit_mm.engine.segmentation_check import pairs_masks
from effvit_mm.errors import BadInputError
from effvit_mm.registry import near_names


def find_targets(what: str, root: Path | None = None, kind: str | None = None) -> list[Target]:
    """Return the data sets that a command names.

    Args:
        what: A benchmark, a config, or a folder.
        root: Where the benchmark lies, or the folder that takes the place of a config's ``data_root``.
        kind: The format of a folder, one of ``FORMATS``.

    Raises:
        BadInputError: If there is no such thing, or a folder without its format.
    """
    if kind is None and what in DEFAULT_ROOTS:
        return benchmark(what, root)
    if kind is None and what.endswith(".py"):
        return [_of_config(Path(what), root)]
    if kind is None:
        hint = (
            f"say what it holds: --format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            if Path(what).is_dir()
            else near_names(what, [*DEFAULT_ROOTS, "CONFIG.py", "FOLDER"])
        )
        raise BadInputError(f"{what} is no data set by name and no config; {hint}")
    if kind not in FORMATS:
        raise BadInputError(f"--format {kind} is not known; {near_names(kind, FORMATS)}")
    folder = Path(what)
    if not folder.is_dir():
        raise BadInputError(f"folder {folder} does not exist, looked from {Path.cwd()}")
    if root is not None:
        raise BadInputError(f"--root {root} has no meaning beside a folder; give one of them")
    return [bare_folder(folder, kind)]


def _of_config(file: Path, root: Path | None) -> Target:
    """Return the data sets of a config, and what its run would refuse of them, or of what is to learn from them."""
    splits = ("train", "val", "test")
    cfg = load_config(file, data_root=root, splits=splits)
    scope = cfg.get("default_scope") or "mmdet"
    parts: dict[str, Part] = {}
    for split in splits:
        name = f"{split}_dataloader.dataset"
        for place, leaf in enumerate(leaves_of((cfg.get(f"{split}_dataloader") or {}).get("dataset"), name)):
            part = _part_of(split if not place else f"{split} {place + 1}", leaf, name, scope)
            if part is not None:
                # Most configs test on what they validate on.
                key = {key: value for key, value in part.spec.items() if key not in ("pipeline", "test_mode")}
                parts.setdefault(f"{key} {split == 'train'}", part)
    if not parts:
        raise BadInputError(
            f"{file} names no data set that can be looked through: COCO's format, index masks, depth maps and class "
            f"folders can"
        )
    used = tuple(split for split in splits if cfg.get(f"{split}_dataloader"))
    layout = _layout_of(parts.values())
    notes: list[str] = []
    refusals: tuple[str, ...] = ()
    try:
        check_run(cfg, used, open_pictures=False, tell=notes.append)
    except BadInputError as error:
        refusals = (str(error).replace("--data-root DIR", "--root DIR (of a run: --data-root DIR)"),)
    return Target(file.stem, tuple(parts.values()), layout, refusals, tuple(notes))


def _layout_of(parts: Iterable[Part]) -> str:
    """Say where the files of depth data sets belong: of other kinds the refusal of a run says it."""
    from effvit_mm import depth

    kinds = [part.spec["type"] for part in parts if part.kind == "depth"]
    classes = [getattr(depth, kind) if isinstance(kind, str) else kind for kind in kinds]
    return say_option("\n".join(dict.fromkeys(kind.SOURCE for kind in classes)))


def _part_of(split: str, leaf: Any, name: str, scope: str) -> Part | None:
    from effvit_mm import depth

    if leaf["type"] in ("DepthListDataset", "DepthFolderDataset", depth.DepthListDataset, depth.DepthFolderDataset):
        return Part(split, "depth", leaf)
    if pairs_masks(leaf, scope):
        return Part(split, "masks", leaf)
    if reads_classes(leaf, scope):
        built = build_class_folders(leaf)
        spec = dict(folder=built.img_prefix, ann_file=built.ann_file or None, extensions=tuple(built.extensions))
        return Part(split, "folders", {**spec, "classes": built.CLASSES})
    return Part(split, "coco", leaf) if reads_coco(leaf, name, scope) else None
