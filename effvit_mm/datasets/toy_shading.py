"""The look of a toy scene: solid textures, one lamp with cast shadows, a fill light, and soft contact shade.

Colours are linear light in 0..1 until `to_srgb` encodes the finished picture. Textures are functions of the position in
space, so that the same pattern covers a box, a sphere and a cylinder alike and tells nothing about the shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from effvit_mm.datasets.toy_geometry import Array, Solid, Vector, column, dot

PATTERNS = ("plain", "stripes", "checks", "noise")

_NUM_WAVES = 6
_SHADOW_LIFT = np.float32(1e-3)  # metres off the surface, so that rounding does not shade a surface with itself


@dataclass(frozen=True)
class Surface:
    """What covers a solid, the floor or the walls.

    Args:
        colour: Base colour, sRGB 0..1.
        accent: Second colour of the pattern, sRGB 0..1; unused by `plain`.
        pattern: One of `PATTERNS`.
        period: Length of one repetition, metres.
        axes: Rows are the pattern's axes, an orthonormal `(3, 3)` matrix as nested tuples.
        phase: Shift along the pattern's axes, in periods.
        gloss: Strength of the highlight; 0 is matt.
    """

    colour: Vector
    accent: Vector
    pattern: str
    period: float
    axes: tuple[Vector, Vector, Vector]
    phase: Vector
    gloss: float = 0.0

    def albedo(self, points: Array) -> Array:
        """Return linear colours `(3, N)` at points `(3, N)`, or `(3, 1)` where the surface is plain."""
        base = column(linear(self.colour), 2)
        if self.pattern == "plain":
            return base
        steps = _products(self.axes, points / np.float32(self.period)) + column(self.phase, 2)
        return base + (column(linear(self.accent), 2) - base) * self._weight(steps)

    def _weight(self, steps: Array) -> Array:
        """Return how much of the accent shows, 0..1, at positions `(3, N)` counted in periods."""
        if self.pattern == "stripes":
            return (steps[0] - np.floor(steps[0]) < 0.5).astype(np.float32)
        if self.pattern == "checks":
            return (np.floor(2 * steps).sum(axis=0) % 2).astype(np.float32)
        angle = np.float32(2 * math.pi) * _products(_waves(), steps)
        return 0.5 + 0.5 * np.tanh(np.sin(angle).sum(axis=0) * np.float32(2 / math.sqrt(_NUM_WAVES)))


def _products(rows: Sequence[Vector], points: Array) -> Array:
    """Return `rows @ points` without BLAS, whose threads would fight over the cores with the worker processes."""
    return np.stack([dot(np.asarray(row, np.float32), points) for row in rows])


@cache
def _waves() -> tuple[Vector, ...]:
    """Return fixed wave vectors of similar length in spread directions; phase and axes make each noise its own."""
    index = np.arange(_NUM_WAVES) + 0.5
    height, angle = 1 - 2 * index / _NUM_WAVES, index * math.pi * (3 - math.sqrt(5))
    flat = np.sqrt(1 - height**2)
    lengths = 0.6 + 0.2 * np.arange(_NUM_WAVES)
    waves = np.stack((flat * np.cos(angle), height, flat * np.sin(angle)), axis=1) * lengths[:, None]
    return tuple(map(tuple, waves.tolist()))


@dataclass(frozen=True)
class Lighting:
    """Ambient light from above, a lamp that casts shadows, and a weak fill light that does not.

    Args:
        lamp: Position, metres.
        lamp_strength, ambient_strength, fill_strength: Linear; about 1 together.
        fill: Unit direction towards the fill light.
    """

    lamp: Vector
    fill: Vector
    lamp_strength: float
    ambient_strength: float
    fill_strength: float


@dataclass(frozen=True, eq=False)
class Patch:
    """Points of one surface.

    Args:
        points: `(3, N)`, metres.
        normals: Unit, `(3, N)` or `(3, 1)`.
        albedo: Linear, `(3, N)` or `(3, 1)`.
        gloss: Strength of the highlight.
    """

    points: Array
    normals: Array
    albedo: Array
    gloss: float


def shade(patch: Patch, eye: Vector, others: Sequence[Solid], lighting: Lighting) -> Array:
    """Return the linear light `(3, N)` that a patch sends to the eye.

    Args:
        patch: The lit points.
        eye: Position of the camera.
        others: Solids that may shade the patch; a convex solid does not shade itself.
        lighting: The lights.
    """
    points, normals = patch.points, patch.normals
    to_lamp = column(lighting.lamp, 2) - points
    squared = dot(to_lamp, to_lamp)
    direction = to_lamp / np.sqrt(squared)
    facing = np.maximum(dot(normals, direction), 0)
    # A real lamp falls off with the square; this much gentler fall keeps the far corners readable.
    lamp = np.float32(lighting.lamp_strength) * 2 / (1 + squared / np.float32(9))
    lamp = lamp * _unshadowed(points + normals * _SHADOW_LIFT, to_lamp, squared, others)
    sky = np.float32(lighting.ambient_strength) * (0.7 + 0.3 * normals[1]) * _openness(points, normals, others)
    fill = np.float32(lighting.fill_strength) * np.maximum(dot(normals, column(lighting.fill, 2)), 0)
    light = patch.albedo * (lamp * facing + sky + fill)
    if patch.gloss:
        to_eye = column(eye, 2) - points
        halfway = direction + to_eye / np.sqrt(dot(to_eye, to_eye))
        light = light + np.float32(patch.gloss) * lamp * (facing > 0) * _highlight(normals, halfway)
    return light


def _highlight(normals: Array, halfway: Array) -> Array:
    """Return Blinn's highlight of exponent 32, by five squarings (`power` costs ten times as much)."""
    cosine = np.maximum(dot(normals, halfway), 0)
    value = cosine * cosine / dot(halfway, halfway)
    for _ in range(4):
        value = value * value
    return value


