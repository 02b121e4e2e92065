"""Arranges NYU Depth V2 as BTS does, out of what its authors and BTS's repository offer for download."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from effvit_mm.data_tool.archives import check_room
from effvit_mm.data_tool.nyu_downloads import LABELLED, NEEDED, SPLITS, Downloads
from effvit_mm.data_tool.nyu_labelled import Readers, find_readers, write_labelled_pictures
from effvit_mm.data_tool.whole_folder import made_whole
from effvit_mm.errors import BadInputError

FOLDERS = {"train": "sync", "test": "official_splits/test"}

Pairs = list[tuple[str, ...]]
"""Picture, depth and focal length of each line of a list."""


def prepare_nyu(source: Path, root: Path, *, only: str | None = None, labelled_train: bool = False) -> Path:
    """Write the layout that ``configs/nyu`` expect: lists, training and test pictures with their depth.

    Files are linked where the file system can, copied otherwise, and taken out of zip archives; those of no list are
    left where they are.

    Args:
        source: Folder with what was downloaded, anywhere inside it.
        root: Folder to make.
        only: ``'train'`` or ``'test'`` alone, beside what is there.
        labelled_train: Train on the official training pictures of the labelled file, 795, in place of BTS's 24,231.

    Returns:
        The folder.

    Raises:
        BadInputError: If something needed is not there, by name; nothing is written then.
    """
    if labelled_train and only == "test":
        raise BadInputError("--labelled-train has no meaning beside --only test; leave one of them out")
    splits = (only,) if only else tuple(FOLDERS)
    with ExitStack() as archives:
        found = Downloads(source, archives)
        plans = {split: _plan(found, split, root, labelled_train and split == "train") for split in splits}
        parts = [part for split in splits for part in (FOLDERS[split], f"nyu_{split}.txt")]
        with made_whole(root, parts if only else ()) as made:
            for split, write in plans.items():
                text = "".join(f"{' '.join(line)}\n" for line in write(made / FOLDERS[split]))
                (made / f"nyu_{split}.txt").write_text(text, encoding="utf-8")
    return root


def _plan(found: Downloads, split: str, root: Path, labelled: bool) -> Callable[[Path], Pairs]:
    """Return what writes the pictures of a split to a folder and gives their list."""
    pairs = [] if labelled else found.list_of(split)
    keys = _files(pairs)
    if labelled or (split == "test" and not (pairs and all(key in found for key in keys))):
        matlab = found.matlab
        if matlab:
            return partial(_take_labelled, find_readers(), *matlab, split, pairs)
        if labelled:
            raise BadInputError(
                f"--labelled-train takes the training pictures from {LABELLED}, which is not in {found.source} "
                f"together with {SPLITS}; needed is {NEEDED['test'].partition('; or')[0]}{found.torn}"
            )
    if not pairs:
        other = (
            ""
            if split == "test" or not found.matlab
            else (
                f"; {LABELLED} gives the test pictures (--only test), and 795 training pictures with --labelled-train"
            )
        )
        raise BadInputError(
            f"{found.source} holds no list of the {split} pictures; needed is {NEEDED[split]}{found.torn}{other}"
        )
    found.check(keys, split)
    check_room(root, found.num_bytes(keys))
    return partial(_take_listed, found, split, pairs)


def _take_listed(found: Downloads, split: str, pairs: Pairs, folder: Path) -> Pairs:
    found.take(_files(pairs), split, folder)
    return pairs


def _take_labelled(readers: Readers, labelled: Path, splits: bytes, split: str, pairs: Pairs, folder: Path) -> Pairs:
    made = write_labelled_pictures(readers, labelled, splits, split, folder)
    odd = sorted(set(_files(pairs)) - set(_files(made)))
    if odd:
        raise BadInputError(
            f"the list of {split} pictures names {len(odd):,} files that {labelled} does not give, such as {odd[0]}; "
            f"take the list away, and one is written"
        )
    return pairs or made


def _files(pairs: Iterable[tuple[str, ...]]) -> list[str]:
    return [key for picture, depth, *_ in pairs for key in (picture, depth)]
