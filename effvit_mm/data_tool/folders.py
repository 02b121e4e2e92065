"""Looks through pictures sorted into one folder a class, or listed with their labels."""

import os
from collections.abc import Sequence
from pathlib import Path

import mmcv
from mmengine.fileio import get
from PIL import Image

from effvit_mm.data_tool.findings import Cell, Count, Findings
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Part
from effvit_mm.engine.classification_check import images_of_classes
from effvit_mm.engine.picture_check import picture_problem
from effvit_mm.image_files import NearFiles, describe_missing

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif")  # which mmpretrain's data sets read


def inspect_folders(part: Part, opening: Opening) -> Findings:
    """Look through class folders, or a list of pictures and labels.

    Args:
        part: The split.
        opening: How many pictures are opened; the names are always read.
    """
    findings = Findings(part.split, "pictures")
    folder, file = Path(part.spec["folder"]), part.spec.get("ann_file")
    if not folder.is_dir():
        findings.counts.append(Count("folder of the pictures", folder, None))
    if file and not Path(file).is_file():
        findings.counts.append(Count("list", Path(file), None))
    if findings.counts:
        return findings
    extensions = tuple(part.spec.get("extensions") or EXTENSIONS)
    if file:
        labelled = _listed(Path(file), folder, part.spec.get("classes"), findings)
    else:
        labelled = _sorted(folder, extensions, findings)
    where = Path(file) if file else folder
    findings.counts.append(Count("classes", where, len(findings.amounts), part.expected.get("classes")))
    findings.counts.append(Count("pictures", where, len(labelled), part.expected.get("pictures")))
    findings.pictures = findings.amounts
    chosen = opening.choose(labelled)
    states = opening.open(lambda entry: picture_problem(entry[0]), chosen, f"{part.split} pictures")
    for (picture, _), state in zip(chosen, states, strict=True):
        if state:
            findings.add_problem("picture", picture, state)
    findings.num_opened, findings.num_pictures = len(chosen), len(labelled)
    findings.drawable = [entry for entry, state in zip(chosen, states, strict=True) if not state]
    findings.draw = _draw
    return findings


def compare_classes(findings: Sequence[Findings]) -> None:
    """Note where splits have other class folders than the first: labels are the places in the alphabet.

    Args:
        findings: Of splits sorted into class folders.
    """
    first, *others = [part for part in findings if part.amounts] or [None]
    for part in others:
        odd = sorted(part.amounts.keys() ^ first.amounts.keys())
        if odd:
            text = (
                f"{len(odd):,} class folders are in one of them only ({', '.join(odd[:5])}): labels are the places of "
                f"the folders in the alphabet, so all splits need the same"
            )
            part.add_problem("other classes", f"{first.split} and {part.split}", text)


def _sorted(folder: Path, extensions: Sequence[str], findings: Findings) -> list[tuple[Path, str]]:
    """Return the pictures and their classes, which are the folders."""
    labelled = []
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    by_class, left_out = images_of_classes(folder, extensions)
    for name, pictures in by_class.items():
        findings.amounts[name] = len(pictures)
        if not pictures:
            expected = f"holds no picture, expected {', '.join(extensions)}"
            findings.add_problem("empty class", folder / name, expected)
        labelled += [(picture, name) for picture in pictures]
    findings.add_note(left_out)
    loose = sum(entry.is_file() and entry.name.lower().endswith(tuple(extensions)) for entry in entries)
    if loose:
        findings.add_problem(
            "outside a class", folder, f"{loose:,} pictures lie in no class folder; sort them into one folder a class"
        )
    if not labelled and not loose:
        findings.add_problem("empty", folder, "has no class folders, expected one a class with its pictures")
    return labelled


def _listed(file: Path, folder: Path, classes: Sequence[str] | None, findings: Findings) -> list[tuple[Path, str]]:
    """Return the pictures of a list and their classes."""
    labelled = []
    near = NearFiles()
    findings.amounts.update(dict.fromkeys(classes or (), 0))
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        picture, _, label = line.strip().rpartition(" ")
        if not picture or not label.isdecimal():
            findings.add_problem("line", f"{file}, line {number}", f"is {line[:80]!r}, expected 'picture label'")
            continue
        if classes is not None and int(label) >= len(classes):
            text = f"has the label {label}, but there are {len(classes)} classes, from 0 on"
            findings.add_problem("label that is no class", f"{file}, line {number}", text)
            continue
        name = label if classes is None else classes[int(label)]
        findings.amounts[name] += 1
        if (folder / picture).is_file():
            labelled.append((folder / picture, name))
        else:
            findings.add_problem("picture missing", folder / picture, describe_missing(folder / picture, near))
    return labelled


def _draw(entry: tuple[Path, str]) -> Cell:
    picture, name = entry
    return Cell(f"{name}: {picture.name}", Image.fromarray(mmcv.imfrombytes(get(str(picture)), channel_order="rgb")))