def _unshadowed(points: Array, to_lamp: Array, squared: Array, others: Sequence[Solid]) -> Array:
    """Return 1 where the lamp is seen and 0 where a solid stands between, `(N,)`."""
    seen = np.ones(points.shape[1], np.float32)
    for solid in others:
        offset = column(solid.centre, 2) - points
        along = np.clip(dot(offset, to_lamp) / squared, 0, 1)
        miss = offset - along * to_lamp
        near = np.flatnonzero(dot(miss, miss) < solid.radius**2)
        if near.size:
            seen[near[solid.distance(points[:, near], to_lamp[:, near]) < 1]] = 0
    return seen


def _openness(points: Array, normals: Array, others: Sequence[Solid]) -> Array:
    """Return the share of the ambient light that reaches each point, `(N,)`; a solid hides what a ball would."""
    share = np.ones(points.shape[1], np.float32)
    for solid in others:
        size = np.float32(sum(solid.extent) / 3)
        offset = column(solid.centre, 2) - points
        squared = np.maximum(dot(offset, offset), size * size)
        share *= 1 - np.clip(dot(normals, offset) * size * size / (squared * np.sqrt(squared)), 0, 0.85)
    return share


def linear(colour: Vector) -> Vector:
    """Return an sRGB colour as linear light, by the usual power 2.2."""
    return colour[0] ** 2.2, colour[1] ** 2.2, colour[2] ** 2.2


def to_srgb(light: Array) -> Array:
    """Return linear light as uint8 sRGB, the top fifth of the range rolled off so that highlights do not clip hard."""
    knee = np.float32(0.8)
    rolled = np.where(light > knee, knee + (1 - knee) * (1 - np.exp((knee - light) / (1 - knee))), light)
    return np.rint(255 * np.clip(rolled, 0, 1) ** np.float32(1 / 2.2)).astype(np.uint8)
