"""Sorts ImageNet's validation pictures, which come in one folder, into class folders."""

import re
from pathlib import Path

from effvit_mm.data_tool.opening import show_progress
from effvit_mm.data_tool.whole_folder import made_whole, place
from effvit_mm.errors import BadInputError

NUM_EXAMPLES = 3
# "n01751748", "ILSVRC2012_val_00000001.JPEG n01751748", or Kaggle's "ILSVRC2012_val_00000001,n01751748 85 1 499 272"
LINE = re.compile(r"(?:(?P<picture>[^\s,]+)[\s,]+)?(?P<synset>n\d{8})\b.*")
HEADER = re.compile(r"ImageId\b.*", re.IGNORECASE)


def sort_validation(source: Path, synsets: Path, root: Path) -> Path:
    """Write class folders with the pictures of a flat folder; they are linked where the file system can.

    Args:
        source: Folder of the pictures.
        synsets: Says the class of each picture: a synset a line, in the order of the pictures' names, or lines that
            begin with the picture's name, such as Kaggle's ``LOC_val_solution.csv``.
        root: Folder to make, such as ``data/imagenet/val``.

    Returns:
        The folder.

    Raises:
        BadInputError: If pictures and lines do not belong together; nothing is written then.
    """
    if not source.is_dir():
        raise BadInputError(f"--source {source} is no folder; give the one with the validation pictures")
    pictures = sorted(file for file in source.iterdir() if file.suffix.lower() in (".jpeg", ".jpg", ".png"))
    if not pictures:
        raise BadInputError(
            f"--source {source} holds no picture; give the folder that ILSVRC2012_img_val.tar unpacks to"
        )
    classes = _classes(synsets, pictures)
    with made_whole(root) as made:
        for picture in show_progress(pictures, "pictures", len(pictures)):
            place(picture, made / classes[picture.stem] / picture.name)
    return root


def _classes(file: Path, pictures: list[Path]) -> dict[str, str]:
    """Return the synset of each picture by its name without ending."""
    if not file.is_file():
        raise BadInputError(f"--synsets {file} does not exist; give the file that says the class of each picture")
    named: dict[str, str] = {}
    in_order = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match = LINE.fullmatch(line.strip())
        if match and match["picture"]:
            named[Path(match["picture"]).stem] = match["synset"]
        elif match:
            in_order.append(match["synset"])
        elif line.strip() and not HEADER.fullmatch(line.strip()):
            raise BadInputError(
                f"--synsets {file}, line {number} is {line[:80]!r}, expected a synset such as n01751748, with or "
                f"without the picture's name before it; the numbers of the development kit are not the places of the "
                f"classes in the alphabet and are not taken"
            )
    if named and in_order:
        raise BadInputError(f"--synsets {file} names the picture in {len(named)} lines and not in {len(in_order)}")
    if in_order and len(in_order) != len(pictures):
        raise BadInputError(
            f"--synsets {file} has {len(in_order):,} lines for {len(pictures):,} pictures of {pictures[0].parent}; "
            f"expected one a picture, in the order of their names"
        )
    named = named or {picture.stem: synset for picture, synset in zip(pictures, in_order, strict=True)}
    unknown = [picture.name for picture in pictures if picture.stem not in named]
    missing = sorted(named.keys() - {picture.stem for picture in pictures})
    for names, what in (
        (unknown, f"pictures of {pictures[0].parent} have no line in"),
        (missing, "lines have no picture in"),
    ):
        if names:
            more = ", ..." if len(names) > NUM_EXAMPLES else ""
            raise BadInputError(
                f"{len(names):,} {what} --synsets {file}: {', '.join(names[:NUM_EXAMPLES])}{more}; give the list of "
                f"these pictures"
            )
    return named
