"""Arranges NYU Depth V2 as BTS does, out of what its authors and BTS's repository offer for download."""

import os
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from effvit_mm.data_tool.nyu_labelled import write_test_pictures
from effvit_mm.data_tool.opening import show_progress
from effvit_mm.data_tool.whole_folder import made_whole, place
from effvit_mm.errors import BadInputError

FOLDERS = {"train": "sync", "test": "official_splits/test"}
LISTS = {split: (f"nyu_{split}.txt", f"nyudepthv2_{split}_files_with_gt.txt") for split in FOLDERS}
LABELLED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
NUM_EXAMPLES = 3
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


def prepare_nyu(source: Path, root: Path, *, only: str | None = None) -> Path:
    """Write the layout that ``configs/nyu`` expect: lists, training and test pictures with their depth.

    Files are linked where the file system can, copied otherwise, and taken out of zip archives; those of no list are
    left where they are.

    Args:
        source: Folder with what was downloaded, anywhere inside it.
        root: Folder to make.
        only: ``'train'`` or ``'test'`` alone.

    Returns:
        The folder.

    Raises:
        BadInputError: If something needed is not there, by name; nothing is written then.
    """
    if not source.is_dir():
        raise BadInputError(f"--source {source} is no folder; give the one with what was downloaded")
    with made_whole(root) as made, ExitStack() as archives:
        found = _Found(source, archives)
        for split in (only,) if only else FOLDERS:
            pairs = _read_list(found.list_of(split))
            if split == "test" and found.matlab and not (pairs and all(key in found for key in _files(pairs))):
                made_from_matlab = write_test_pictures(*found.matlab, made / FOLDERS[split])
                pairs = _refuse_others(pairs, made_from_matlab, found.matlab[0])
            elif pairs:
                found.take(_files(pairs), made / FOLDERS[split], split)
            else:
                raise BadInputError(f"{source} holds no list of the {split} pictures; needed is {NEEDED[split]}")
            text = "".join(f"{' '.join(line)}\n" for line in pairs)
            (made / f"nyu_{split}.txt").write_text(text, encoding="utf-8")
    return root


class _Found:
    """The files in a folder of downloads, by the last two parts of their paths: ``kitchen_0028b/rgb_00045.jpg``.

    Args:
        source: The folder.
        archives: Closes the archives.
    """

    def __init__(self, source: Path, archives: ExitStack) -> None:
        self.source = source
        self._places: dict[str, Place] = {}
        self._named: dict[str, Path] = {}
        self._archives: dict[Path, zipfile.ZipFile] = {}
        files = [Path(place, name) for place, _, names in os.walk(source, followlinks=True) for name in sorted(names)]
        for file in files:
            self._named.setdefault(file.name, file)
            if file.suffix in (".jpg", ".png"):
                self._places["/".join(file.parts[-2:])] = file
        for file in files:
            if file.suffix == ".zip" and zipfile.is_zipfile(file):
                archive = self._archives[file] = archives.enter_context(zipfile.ZipFile(file))
                for name in archive.namelist():
                    # What is unpacked already is not taken out again.
                    self._places.setdefault("/".join(PurePosixPath(name).parts[-2:]), (file, name))

    def __contains__(self, key: str) -> bool:
        return key in self._places

    @property
    def matlab(self) -> tuple[Path, Path] | None:
        """The labelled pictures and the official split, where both are there."""
        return (self._named[LABELLED], self._named[SPLITS]) if {LABELLED, SPLITS} <= self._named.keys() else None

    def list_of(self, split: str) -> Path | None:
        """The list of a split; that of this name in the folder itself goes before others."""
        near = [self.source / name for name in LISTS[split] if (self.source / name).is_file()]
        return (near or [self._named[name] for name in LISTS[split] if name in self._named] or [None])[0]

    def take(self, keys: Sequence[str], folder: Path, split: str) -> None:
        """Bring files into a folder."""
        missing = [key for key in keys if key not in self]
        if missing:
            more = ", ..." if len(missing) > NUM_EXAMPLES else ""
            raise BadInputError(
                f"{len(missing):,} of the {len(keys):,} {split} files of the list are not in {self.source}: "
                f"{', '.join(missing[:NUM_EXAMPLES])}{more}; needed is {NEEDED[split]}"
            )
        for key in show_progress(keys, f"{split} files", len(keys)):
            source = self._places[key]
            if isinstance(source, Path):
                place(source, folder / key)
                continue
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(self._archives[source[0]].read(source[1]))


def _read_list(file: Path | None) -> list[tuple[str, ...]]:
    """Return picture, depth and focal length of each line, the paths from the scene's folder on."""
    pairs = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if file else (), 1):
        words = line.split()
        if len(words) > 1 and words[1] == "None":
            continue
        if words and (len(words) not in (2, 3) or not all("/" in word.lstrip("/") for word in words[:2])):
            raise BadInputError(f"list {file}, line {number} is {line[:80]!r}, expected 'picture depth focal'")
        if words:
            pairs.append((*("/".join(PurePosixPath(word).parts[-2:]) for word in words[:2]), *words[2:]))
    return pairs


def _files(pairs: Iterable[tuple[str, ...]]) -> list[str]:
    return [key for picture, depth, *_ in pairs for key in (picture, depth)]


def _refuse_others(pairs: list[tuple[str, ...]], made: list[tuple[str, ...]], labelled: Path) -> list[tuple[str, ...]]:
    """Return the list that fits the pictures made of the labelled file; refuse one that names others."""
    odd = sorted(set(_files(pairs)) - set(_files(made)))
    if odd:
        raise BadInputError(
            f"the list of test pictures names {len(odd):,} files that {labelled} does not give, such as {odd[0]}; take "
            f"the list away, and one is written"
        )
    return pairs or made
