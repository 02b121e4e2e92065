"""Looks through data sets and draws some of their pictures."""

from collections.abc import Sequence
from pathlib import Path

from effvit_mm.data_tool.coco import inspect_coco
from effvit_mm.data_tool.depth import inspect_depth
from effvit_mm.data_tool.findings import Cell, Findings, Report
from effvit_mm.data_tool.folders import compare_classes, inspect_folders
from effvit_mm.data_tool.masks import compare_values, inspect_masks
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Target
from effvit_mm.data_tool.sheet import write_sheet
from effvit_mm.errors import NotSavedError

INSPECTORS = {"coco": inspect_coco, "masks": inspect_masks, "depth": inspect_depth, "folders": inspect_folders}


def check_data_set(target: Target, opening: Opening, sheet: Path | None, num_pictures: int = 12) -> Report:
    """Look through a data set.

    Args:
        target: The data set.
        opening: How many pictures of each split are opened.
        sheet: Where the contact sheet goes; None for none.
        num_pictures: How many pictures it shows, about as many of each split.

    Returns:
        What was found.
    """
    findings = [INSPECTORS[part.kind](part, opening) for part in target.parts]
    if all(part.kind == "folders" and not part.spec.get("ann_file") for part in target.parts):
        compare_classes(findings)
    compare_values(target.parts, findings)
    missing = any(count.found is None for part in findings for count in part.counts)
    report = Report(target.name, findings, target.layout if missing else "", target.refusals, target.notes)
    cells = _draw(findings, num_pictures) if sheet else []
    if cells:
        try:
            write_sheet(cells, sheet)
            report.sheet = sheet
        except NotSavedError as error:
            # What took hours to find is told without its pictures.
            report.unsaved = str(error)
    return report


def _draw(findings: Sequence[Findings], num_pictures: int) -> list[Cell]:
    cells = []
    for place, part in enumerate(findings):
        share = num_pictures // len(findings) + (place < num_pictures % len(findings))
        chosen = Opening().choose(part.drawable, share)
        cells += [part.draw(item) for item in chosen if part.draw is not None]
    return cells
