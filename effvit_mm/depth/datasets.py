"""Data sets of pictures and 16-bit depth maps: a list of pairs (BTS's layout), or two folders.

Both look for every file before the run starts, and read some depth maps to see that their unit is the one the config
says: millimetres read as metres, or metres read as millimetres, train without an error and predict nonsense.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.dataset import BaseDataset

from effvit_mm.depth.files import MILLIMETRES, read_depth
from effvit_mm.errors import BadInputError, listed
from effvit_mm.image_files import SUFFIXES, NearFiles, describe_left_out, find_images, has_suffix
from effvit_mm.registry import DATASETS, near_path

NUM_SAMPLED = 16  # depth maps read by the check of their unit
TOY_HINT = "To see a run at once, without any data: add --toy to the command."


class DepthDataset(BaseDataset):
    """What both data sets share: pairs of files, checked.

    An entry has ``img_path``, ``depth_map_path``, ``depth_scale`` and an empty list ``seg_fields``. ``SOURCE`` says
    where files that are missing belong.
    """

    METAINFO: ClassVar[dict[str, Any]] = {}
    SOURCE: ClassVar[str]

    def __init__(
        self,
        *,
        data_prefix: Mapping[str, str],
        ann_file: str = "",
        data_root: str | None = None,
        depth_scale: float = MILLIMETRES,
        max_depth: float = 10.0,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
        lazy_init: bool = False,
        metainfo: Mapping[str, Any] | None = None,
    ) -> None:
        if not depth_scale > 0 or not max_depth > 0:
            raise ValueError(
                f"depth_scale={depth_scale} and max_depth={max_depth} must be above 0: units of the files in a metre "
                f"(1000 for millimetres), and the farthest depth expected, in metres"
            )
        self.depth_scale = float(depth_scale)
        self.max_depth = float(max_depth)
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root or "",
            data_prefix={"img_path": "", "depth_map_path": "", **data_prefix},
            pipeline=list(pipeline),
            test_mode=test_mode,
            indices=indices,
            lazy_init=lazy_init,
        )

    def full_init(self) -> None:
        """Read the list and check it.

        Raises:
            BadInputError: If files are missing, or depth is not in the unit that ``depth_scale`` says.
        """
        if not self._fully_initialized:
            super().full_init()
            self._check_unit()

    def _entry(self, picture: Path, depth: Path) -> dict[str, Any]:
        return dict(img_path=str(picture), depth_map_path=str(depth), depth_scale=self.depth_scale, seg_fields=[])

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the pairs, whose files have to be there."""
        entries, source = self.list_pairs()
        self._refuse_missing(entries, source)
        return entries

    def list_pairs(self) -> tuple[list[dict[str, Any]], str]:
        """Return the pairs there should be, without looking for their files, and what says so."""
        raise NotImplementedError

    def describe_left_out(self) -> str:
        """Say which images and videos of the folder of pictures are not read; a list names those it means."""
        return ""

    def _check_unit(self) -> None:
        """Compare some depth maps with the depth that is expected."""
        chosen = np.unique(np.linspace(0, len(self) - 1, NUM_SAMPLED).round().astype(int))
        files = [self.get_data_info(int(i))["depth_map_path"] for i in chosen]
        valid = [depth[depth > 0][::7] for depth in (read_depth(file, self.depth_scale) for file in files)]
        problem = self.unit_problem(np.concatenate(valid), files)
        if problem:
            raise BadInputError(problem)

    def unit_problem(self, depth: np.ndarray, files: Sequence[str]) -> str:
        """Return what is odd about depth as the unit of its files, or an empty string.

        A scale that is wrong by 1000 always shows: depth above 1/1000 of ``max_depth`` becomes more than ``max_depth``,
        and depth below ten times ``max_depth`` less than a hundredth of it.

        Args:
            depth: Measured depth of some maps, in metres as ``depth_scale`` says.
            files: The maps.
        """
        if not depth.size:
            return (
                f"{len(files)} depth maps such as {files[0]} hold no depth: all pixels are 0, nothing measured; "
                f"write the depth maps again"
            )
        median, far = float(np.median(depth)), float(np.percentile(depth, 99))
        if self.max_depth / 100 <= far and median <= self.max_depth:
            return ""
        stored = _say(median * self.depth_scale)
        metres = _say(median * self.depth_scale / MILLIMETRES)
        problem = "farther than it can be" if median > self.max_depth else "nearer than makes sense"
        return (
            f"depth read with depth_scale={self.depth_scale:g} is {problem}: the median of {len(files)} maps such as "
            f"{files[0]} is {_say(median)} m, with max_depth={self.max_depth:g} m. The files hold {stored} there: "
            f"as millimetres that is {metres} m (depth_scale=1000), as metres {stored} m (depth_scale=1); set "
            f"depth_scale of the data set, or max_depth of data set, head and metric"
        )

    def _refuse_missing(self, entries: Sequence[Mapping[str, Any]], source: str) -> None:
        files = [entry[key] for entry in entries for key in ("img_path", "depth_map_path")]
        missing = [file for file in files if not Path(file).is_file()]
        if missing:
            near = next(filter(None, map(NearFiles().describe, missing[:NUM_SAMPLED])), "")
            raise BadInputError(
                f"{len(missing)} of the {len(files)} files of {source} {'is' if len(missing) == 1 else 'are'} missing, "
                f"looked from {Path.cwd()}:{listed(missing)}\n"
                + (f"{near}\n" if near else "")
                + f"{self.SOURCE}\n{TOY_HINT}"
            )

    def _absent(self, what: str, path: Path) -> str:
        near = near_path(path)
        near = f"; {near}" if near else ""
        return f"{what} {path} does not exist, looked from {Path.cwd()}{near}\n{self.SOURCE}\n{TOY_HINT}"


