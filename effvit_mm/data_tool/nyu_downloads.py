"""The files of NYU Depth V2 in a folder of downloads, packed or not."""

import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath

from effvit_mm.data_tool.archives import check_name, files_in, reading, write_member
from effvit_mm.data_tool.opening import show_progress
from effvit_mm.data_tool.whole_folder import place
from effvit_mm.errors import BadInputError, some_of

LISTS = {split: (f"nyu_{split}.txt", f"nyudepthv2_{split}_files_with_gt.txt") for split in ("train", "test")}
LABELLED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
NEEDED = {
    "train": (
        f"the list ({' or '.join(LISTS['train'])}, in the folder train_test_inputs of https://github.com/cleinc/bts) "
        f"and the pictures (sync.zip, to which its README points, packed or not)"
    ),
    "test": (
        f"{LABELLED} of https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html and the official split, {SPLITS}, in the "
        f"folder utils of https://github.com/cleinc/bts; or the pictures of official_splits/test and their list "
        f"({' or '.join(LISTS['test'])})"
    ),
}

Place = Path | tuple[Path, str]
"""A file, or an archive and the name of a member."""


def say_place(place: Place) -> str:
    """Name a file, or a member with its archive."""
    return str(place) if isinstance(place, Path) else f"{place[0]}: {place[1]}"


class Downloads:
    """The files in a folder of downloads, by the last two parts of their paths: ``kitchen_0028b/rgb_00045.jpg``.

    Lists and the official split are found in zip archives too. What is unpacked goes before what is packed.

    Args:
        source: The folder.
        archives: Closes the archives.

    Raises:
        BadInputError: If it is no folder.
    """

    def __init__(self, source: Path, archives: ExitStack) -> None:
        self.source = source
        self._places: dict[str, Place] = {}
        self._named: dict[str, Place] = {}
        self._archives: dict[Path, zipfile.ZipFile] = {}
        self._torn: list[Path] = []
        files = files_in(source)
        for file in files:
            self._add(file.parts, file)
        for file in (file for file in files if file.suffix == ".zip"):
            try:
                archive = archives.enter_context(zipfile.ZipFile(file))
            except (zipfile.BadZipFile, OSError):
                self._torn.append(file)
                continue
            self._archives[file] = archive
            for name in archive.namelist():
                self._add(PurePosixPath(name).parts, (file, name))

    def _add(self, parts: Sequence[str], place: Place) -> None:
        if not parts:
            return
        if parts[-1].endswith((".jpg", ".png")):
            self._places.setdefault("/".join(parts[-2:]), place)
        elif parts[-1] in (SPLITS, *LISTS["train"], *LISTS["test"]) or (
            parts[-1] == LABELLED and isinstance(place, Path)
        ):
            self._named.setdefault(parts[-1], place)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    @property
    def matlab(self) -> tuple[Path, bytes] | None:
        """The labelled pictures, and the official split as it was read; None where one of them is missing."""
        labelled, splits = self._named.get(LABELLED), self._named.get(SPLITS)
        return (labelled, self._read(splits)) if isinstance(labelled, Path) and splits else None

    @property
    def torn(self) -> str:
        """Names the archives that cannot be opened, for the end of a message."""
        names = some_of(self._torn, 3)
        return f"; {names} cannot be opened as a zip archive: fetch it again" if names else ""

    def list_of(self, split: str) -> list[tuple[str, ...]]:
        """Return picture, depth and focal length of each line of a split's list, the paths from the scene's folder on.

        Args:
            split: ``'train'`` or ``'test'``.

        Returns:
            Nothing where there is no list.

        Raises:
            BadInputError: If it is no such list.
        """
        # In the order they were found: the folder itself first, archives last.
        place = next((place for name, place in self._named.items() if name in LISTS[split]), None)
        if place is None:
            return []
        return _read_list(self._read(place).decode(errors="replace"), say_place(place))

    def check(self, keys: Sequence[str], split: str) -> None:
        """Refuse a list whose files are not all there."""
        missing = [key for key in keys if key not in self]
        if missing:
            raise BadInputError(
                f"{len(missing):,} of the {len(keys):,} {split} files of the list "
                f"{'is' if len(missing) == 1 else 'are'} not in {self.source}: "
                f"{some_of(missing, 3)}; needed is {NEEDED[split]}{self.torn}"
            )
        for key in keys:
            place = self._places[key]
            if not isinstance(place, Path):
                check_name(place[1], place[0])

    def num_bytes(self, keys: Sequence[str]) -> int:
        """Return what files take that come out of archives; others are linked."""
        packed = (place for place in map(self._places.__getitem__, keys) if not isinstance(place, Path))
        return sum(self._archives[file].getinfo(name).file_size for file, name in packed)

    def take(self, keys: Sequence[str], split: str, folder: Path) -> None:
        """Bring files into a folder."""
        for key in show_progress(keys, f"{split} files", len(keys)):
            source = self._places[key]
            if isinstance(source, Path):
                place(source, folder / key)
            else:
                write_member(partial(self._archives[source[0]].open, source[1]), folder / key, source[0])

    def _read(self, place: Place) -> bytes:
        if isinstance(place, Path):
            return place.read_bytes()
        with reading(place[0]):
            return self._archives[place[0]].read(place[1])


def _read_list(text: str, where: str) -> list[tuple[str, ...]]:
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) > 1 and words[1] == "None":
            continue
        if words and (len(words) not in (2, 3) or not all(_is_path(word) for word in words[:2])):
            raise BadInputError(f"list {where}, line {number} is {line[:80]!r}, expected 'picture depth focal'")
        if words:
            pairs.append((*("/".join(PurePosixPath(word).parts[-2:]) for word in words[:2]), *words[2:]))
    return pairs


def _is_path(word: str) -> bool:
    return "/" in word.lstrip("/") and ".." not in word.split("/")
