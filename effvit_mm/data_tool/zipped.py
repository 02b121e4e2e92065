"""Unpacks COCO and ADE20K into the layout that the configs read."""

import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from effvit_mm.data_tool.archives import check_room, files_in, name_files, open_zip, write_member
from effvit_mm.data_tool.opening import show_progress
from effvit_mm.data_tool.whole_folder import made_whole
from effvit_mm.errors import BadInputError


@dataclass(frozen=True)
class Piece:
    """A folder or file of a layout, and where it comes from.

    Args:
        path: Below the root.
        url: Of the zip archive that holds it.
        split: To which it belongs.
        suffix: Of a folder's files; empty if the piece is a file.
        prefix: What stands before ``path`` in the archive.
    """

    path: str
    url: str
    split: str
    suffix: str = ""
    prefix: str = ""

    @property
    def archive(self) -> str:
        """The archive's name."""
        return self.url.rpartition("/")[2]

    def members(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        """Return the members that belong to it, by their paths below the root."""
        return {
            member.filename.removeprefix(self.prefix): member
            for member in archive.infolist()
            if self._holds(member.filename.removeprefix(self.prefix))
        }

    def _holds(self, path: str) -> bool:
        return path.rpartition("/")[0] == self.path and path.endswith(self.suffix) if self.suffix else path == self.path


_COCO_SITE = "http://images.cocodataset.org"
_COCO_LISTS = f"{_COCO_SITE}/annotations/annotations_trainval2017.zip"
_ADE_ZIP = "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip"
LAYOUTS = {
    "coco": tuple(
        piece
        for split in ("train", "val")
        for piece in (
            Piece(f"{split}2017", f"{_COCO_SITE}/zips/{split}2017.zip", split, ".jpg"),
            Piece(f"annotations/instances_{split}2017.json", _COCO_LISTS, split),
        )
    ),
    "ade20k": tuple(
        Piece(f"{folder}/{name}", _ADE_ZIP, split, suffix, prefix="ADEChallengeData2016/")
        for split, name in (("train", "training"), ("val", "validation"))
        for folder, suffix in (("images", ".jpg"), ("annotations", ".png"))
    ),
}


def say_archives(name: str) -> str:
    """Name the archives of a benchmark."""
    return ", ".join(dict.fromkeys(piece.archive for piece in LAYOUTS[name]))


def unpack_benchmark(name: str, source: Path, root: Path, *, only: str | None = None) -> Path:
    """Unpack the archives of a benchmark.

    Args:
        name: One of ``LAYOUTS``.
        source: Folder with the archives, anywhere inside it; they are left as they are.
        root: Folder to make.
        only: ``'train'`` or ``'val'`` alone, beside what is there.

    Returns:
        The folder.

    Raises:
        BadInputError: If an archive is missing, torn or another one; nothing is written then.
    """
    pieces = [piece for piece in LAYOUTS[name] if only in (None, piece.split)]
    with ExitStack() as opened:
        archives = {file.name: opened.enter_context(open_zip(file)) for file in _find(pieces, source)}
        chosen: list[tuple[str, zipfile.ZipFile, zipfile.ZipInfo]] = []
        for piece in pieces:
            archive = archives[piece.archive]
            members = piece.members(archive)
            if not members:
                wanted = f"{piece.prefix}{piece.path}" + (f"/*{piece.suffix}" if piece.suffix else "")
                raise BadInputError(f"{archive.filename} holds no {wanted}; fetch it again from {piece.url}")
            chosen += [(path, archive, member) for path, member in members.items()]
        check_room(root, sum(member.file_size for _, _, member in chosen))
        with made_whole(root, [piece.path for piece in pieces] if only else ()) as made:
            for path, archive, member in show_progress(chosen, f"{name} files", len(chosen)):
                write_member(partial(archive.open, member), made / path, str(archive.filename))
    return root


def _find(pieces: list[Piece], source: Path) -> list[Path]:
    """Return the archives of the pieces; say which are missing, and where each comes from."""
    found = name_files(files_in(source))
    urls = {piece.archive: piece.url for piece in pieces}
    missing = [name for name in urls if name not in found]
    if missing:
        listing = "".join(f"\n  {name}   {urls[name]}" for name in missing)
        needed = "the archive needed" if len(urls) == 1 else f"{len(missing)} of the {len(urls)} archives needed"
        raise BadInputError(
            f"{needed} {'is' if len(missing) == 1 else 'are'} not in --source {source}:{listing}\nFetch them as "
            f"they are, packed. What is unpacked already needs no preparing: see the layout in docs/data.md."
        )
    return [found[name] for name in urls]
