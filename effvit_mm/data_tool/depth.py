"""Looks through pictures and depth maps."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from effvit_mm.data_tool.drawing import read_image
from effvit_mm.data_tool.findings import Cell, Count, Findings
from effvit_mm.data_tool.opening import Opening
from effvit_mm.data_tool.part import Part
from effvit_mm.depth.drawing import draw_depth
from effvit_mm.depth.files import read_depth, say_writing, stored_depth
from effvit_mm.engine.picture_check import Look, describe_orientations, look_at_image, turns_images
from effvit_mm.errors import BadInputError
from effvit_mm.image_files import NearFiles, describe_missing

NUM_RANGES = 10
STEP = 7  # of the pixels that say what unit the files are in, as before a run
NOT_MEASURED = "not measured"


def inspect_depth(part: Part, opening: Opening) -> Findings:
    """Look through pairs of pictures and depth maps.

    Args:
        part: The split.
        opening: How many pairs are opened; that both files of each are there is always checked.
    """
    # Registers the data sets.
    from effvit_mm import depth

    findings = Findings(part.split, "pixels")
    options = {key: value for key, value in part.spec.items() if key not in ("type", "_scope_", "pipeline")}
    kind = part.spec["type"]
    dataset = (getattr(depth, kind) if isinstance(kind, str) else kind)(**options, lazy_init=True)
    paths = [("list", dataset.ann_file, Path.is_file)] if dataset.ann_file else []
    paths += [("folder", dataset.data_prefix[key], Path.is_dir) for key in ("img_path", "depth_map_path")]
    for what, path, is_there in dict.fromkeys(paths):
        if not is_there(Path(path)):
            findings.counts.append(Count(what, Path(path), None))
    if findings.counts:
        return findings
    try:
        pairs, _ = dataset.list_pairs()
    except BadInputError as error:
        findings.add_problem("list", dataset.ann_file or dataset.data_prefix["img_path"], str(error))
        return findings
    where = Path(dataset.ann_file or dataset.data_prefix["img_path"])
    findings.counts.append(Count("pairs", where, len(pairs), part.expected.get("pictures")))
    findings.add_note(dataset.describe_left_out())
    there = []
    near = NearFiles()
    for pair in pairs:
        missing = [pair[key] for key in ("img_path", "depth_map_path") if not Path(pair[key]).is_file()]
        for file in missing:
            findings.add_problem("file missing", file, describe_missing(file, near))
        if not missing:
            there.append(pair)
    findings.num_pictures = len(pairs)
    _inspect_pairs(part, dataset, there, findings, opening)
    return findings


def _inspect_pairs(part: Part, dataset: Any, pairs: list[Any], findings: Findings, opening: Opening) -> None:
    chosen = opening.choose(pairs)
    edges = [dataset.max_depth * place / NUM_RANGES for place in range(NUM_RANGES + 1)]
    names = [f"{near:g} to {far:g} m" for near, far in pairwise(edges)]
    names = [NOT_MEASURED, *names, f"beyond {dataset.max_depth:g} m"]
    totals = np.zeros(len(names), np.int64)
    occurs = np.zeros(len(names), np.int64)
    valid, fine = [], []

    turns = turns_images(part.spec)

    def read(pair: Any) -> tuple[str, Look, np.ndarray, np.ndarray]:
        stored, problem = stored_depth(pair["depth_map_path"])
        if stored is None:
            return pair["depth_map_path"], Look(problem), np.zeros(len(names), np.int64), np.zeros(0)
        depth = stored.astype(np.float32) / np.float32(dataset.depth_scale)
        measured = depth[depth > 0]
        counts = np.bincount(np.searchsorted(edges[1:], measured) + 1, minlength=len(names))
        counts[0] = depth.size - measured.size
        if not measured.size:
            return pair["depth_map_path"], Look("holds no depth: all pixels are 0, nothing measured"), counts, measured
        return (
            pair["img_path"],
            look_at_image(Path(pair["img_path"]), depth.shape, "its depth map is", turns=turns),
            counts,
            (measured[:: STEP * max(1, len(chosen) // 64)]),
        )

    looks = opening.open(read, chosen, f"{part.split} depth maps")
    findings.add_note(describe_orientations([look.orientation for _, look, _, _ in looks], turns=turns))
    for pair, (file, (problem, _), counts, measured) in zip(chosen, looks, strict=True):
        totals += counts
        occurs += counts > 0
        valid.append(measured)
        # No pixel was counted where a map is no depth map.
        if not counts.any():
            findings.add_remedy(say_writing(dataset.depth_scale))
        if problem:
            findings.add_problem("depth map" if file == pair["depth_map_path"] else "picture", file, problem)
        else:
            fine.append(pair)
    measured = np.concatenate(valid) if valid else np.zeros(0)
    if measured.size and (problem := dataset.unit_problem(measured, [pair["depth_map_path"] for pair in chosen])):
        findings.add_problem("unit", dataset.data_prefix["depth_map_path"], problem)
    if totals[-1]:
        share = totals[-1] / max(1, int(totals[1:].sum()))
        findings.add_note(
            f"{share:.1%} of the measured pixels are beyond max_depth={dataset.max_depth:g} m (65535 is often "
            f"written for no return): heads and metrics of that max_depth leave them out"
        )
    findings.amounts.update(dict(zip(names, totals.tolist(), strict=True)))
    findings.pictures.update(dict(zip(names, occurs.tolist(), strict=True)))
    findings.num_opened = len(chosen)
    far = max(math.ceil(2 * float(np.percentile(measured, 99))) / 2, 0.5) if measured.size else dataset.max_depth
    findings.drawable, findings.draw = fine, lambda pair: _draw(pair, dataset.depth_scale, far, turns=turns)


def _draw(pair: Any, scale: float, far: float, *, turns: bool) -> Cell:
    picture = read_image(pair["img_path"], turns=turns)
    drawing = draw_depth(picture, {"depth": read_depth(pair["depth_map_path"], scale)}, far)
    file = Path(pair["img_path"])
    return Cell(f"{file.parent.name}/{file.name}", Image.fromarray(drawing))
