"""Looks through pictures and index masks."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from effvit_mm.data_tool.drawing import read_image
from effvit_mm.data_tool.findings import Cell, Count, Findings
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Part
from effvit_mm.engine.picture_check import Look, describe_orientations, look_at_image, turns_images
from effvit_mm.engine.segmentation_check import (
    INDEX_REMEDY,
    Mask,
    build_dataset,
    describe_absent,
    read_mask,
    say_values,
    shift_problem,
)
from effvit_mm.engine.segmentation_drawing import IGNORED_COLOUR, paint
from effvit_mm.errors import BadInputError

OPACITY = 0.6


def inspect_masks(part: Part, opening: Opening) -> Findings:
    """Look through a folder of pictures and one of index masks.

    Args:
        part: The split.
        opening: How many pairs are opened; that each picture has a mask is always checked.
    """
    # Imported here, as it brings mmseg.
    from effvit_mm.datasets.index_mask_folder import describe_files_left_out, files_of

    findings = Findings(part.split, "pixels")
    dataset = build_dataset(part.split, part.spec, "mmseg")
    if dataset is None:
        raise BadInputError(f"the {part.split} data set cannot be built from {dict(part.spec)}; correct its arguments")
    folders = {key: Path(folder) for key, folder in dataset.data_prefix.items() if folder}
    missing = [folder for folder in folders.values() if not folder.is_dir()]
    if missing:
        findings.counts += [Count("folder", folder, None) for folder in missing]
        return findings
    try:
        pictures, masks = files_of(dataset)
    except BadInputError as error:
        findings.add_problem("names", folders["img_path"], str(error))
        return findings
    findings.add_note(describe_files_left_out(dataset))
    findings.counts.append(Count("pictures", folders["img_path"], len(pictures), part.expected.get("pictures")))
    if masks is None:
        masks = {}
        findings.notes.append("the data set names no folder of masks: its pictures can only be predicted")
    else:
        findings.counts.append(Count("masks", folders["seg_map_path"], len(masks), part.expected.get("pictures")))
        for stem in sorted(pictures.keys() - masks.keys()):
            findings.add_problem("mask missing", pictures[stem], f"has no mask in {folders['seg_map_path']}")
        spare = len(masks.keys() - pictures.keys())
        findings.notes += [f"{spare:,} masks have no picture here"] if spare else []
    pairs = [(pictures[stem], masks[stem]) for stem in sorted(pictures) if stem in masks]
    _inspect_pairs(part, dataset, pairs, findings, opening)
    return findings


def compare_values(parts: Sequence[Part], findings: Sequence[Findings]) -> None:
    """Note where the masks of all splits show that classes are counted from 0 although 0 is left out.

    Args:
        parts: Splits of index masks and others.
        findings: What was found in each.
    """
    measured: Counter[int] = Counter()
    for part, found in zip(parts, findings, strict=True):
        if not part.split.startswith("train"):
            measured.update(found.values)
    for part, found in zip(parts, findings, strict=True):
        if not part.split.startswith("train") or not found.values:
            continue
        dataset = build_dataset(part.split, part.spec, "mmseg")
        shifted = shift_problem(dataset, found.values, measured)
        if shifted:
            found.add_problem("classes counted from 0", dataset.data_prefix["seg_map_path"], shifted)


def _inspect_pairs(
    part: Part, dataset: Any, pairs: list[tuple[Path, Path]], findings: Findings, opening: Opening
) -> None:
    chosen = opening.choose(pairs)
    values = _Values(dataset)
    fine = []
    turns = turns_images(part.spec)
    read = partial(_read, turns=turns)
    looks = opening.open(read, chosen, f"{part.split} masks")
    findings.add_note(describe_orientations([look.orientation for _, look in looks], turns=turns))
    for pair, (mask, (problem, _)) in zip(chosen, looks, strict=True):
        odd = sorted(mask.values - values.allowed)
        if mask.problem:
            findings.add_problem("mask", pair[1], mask.problem)
            findings.add_remedy(INDEX_REMEDY)
        elif odd and values.are_known:
            listed = ", ".join(map(str, odd[:8])) + (", ..." if len(odd) > 8 else "")
            findings.add_problem("value that is no class", pair[1], f"holds {listed}; {say_values(dataset)}")
        if problem:
            findings.add_problem("picture", pair[0], problem)
        elif not mask.problem:
            fine.append(pair)
        for value, count in mask.counts.items():
            findings.amounts[values.name_of(value)] += count
            findings.pictures[values.name_of(value)] += 1
    # A part of the pictures may lack what the others have.
    if values.are_known and not part.only_seen and len(chosen) == len(pairs):
        for mask, _ in looks:
            findings.values.update(mask.counts)
        if findings.values:
            findings.add_note(describe_absent(dataset, findings.values))
    for name in values.names.values():
        findings.amounts.setdefault(name, 0)
    if part.only_seen:
        findings.amounts = +findings.amounts
    findings.num_opened, findings.num_pictures = len(chosen), len(pairs)
    findings.drawable, findings.draw = (
        fine,
        partial(_draw, values=values, palette=dataset.metainfo["palette"], turns=turns),
    )


def _read(pair: tuple[Path, Path], *, turns: bool) -> tuple[Mask, Look]:
    picture, file = pair
    mask = read_mask(file, values=True)
    return mask, look_at_image(picture, None if mask.problem else mask.size, "its mask is", turns=turns)


class _Values:
    """What the values of masks mean; mmseg's own data sets and ours count alike.

    Args:
        dataset: A data set of mmseg that was built without reading files.
    """

    def __init__(self, dataset: Any) -> None:
        first = int(bool(dataset.reduce_zero_label))
        # Some benchmarks give values another meaning as they are loaded.
        self.are_known = not getattr(dataset, "label_map", None)
        names = enumerate(dataset.metainfo["classes"], first)
        self.names = {value: str(name).strip() for value, name in names} if self.are_known else {}
        ignored = {255, dataset.ignore_index} | ({0} if first else set())
        self.allowed = self.names.keys() | ignored
        self.first = first

    def name_of(self, value: int) -> str:
        return self.names.get(value) or ("(left out)" if value in self.allowed else f"(value {value})")


def _draw(pair: tuple[Path, Path], values: _Values, palette: Any, *, turns: bool) -> Cell:
    """Lay the colours of the classes over the picture; what is left out is dark."""
    picture = read_image(pair[0], turns=turns)
    with Image.open(pair[1]) as mask:
        labels = np.asarray(mask).astype(int) - values.first
    labels = np.where((labels >= 0) & (labels < len(palette)), labels, 255)
    painted = paint(labels, [*palette, *[IGNORED_COLOUR] * (256 - len(palette))])
    mixed = np.rint((1 - OPACITY) * picture + OPACITY * painted).astype(np.uint8)
    present = [label for label in np.unique(labels).tolist() if label + values.first in values.names]
    legend = tuple((values.names[label + values.first], tuple(palette[label])) for label in present)
    return Cell(pair[0].name, Image.fromarray(mixed), legend)
