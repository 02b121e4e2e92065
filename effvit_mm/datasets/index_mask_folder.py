"""Pictures in one folder, index masks in another: semantic segmentation of one's own pictures.

An index mask is a picture of one channel whose values are class numbers. Importing this module registers the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset

from effvit_mm.errors import BadInputError, some_of
from effvit_mm.image_files import (
    SUFFIXES,
    describe_difference,
    describe_left_out,
    find_images,
    fold_name,
    has_suffix,
    walk_files,
)
from effvit_mm.registry import DATASETS, near_path

IGNORED = 255
"""The value that mmsegmentation's losses and metrics leave out."""


@DATASETS.register_module()
class IndexMaskFolder(BaseSegDataset):
    """Pictures and, under the same names in another folder, PNGs whose pixel values are class numbers.

    By default ADE20K's layout under ``data_root``: ``images/training``, ``annotations/training`` and the same with
    ``validation`` (set ``data_prefix`` for it). Subfolders are read too; a picture's mask lies in the same one.

    Args:
        metainfo: ``dict(classes=('sky', 'road'), palette=[(r, g, b), ...])``; colours are chosen where none are given.
        data_root: Folder that the other paths are relative to.
        data_prefix: ``img_path`` and ``seg_map_path``, the folders of pictures and masks; without ``seg_map_path`` the
            pictures have no masks and can only be predicted.
        img_suffix: What the names of pictures end in, one suffix or several, in lower or upper case.
        seg_map_suffix: What the names of masks end in, likewise.
        reduce_zero_label: Whether classes count from 1 and 0 is ignored; otherwise they count from 0.
        ignore_index: Value in the masks of further pixels to leave out of training and measuring; 255 always is.
        **options: Everything else that mmseg's ``BaseSegDataset`` takes; with ``ann_file``, a text file of names
            without suffix, only those pictures are read.

    Raises:
        BadInputError: If a folder is missing, pictures have no mask, or classes and palette cannot be used. What the
            masks hold is checked by ``effvit_mm.engine.segmentation_check`` before a run.

    Differs from BaseSegDataset:
        ``ignore_index`` has an effect, several suffixes are allowed, and nothing is left out silently.
    """

    def __init__(
        self,
        *,
        metainfo: dict[str, Any],
        data_root: str | None = None,
        data_prefix: dict[str, str] | None = None,
        img_suffix: str | Sequence[str] = SUFFIXES,
        seg_map_suffix: str | Sequence[str] = ".png",
        reduce_zero_label: bool = False,
        ignore_index: int = IGNORED,
        **options: Any,
    ) -> None:
        check_metainfo(metainfo, reduce_zero_label)
        if not isinstance(ignore_index, int) or not 0 <= ignore_index <= IGNORED:
            raise BadInputError(f"ignore_index is {ignore_index!r}, expected a value of a mask, 0 to 255")
        super().__init__(
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path="images/training", seg_map_path="annotations/training"),
            img_suffix=_as_tuple(img_suffix),
            seg_map_suffix=_as_tuple(seg_map_suffix),
            reduce_zero_label=reduce_zero_label,
            ignore_index=ignore_index,
            **options,
        )

    @property
    def class_values(self) -> range:
        """The values of the classes in the masks, in the order of the classes."""
        first = int(self.reduce_zero_label)
        return range(first, first + len(self.metainfo["classes"]))

    @property
    def ignored_values(self) -> set[int]:
        """The values in the masks that are left out."""
        return {IGNORED, self.ignore_index} | ({0} if self.reduce_zero_label else set())

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the pictures with their masks, in the order of their names."""
        # LoadAnnotations first subtracts 1 where zero is ignored, then maps labels.
        label = self.ignore_index - int(self.reduce_zero_label)
        common = dict(
            label_map=None if self.ignore_index == IGNORED or label < 0 else {label: IGNORED},
            reduce_zero_label=self.reduce_zero_label,
        )
        samples = []
        for picture, mask in pairs_of(self).values():
            paths = dict(img_path=str(picture)) | ({} if mask is None else dict(seg_map_path=str(mask)))
            samples.append({**paths, **common, "seg_fields": []})
        return samples


def pairs_of(dataset: BaseSegDataset) -> dict[str, tuple[Path, Path | None]]:
    """Return the pictures of a data set of mmseg and their masks by their names, in the order of these.

    Args:
        dataset: The data set, whose files need not have been read yet.

    Raises:
        BadInputError: If a folder or the list of names is missing, or pictures, masks, or names of the list do not
            belong together.
    """
    pictures, masks = files_of(dataset)
    if masks is None:
        return {stem: (pictures[stem], None) for stem in sorted(pictures)}
    alone = sorted(pictures.keys() - masks.keys())
    if alone:
        raise BadInputError(
            f"{len(alone)} of the {len(pictures)} pictures of {dataset.data_prefix['img_path']} have no mask in "
            f"{dataset.data_prefix['seg_map_path']}: {some_of(pictures[stem].name for stem in alone)}; a mask has the "
            f"name of its picture and ends in {' or '.join(_as_tuple(dataset.seg_map_suffix))} (seg_map_suffix): add "
            f"the masks, or remove the pictures"
        )
    return {stem: (pictures[stem], masks[stem]) for stem in sorted(pictures)}


def files_of(dataset: BaseSegDataset) -> tuple[dict[str, Path], dict[str, Path] | None]:
    """Return the pictures of a data set of mmseg and the masks there are, each by their names without suffix.

    Args:
        dataset: The data set, whose files need not have been read yet; None for the masks where it names no folder.

    Raises:
        BadInputError: If a folder or the list of names is missing, or two files have one name.
    """
    pictures = _by_stem(Path(dataset.data_prefix["img_path"]), _as_tuple(dataset.img_suffix), "pictures")
    if dataset.ann_file:
        pictures = {stem: pictures[stem] for stem in _listed(Path(dataset.ann_file), pictures)}
    folder = dataset.data_prefix.get("seg_map_path")
    return pictures, None if folder is None else _by_stem(Path(folder), _as_tuple(dataset.seg_map_suffix), "masks")


def describe_files_left_out(dataset: BaseSegDataset) -> str:
    """Say which images and videos of the folder of pictures are not read; an empty string for none.

    Args:
        dataset: The data set, whose files need not have been read yet.
    """
    folder, suffixes = Path(dataset.data_prefix["img_path"]), _as_tuple(dataset.img_suffix)
    images, others = find_images(folder, suffixes)
    if not isinstance(dataset, IndexMaskFolder):
        # mmseg's own data sets tell capitals apart.
        others += [file for file in images if not file.name.endswith(suffixes)]
    if dataset.data_prefix.get("seg_map_path") == str(dataset.data_prefix["img_path"]):
        others = [file for file in others if not has_suffix(file, _as_tuple(dataset.seg_map_suffix))]
    remedy = f"img_suffix of the data set is {' or '.join(suffixes)}; set it, or convert them, to have them read"
    return describe_left_out(folder, others, remedy)


def check_metainfo(metainfo: Any, reduce_zero_label: bool) -> None:
    """Check the classes of index masks and their colours.

    Raises:
        BadInputError: If the classes are no distinct names, more than masks can hold, or without a colour each.
    """
    classes = metainfo.get("classes") if isinstance(metainfo, dict) else None
    if not isinstance(classes, list | tuple) or not classes or not all(isinstance(name, str) for name in classes):
        raise BadInputError(
            f"metainfo is {metainfo!r}, expected dict(classes=('sky', 'road')), the names of the classes"
        )
    twice = sorted({name for name in classes if list(classes).count(name) > 1})
    if twice:
        raise BadInputError(f"metainfo.classes names {some_of(twice)} twice; each class has a name of its own")
    most = IGNORED - int(bool(reduce_zero_label))
    if len(classes) > most:
        raise BadInputError(f"metainfo.classes has {len(classes)} names, but a mask can hold {most} classes at most")
    check_palette(metainfo.get("palette"), len(classes))


def check_palette(palette: Any, num_classes: int) -> None:
    """Check that there is a colour for each class, or no palette.

    Raises:
        BadInputError: If not.
    """
    if not palette:
        return
    if not isinstance(palette, list | tuple) or len(palette) != num_classes:
        found = f"{len(palette)} colours" if isinstance(palette, list | tuple) else repr(palette)
        raise BadInputError(f"metainfo.palette has {found} for {num_classes} classes; give one a class, or no palette")
    for place, colour in enumerate(palette):
        if not isinstance(colour, list | tuple) or len(colour) != 3 or not all(_is_byte(value) for value in colour):
            raise BadInputError(f"metainfo.palette[{place}] is {colour!r}, expected (red, green, blue), each 0 to 255")


def _by_stem(folder: Path, suffixes: tuple[str, ...], what: str) -> dict[str, Path]:
    """Return the files of a folder and its subfolders by their names below it, without the suffix."""
    if not folder.is_dir():
        raise BadInputError(f"the folder of the {what}, {folder}, does not exist; set data_root or data_prefix")
    found: dict[str, Path] = {}
    for file in walk_files(folder):
        suffix = next((suffix for suffix in suffixes if has_suffix(file.name, [suffix])), None)
        if suffix is None:
            continue
        stem = file.relative_to(folder).as_posix()[: -len(suffix)]
        if stem in found:
            raise BadInputError(
                f"{folder} has two {what} of one name, {found[stem].name} and {file.name}; rename or remove one, or "
                f"name the suffix to read ({'img_suffix' if what == 'pictures' else 'seg_map_suffix'})"
            )
        found[stem] = file
    if not found:
        raise BadInputError(
            f"{folder} has no {what}: no name ends in {' or '.join(suffixes)}; set the suffix, or add them"
        )
    return found


def _listed(file: Path, pictures: dict[str, Path]) -> list[str]:
    """Return the names that a list holds, one a line."""
    if not file.is_file():
        near = near_path(file) or "expected a text file of picture names, or no ann_file"
        raise BadInputError(f"ann_file {file} does not exist; {near}")
    stems = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    unknown = [stem for stem in stems if stem not in pictures]
    if unknown or not stems:
        raise BadInputError(
            f"ann_file {file} names {len(stems)} pictures, {len(unknown)} of which are not there: {some_of(unknown)}; "
            f"expected names without suffix, such as {some_of(sorted(pictures)[:1])}"
            + _describe_near(unknown, pictures)
        )
    return stems


def _describe_near(unknown: list[str], pictures: dict[str, Path]) -> str:
    """Say which picture the first unknown name of a list may mean, and how the two differ."""
    folded = {fold_name(stem): stem for stem in pictures}
    for stem in unknown:
        asked = stem if fold_name(stem) in folded else stem.rpartition(".")[0]
        if fold_name(asked) in folded:
            found = folded[fold_name(asked)]
            return f"; {stem!r} and {found!r} differ by {describe_difference(stem, found)}"
    return ""


def _as_tuple(suffix: str | Sequence[str]) -> tuple[str, ...]:
    return (suffix,) if isinstance(suffix, str) else tuple(suffix)


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= 255
