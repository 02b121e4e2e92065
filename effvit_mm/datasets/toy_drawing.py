"""Draws the descriptions of toy scenes at random: camera, room, lights, and objects that stand free on the floor.

Colour and texture are drawn from one distribution for all classes, so a model has to look at shape.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from effvit_mm.datasets.toy_geometry import Box, Camera, Cylinder, Room, Solid, Sphere, Vector
from effvit_mm.datasets.toy_shading import PATTERNS, Lighting, Surface

OBJECT_CLASSES = ("box", "sphere", "cylinder")
MIN_OBJECTS, MAX_OBJECTS = 2, 6

_SOLIDS: dict[str, type[Solid]] = {"box": Box, "sphere": Sphere, "cylinder": Cylinder}
_MIN_CONTRAST = 0.35  # Euclidean distance of sRGB colours in 0..1
_GAP = 0.03  # metres between the objects' outlines on the floor


@dataclass(frozen=True)
class Thing:
    """One object of a scene: its class, its solid and its cover."""

    label: str
    solid: Solid
    surface: Surface


@dataclass(frozen=True)
class Scene:
    """The description of a scene: all that rendering needs."""

    camera: Camera
    room: Room
    floor: Surface
    walls: Surface
    things: tuple[Thing, ...]
    lighting: Lighting


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draw a description for a picture of `(H, W)`; some of its objects may turn out hidden when it is rendered."""
    room = Room(-rng.uniform(1.8, 2.8), rng.uniform(1.8, 2.8), -1.0, rng.uniform(4.2, 6.5))
    camera = Camera(
        position=(rng.uniform(-0.5, 0.5), rng.uniform(1.1, 1.7), 0.0),
        pitch=math.radians(rng.uniform(10, 20)),
        yaw=math.radians(rng.uniform(-20, 20)),
        focal=rng.uniform(0.8, 1.0) * max(size),
        size=size,
    )
    floor, walls = _draw_background(rng), _draw_background(rng)
    things: list[Thing] = []
    target = rng.integers(MIN_OBJECTS + 1, MAX_OBJECTS + 1)
    for _ in range(8 * target):
        thing = _draw_thing(rng, room, floor, walls)
        if len(things) < target and _fits(thing.solid, room, camera, [other.solid for other in things]):
            things.append(thing)
    return Scene(camera, room, floor, walls, tuple(things), _draw_lighting(rng, room))


def _draw_lighting(rng: np.random.Generator, room: Room) -> Lighting:
    """Draw a lamp well to one side, which sets the faces of a box apart, and a weak light from the other side."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    fill = (-0.7 * side, 0.5, -0.5)
    length = math.hypot(*fill)
    return Lighting(
        lamp=(side * rng.uniform(0.6, 1.6), rng.uniform(2.4, 3.4), rng.uniform(0.2, 0.45) * room.far),
        fill=(fill[0] / length, fill[1] / length, fill[2] / length),
        lamp_strength=rng.uniform(0.8, 1.0),
        ambient_strength=rng.uniform(0.3, 0.42),
        fill_strength=rng.uniform(0.05, 0.15),
    )


def _draw_thing(rng: np.random.Generator, room: Room, floor: Surface, walls: Surface) -> Thing:
    """Draw an object anywhere on the floor, in a colour that stands out from the room."""
    label = OBJECT_CLASSES[rng.integers(len(OBJECT_CLASSES))]
    scale = math.exp(rng.uniform(math.log(0.24), math.log(0.56)))
    wide, tall, deep = rng.uniform((0.7, 0.6, 0.7), (1.0, 1.3, 1.0)) * scale
    # About equal room on the floor for each class, or the crowding would thin out one of them.
    extent = {
        "box": (0.85 * wide, 0.9 * tall, 0.85 * deep),
        "sphere": (0.82 * scale,) * 3,
        "cylinder": (0.9 * wide, tall, 0.9 * wide),
    }[label]
    centre = (rng.uniform(room.left, room.right), extent[1], rng.uniform(1.4, room.far))
    solid = _SOLIDS[label](centre, rng.uniform(0, math.pi), extent)
    surface = _draw_cover(rng)
    while min(math.dist(surface.colour, other.colour) for other in (floor, walls)) < _MIN_CONTRAST:
        surface = _draw_cover(rng)
    return Thing(label, solid, surface)


def _draw_cover(rng: np.random.Generator) -> Surface:
    """Draw the cover of an object; it must not depend on the class."""
    hue, saturation, value = rng.uniform((0, 0.5, 0.55), (1, 0.95, 1.0))
    shift, fade, dim = rng.uniform((-0.1, 0.4, 0.6), (0.1, 0.9, 0.8))
    colour = colorsys.hsv_to_rgb(hue, saturation, value)
    accent = colorsys.hsv_to_rgb((hue + shift) % 1, saturation * fade, value * dim)
    return _draw_pattern(rng, colour, accent, period=rng.uniform(0.22, 0.45), gloss=rng.uniform(0.1, 0.4))


def _draw_background(rng: np.random.Generator) -> Surface:
    """Draw the cover of the floor or of the walls: pale, with a faint pattern."""
    hue, saturation, value = rng.uniform((0, 0.03, 0.65), (1, 0.22, 0.95))
    colour = colorsys.hsv_to_rgb(hue, saturation, value)
    accent = colorsys.hsv_to_rgb(hue, saturation, value * rng.uniform(0.88, 0.96))
    return _draw_pattern(rng, colour, accent, period=rng.uniform(0.5, 1.0), gloss=0.0)


def _draw_pattern(rng: np.random.Generator, colour: Vector, accent: Vector, period: float, gloss: float) -> Surface:
    turn = rng.uniform(0, math.pi)
    up = (0.0, 1.0, 0.0)
    along, across = (math.cos(turn), 0.0, math.sin(turn)), (-math.sin(turn), 0.0, math.cos(turn))
    axes = (along, up, across) if rng.random() < 0.5 else (up, across, along)
    phase = (rng.uniform(), rng.uniform(), rng.uniform())
    return Surface(colour, accent, PATTERNS[rng.integers(len(PATTERNS))], period, axes, phase, gloss)


def _fits(solid: Solid, room: Room, camera: Camera, others: list[Solid]) -> bool:
    """Tell whether a solid stands free of walls and other solids, and mostly inside the picture."""
    x, _, z = solid.centre
    reach = _floor_reach(solid)
    if not (room.left + reach < x < room.right - reach and z < room.far - reach):
        return False
    for other in others:
        if math.hypot(x - other.centre[0], z - other.centre[2]) < reach + _floor_reach(other) + _GAP:
            return False
    row, col, depth = camera.project(solid.centre)
    margin = 0.5 * camera.focal * solid.radius / max(depth, 1e-6)
    return depth > 1.2 and margin < row < camera.size[0] - margin and margin < col < camera.size[1] - margin


def _floor_reach(solid: Solid) -> float:
    """Return the radius in metres of the upright tube around a solid."""
    return math.hypot(solid.extent[0], solid.extent[2]) if isinstance(solid, Box) else solid.extent[0]
