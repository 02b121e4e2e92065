"""Sorts ImageNet's pictures into class folders, out of an archive of archives and a flat one with a list of classes."""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from effvit_mm.data_tool.archives import check_room, files_in, name_files, open_tar, tar_files, write_member
from effvit_mm.data_tool.opening import show_progress
from effvit_mm.data_tool.whole_folder import made_whole, place
from effvit_mm.errors import BadInputError, some_of

SPLITS = ("train", "val")
TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
SITE = "https://image-net.org/download.php (ILSVRC2012, after registration)"
ENDINGS = (".jpeg", ".jpg", ".png")
CLASS_TAR = re.compile(r"n\d{8}\.tar")
# "n01751748", "ILSVRC2012_val_00000001.JPEG n01751748", or Kaggle's "ILSVRC2012_val_00000001,n01751748 85 1 499 272"
LINE = re.compile(r"(?:(?P<picture>[^\s,]+)[\s,]+)?(?P<synset>n\d{8})\b.*")
HEADER = re.compile(r"ImageId\b.*", re.IGNORECASE)

Write = Callable[[Path], None]
"""Writes the class folders of a split into a folder."""


def prepare_imagenet(source: Path, root: Path, *, synsets: Path | None = None, only: str | None = None) -> Path:
    """Write ``train/`` and ``val/`` with one folder a class; pictures that are unpacked are linked where possible.

    Args:
        source: Folder with what was downloaded, anywhere inside it: the archive of the training pictures or its 1000
            archives of classes, and the archive of the validation pictures. Or the validation pictures themselves, in
            this folder.
        root: Folder to make, such as ``data/imagenet``.
        synsets: Says the class of each validation picture: a synset a line, in the order of the pictures' names, or
            lines that begin with the picture's name, such as Kaggle's ``LOC_val_solution.csv``. A name that is no file
            from the working folder is looked for anywhere in ``source``.
        only: ``'train'`` or ``'val'`` alone, beside what is there.

    Returns:
        The folder.

    Raises:
        BadInputError: If something needed is not there or torn, or pictures and lines do not belong together; nothing
            is written then.
    """
    splits = (only,) if only else SPLITS
    if root.name in SPLITS:
        raise BadInputError(
            f"--root {root} names a split, expected the folder of both; give --root {root.parent}, with --only "
            f"{root.name} for this split alone"
        )
    if "val" in splits and synsets is None:
        raise BadInputError(
            "--synsets is missing: the validation pictures come without their classes; give the file that says them, "
            "such as Kaggle's LOC_val_solution.csv, or --only train"
        )
    files = files_in(source)
    with ExitStack() as opened:
        plans: dict[str, tuple[Write, int]] = {}
        if "train" in splits:
            plans["train"] = _plan_training(files, source, opened)
        if "val" in splits and synsets is not None:
            plans["val"] = _plan_validation(files, source, synsets, opened)
        check_room(root, sum(num_bytes for _, num_bytes in plans.values()))
        with made_whole(root, splits if only else ()) as made:
            for split, (write, _) in plans.items():
                write(made / split)
    return root


def _plan_training(files: Sequence[Path], source: Path, opened: ExitStack) -> tuple[Write, int]:
    """Return what writes the training pictures, and the bytes it needs."""
    whole = name_files(files).get(TRAIN)
    if whole:
        outer = opened.enter_context(open_tar(whole))
        members = {member.name: member for member in tar_files(outer, whole) if CLASS_TAR.fullmatch(member.name)}
        if not members:
            raise BadInputError(
                f"{whole} holds no archive of a class such as n01440764.tar; fetch it again from {SITE}"
            )
        tars = {name[:-4]: (f"{whole}: {name}", partial(outer.extractfile, member)) for name, member in members.items()}
        return partial(_write_classes, tars), whole.stat().st_size
    found = {file.stem: file for file in files if CLASS_TAR.fullmatch(file.name)}
    if not found:
        raise BadInputError(
            f"--source {source} holds neither {TRAIN} nor its archives of classes such as n01440764.tar; fetch it from "
            f"{SITE}, or give --only val"
        )
    tars = {synset: (str(file), partial(file.open, "rb")) for synset, file in sorted(found.items())}
    return partial(_write_classes, tars), sum(file.stat().st_size for file in found.values())


def _write_classes(tars: dict[str, tuple[str, Callable]], folder: Path) -> None:
    for synset, (archive, open_content) in show_progress(tars.items(), "classes", len(tars)):
        num_pictures = 0
        with open_content() as content, open_tar(archive, content) as tar:
            for member in tar_files(tar, archive):
                name = Path(member.name).name
                if name.lower().endswith(ENDINGS):
                    write_member(partial(tar.extractfile, member), folder / synset / name, archive)
                    num_pictures += 1
        if not num_pictures:
            raise BadInputError(f"{archive} holds no picture; fetch it again from {SITE}")


def _plan_validation(files: Sequence[Path], source: Path, synsets: Path, opened: ExitStack) -> tuple[Write, int]:
    """Return what writes the validation pictures, and the bytes it needs."""
    whole = name_files(files).get(VAL)
    if whole:
        tar = opened.enter_context(open_tar(whole))
        members = [member for member in tar_files(tar, whole) if member.name.lower().endswith(ENDINGS)]
        take = {Path(member.name).name: partial(_unpack, partial(tar.extractfile, member), whole) for member in members}
        num_bytes = whole.stat().st_size
    else:
        pictures = [file for file in files if file.parent == source and file.suffix.lower() in ENDINGS]
        take, num_bytes = {file.name: partial(place, file) for file in pictures}, 0
    if not take:
        raise BadInputError(
            f"{whole or f'--source {source}'} holds no validation picture; give the folder with {VAL}, of {SITE}, "
            f"or the one it unpacks to; or --only train"
        )
    classes = _classes(_find_synsets(synsets, files, source), sorted(take), whole or source)
    return partial(_write_pictures, take, classes), num_bytes


def _unpack(open_member: Callable, archive: Path, target: Path) -> None:
    write_member(open_member, target, archive)


def _write_pictures(take: dict[str, Callable[[Path], None]], classes: dict[str, str], folder: Path) -> None:
    for name, write in show_progress(take.items(), "pictures", len(take)):
        write(folder / classes[Path(name).stem] / name)


def _find_synsets(file: Path, files: Sequence[Path], source: Path) -> Path:
    if file.is_file():
        return file
    found = next((other for other in files if other.parts[-len(file.parts) :] == file.parts), None)
    if found is None:
        raise BadInputError(
            f"--synsets {file} does not exist, looked from {Path.cwd()} and in --source {source}; give the file that "
            f"says the class of each picture"
        )
    return found


def _classes(file: Path, pictures: Sequence[str], where: Path) -> dict[str, str]:
    """Return the synset of each picture by its name without ending."""
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
            f"--synsets {file} has {len(in_order):,} lines for {len(pictures):,} pictures of {where}; expected one a "
            f"picture, in the order of their names"
        )
    stems = [Path(name).stem for name in pictures]
    named = named or dict(zip(stems, in_order, strict=True))
    unknown = [name for name, stem in zip(pictures, stems, strict=True) if stem not in named]
    missing = sorted(named.keys() - set(stems))
    for names, what in ((unknown, f"pictures of {where} have no line in"), (missing, "lines have no picture in")):
        if names:
            raise BadInputError(
                f"{len(names):,} {what} --synsets {file}: {some_of(names, 3)}; give the list of these pictures"
            )
    return named