def _say(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


@DATASETS.register_module()
class DepthListDataset(DepthDataset):
    """Pairs named by a list, as BTS's lists of NYU Depth V2 are: ``picture depth focal`` in every line.

    A slash at the start of a path is taken off (those of BTS's training list have one), the focal length is not used,
    and lines whose depth is ``None`` are passed over.

    Args:
        ann_file: The list.
        data_root: Folder of the list and of the prefixes.
        data_prefix: Folders that the paths of the list start from, ``dict(img_path=..., depth_map_path=...)``.
        depth_scale: Units of the depth files in a metre: 1000 for millimetres.
        max_depth: The farthest depth to expect, metres; used to check the unit.
        pipeline: Transforms.
        test_mode: Whether every picture counts as it is.
        indices: Use the first so many pairs, or those.
        lazy_init: Read the list later.
        metainfo: As MMEngine's data sets.

    Raises:
        BadInputError: If the list or files of it are missing, a line is no pair, or the unit is not what is said.
    """

    SOURCE = (
        "NYU Depth V2 in BTS's layout is described in docs/depth.md; python tools/data.py prepare nyu makes it. Say "
        "where the\nlist and its files lie with --data-root DIR."
    )

    def list_pairs(self) -> tuple[list[dict[str, Any]], str]:
        """Read the list."""
        file = Path(self.ann_file)
        if not file.is_file():
            raise BadInputError(self._absent("list", file))
        entries = []
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            if len(words) not in (2, 3):
                raise BadInputError(
                    f"list {file}, line {number} is {line[:80]!r}, expected 'picture depth' or 'picture depth focal' "
                    f"without spaces in the names"
                )
            if words[1] == "None":
                continue
            picture, depth = (word.lstrip("/") for word in words[:2])
            entries.append(
                self._entry(
                    Path(self.data_prefix["img_path"], picture), Path(self.data_prefix["depth_map_path"], depth)
                )
            )
        if not entries:
            raise BadInputError(f"list {file} names no pair; write 'picture depth' in each line")
        return entries, f"list {file}"


@DATASETS.register_module()
class DepthFolderDataset(DepthDataset):
    """A folder of pictures and one of depth maps, named alike but for their ends: your own data, or mmseg's NYU.

    Args:
        data_prefix: ``dict(img_path='images/train', depth_map_path='depth/train')``; searched with all their folders.
        data_root: Folder that the prefixes start from.
        img_suffix: Ends of the names of pictures, such as ``'.jpg'`` or ``'_rgb.png'``, in capitals or not.
        depth_map_suffix: What stands in their place in the names of depth maps, such as ``'.png'`` or ``'_depth.png'``.
        depth_scale: Units of the depth files in a metre: 1000 for millimetres.
        max_depth: The farthest depth to expect, metres; used to check the unit.
        pipeline: Transforms.
        test_mode: Whether every picture counts as it is.
        indices: Use the first so many pairs in the order of their names, or those.
        lazy_init: Read the folders later.
        metainfo: As MMEngine's data sets.

    Raises:
        BadInputError: If a folder is missing or empty, a picture has no depth map, or the unit is not what is said.
    """

    SOURCE = (
        "Pictures and depth maps lie under equal names in the two folders that data_prefix names under data_root; say "
        "where that\nis with --data-root DIR. docs/depth.md shows the layout of your own data."
    )

    def __init__(
        self,
        *,
        data_prefix: Mapping[str, str],
        data_root: str | None = None,
        img_suffix: str | Sequence[str] = SUFFIXES,
        depth_map_suffix: str = ".png",
        depth_scale: float = MILLIMETRES,
        max_depth: float = 10.0,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
        lazy_init: bool = False,
        metainfo: Mapping[str, Any] | None = None,
    ) -> None:
        self.img_suffix = (img_suffix,) if isinstance(img_suffix, str) else tuple(img_suffix)
        self.depth_map_suffix = depth_map_suffix
        super().__init__(
            data_prefix=data_prefix,
            data_root=data_root,
            depth_scale=depth_scale,
            max_depth=max_depth,
            pipeline=pipeline,
            test_mode=test_mode,
            indices=indices,
            lazy_init=lazy_init,
            metainfo=metainfo,
        )

    def _split_pictures(self) -> tuple[list[Path], list[Path]]:
        """Return the pictures, and the images and videos that are left out."""
        pictures, depths = (Path(self.data_prefix[key]) for key in ("img_path", "depth_map_path"))
        found, left_out = find_images(pictures, self.img_suffix)
        if depths == pictures:
            found, left_out = (
                [file for file in files if not has_suffix(file, [self.depth_map_suffix])] for files in (found, left_out)
            )
        return found, left_out

    def describe_left_out(self) -> str:
        """Say which images and videos are left out."""
        _, left_out = self._split_pictures()
        remedy = f"img_suffix is {' or '.join(self.img_suffix)}; set it, or convert them, to have them read"
        return describe_left_out(Path(self.data_prefix["img_path"]), left_out, remedy)

    def list_pairs(self) -> tuple[list[dict[str, Any]], str]:
        """Pair the files of the two folders."""
        pictures, depths = (Path(self.data_prefix[key]) for key in ("img_path", "depth_map_path"))
        for folder in (pictures, depths):
            if not folder.is_dir():
                raise BadInputError(self._absent("folder", folder))
        suffixes = tuple(suffix.lower() for suffix in self.img_suffix)
        found, _ = self._split_pictures()
        if not found:
            raise BadInputError(f"folder {pictures} holds no picture ending in {', '.join(self.img_suffix)}")
        entries = []
        for file in found:
            end = next(suffix for suffix in suffixes if file.name.lower().endswith(suffix))
            stem = file.relative_to(pictures).as_posix()[: -len(end)]
            entries.append(self._entry(file, depths / f"{stem}{self.depth_map_suffix}"))
        return entries, f"the pictures of {pictures} and depth maps of {depths}"
