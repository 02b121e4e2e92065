"""Polygons that join objects far from each other into one."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np

SIDE = 192  # of the raster in which parts are told apart, cells
LEAST_FILL = 0.45  # of the box: parts far from each other leave it empty
LEAST_PART = 0.2  # of the largest part, so that crumbs of a mask are no object
FAR = 2.0  # gap, in diagonals of the largest part; 1 of 3,250 annotations of COCO lies so


def joined_far(annotations: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Find objects whose polygons cover parts that lie far from each other, also where a thin line joins them.

    Args:
        annotations: COCO's entries; crowds and run lengths are passed over.
    """
    for annotation in annotations:
        polygons = annotation.get("segmentation")
        if isinstance(polygons, list) and not annotation.get("iscrowd") and _may_be_apart(annotation, polygons):
            parts = _parts(polygons)
            if len(parts) > 1 and _widest_gap(parts) > FAR * max(math.hypot(w, h) for _, _, w, h, _ in parts):
                yield annotation


def _may_be_apart(annotation: Mapping[str, Any], polygons: list[Any]) -> bool:
    """Tell from areas alone, as most objects fill their box; where area is the box's own, by the polygons."""
    box = annotation["bbox"][2] * annotation["bbox"][3]
    area = annotation["area"] if annotation["area"] < 0.99 * box else sum(map(_area, polygons))
    return 0 < area < LEAST_FILL * box and all(len(polygon) % 2 == 0 for polygon in polygons)


def _area(polygon: Any) -> float:
    x, y = np.asarray(polygon[: len(polygon) // 2 * 2], float).reshape(-1, 2).T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def _parts(polygons: list[Any]) -> list[tuple[float, ...]]:
    """Return left, top, width, height and area of the parts in a small raster, thin lines and crumbs taken out."""
    points = [np.asarray(polygon, float).reshape(-1, 2) for polygon in polygons]
    every = np.concatenate(points)
    least, extent = every.min(axis=0), float(np.ptp(every, axis=0).max())
    raster = np.zeros((SIDE + 4, SIDE + 4), np.uint8)
    for polygon in points:
        cv2.fillPoly(raster, [np.rint((polygon - least) / max(extent, 1e-6) * (SIDE - 1) + 2).astype(np.int32)], 1)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(raster, cv2.MORPH_OPEN, np.ones((3, 3))))
    parts = [tuple(map(float, row)) for row in statistics[1:]]  # the first is the ground
    return [part for part in parts if part[4] >= LEAST_PART * max(part[4] for part in parts)]


def _widest_gap(parts: list[tuple[float, ...]]) -> float:
    """Return the longest of the shortest steps that lead from part to part."""
    reached, left, widest = [parts[0]], list(parts[1:]), 0.0
    while left:
        gap, nearest = min((min(_gap(part, other) for other in reached), part) for part in left)
        widest = max(widest, gap)
        left.remove(nearest)
        reached.append(nearest)
    return widest


def _gap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the distance of two boxes."""
    across = max(one[0] - other[0] - other[2], other[0] - one[0] - one[2], 0)
    down = max(one[1] - other[1] - other[3], other[1] - one[1] - one[3], 0)
    return math.hypot(across, down)
