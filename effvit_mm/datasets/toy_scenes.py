"""Toy scenes: small rooms with boxes, spheres and cylinders, ray-cast with numpy.

One scene gives a picture, instance masks, semantic classes and metric depth that agree pixel by pixel. The picture is
supersampled; masks and depth are taken at pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from effvit_mm.datasets.toy_drawing import MIN_OBJECTS, OBJECT_CLASSES, Scene, draw_scene
from effvit_mm.datasets.toy_geometry import FLOOR, Array, Solid, column
from effvit_mm.datasets.toy_shading import Patch, shade, to_srgb

SEMANTIC_CLASSES = ("floor", "wall", *OBJECT_CLASSES)

MIN_SIDE = 64  # pixels; below this the objects are too small to be told apart
MAX_ASPECT = 2.0  # beyond this the room does not fit the picture

_SAMPLES = 2  # rays along each side of a pixel of the picture
_MAX_DRAWS = 1000  # rooms that are nearly empty are drawn anew; a few draws are the rule
_MIN_VISIBLE_RATIO = 0.4  # of an object's outline in the picture


@dataclass(frozen=True, eq=False)
class ToyScene:
    """A rendered scene.

    Args:
        image: `(H, W, 3)` uint8, RGB.
        instances: `(H, W)` int32; 0 is background, k the object `labels[k - 1]`.
        labels: Class name of each object; each one is visible.
        visible_ratios: Share of each object's outline within the picture that nothing hides.
        semantics: `(H, W)` uint8, indices into `SEMANTIC_CLASSES`.
        depth: `(H, W)` float32, metres along the optical axis.
        focal: Focal length, pixels.
    """

    image: Array
    instances: Array
    labels: tuple[str, ...]
    visible_ratios: tuple[float, ...]
    semantics: Array
    depth: Array
    focal: float


def render_scene(seed: int, size: tuple[int, int] = (128, 160)) -> ToyScene:
    """Draw and render the scene of a seed; the same arguments give the same bytes.

    Args:
        seed: Non-negative, of any length.
        size: `(H, W)` in pixels, each at least `MIN_SIDE` and neither above `MAX_ASPECT` times the other.

    Raises:
        ValueError: On a negative seed or a size out of these bounds.
        RuntimeError: If nearly all drawn rooms are empty; not seen at any allowed size.
    """
    check_size(size)
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; pass an integer of at least 0")
    rng = np.random.default_rng(seed)
    for _ in range(_MAX_DRAWS):
        scene = _without_hidden(draw_scene(rng, size))
        if len(scene.things) >= MIN_OBJECTS:
            return render(scene)
    raise RuntimeError(
        f"no scene with {MIN_OBJECTS} visible objects in {_MAX_DRAWS} draws for seed={seed}, size={size}"
    )


def check_size(size: tuple[int, int]) -> None:
    """Raise a ValueError unless the size is `(H, W)` that a room fits in."""
    if len(size) != 2 or any(int(side) != side for side in size):
        raise ValueError(f"size={size!r} is not allowed; pass (H, W), two integers in pixels")
    if min(size) < MIN_SIDE or max(size) > MAX_ASPECT * min(size):
        raise ValueError(
            f"size={tuple(size)} is not allowed: both sides must be at least {MIN_SIDE} pixels and the longer one at "
            f"most {MAX_ASPECT:g} times the shorter; pass for example (128, 160)"
        )


@dataclass(frozen=True, eq=False)
class _Trace:
    """What each ray meets.

    Args:
        depth: `(H, W)`, metres.
        plane: `(H, W)`, the plane of the room behind everything.
        instances: `(H, W)`, 0 or the number of an object from 1.
        outlines: Rays that would meet each object if it stood alone.
    """

    depth: Array
    plane: Array
    instances: Array
    outlines: tuple[int, ...]


def _trace(scene: Scene, rays: Array, samples: int) -> _Trace:
    """Send the rays of `camera.rays(samples)` into the room."""
    camera = scene.camera
    origin = column(camera.position, 3)
    depth, plane = scene.room.distance(camera.position, rays)
    instances = np.zeros(depth.shape, np.int32)
    outlines = []
    for number, thing in enumerate(scene.things, start=1):
        window = camera.window(thing.solid.centre, thing.solid.radius, samples)
        entry = thing.solid.distance(origin, rays[:, window[0], window[1]])
        outlines.append(int(np.isfinite(entry).sum()))
        nearer = entry < depth[window]
        depth[window] = np.where(nearer, entry, depth[window])
        instances[window][nearer] = number
    return _Trace(depth, plane, instances, tuple(outlines))


def _without_hidden(scene: Scene) -> Scene:
    """Drop objects that show too little, the worst first: what it hid may then be visible."""
    rays = scene.camera.rays()
    while scene.things:
        scores = _visibility(_trace(scene, rays, 1))
        worst = int(np.argmin(scores))
        if scores[worst] >= 1:
            break
        scene = replace(scene, things=scene.things[:worst] + scene.things[worst + 1 :])
    return scene


def _visibility(trace: _Trace) -> list[float]:
    """Return a score for each object; at 1 it shows just enough pixels, is just large and free enough."""
    height, width = trace.depth.shape
    min_pixels, min_side = max(60.0, 0.003 * height * width), max(9.0, 0.11 * min(height, width))
    scores = []
    for number, outline in enumerate(trace.outlines, start=1):
        rows, cols = np.nonzero(trace.instances == number)
        side = min(np.ptp(rows), np.ptp(cols)) + 1 if rows.size else 0
        freedom = rows.size / max(outline, 1) / _MIN_VISIBLE_RATIO
        scores.append(float(min(rows.size / min_pixels, side / min_side, freedom)))
    return scores


def render(scene: Scene) -> ToyScene:
    """Render a description as it is, hidden objects included."""
    trace = _trace(scene, scene.camera.rays(), 1)
    labels = tuple(thing.label for thing in scene.things)
    wall, floor = SEMANTIC_CLASSES.index("wall"), SEMANTIC_CLASSES.index("floor")
    visible = np.bincount(trace.instances.ravel(), minlength=len(labels) + 1)[1:]
    of_instance = np.array([0, *(SEMANTIC_CLASSES.index(label) for label in labels)], np.uint8)
    background = np.where(trace.plane == FLOOR, floor, wall)
    return ToyScene(
        image=_picture(scene),
        instances=trace.instances,
        labels=labels,
        visible_ratios=tuple(
            float(seen / max(outline, 1)) for seen, outline in zip(visible, trace.outlines, strict=True)
        ),
        semantics=np.where(trace.instances > 0, of_instance[trace.instances], background).astype(np.uint8),
        depth=trace.depth,
        focal=scene.camera.focal,
    )


def _picture(scene: Scene) -> Array:
    """Return the supersampled picture `(H, W, 3)`, uint8 RGB."""
    height, width = scene.camera.size
    rays = scene.camera.rays(_SAMPLES)
    trace = _trace(scene, rays, _SAMPLES)
    rays, depth = rays.reshape(3, -1), trace.depth.ravel()
    # Room planes count down from -1, objects up from 1: one number per surface.
    surfaces = np.where(trace.instances > 0, trace.instances, -1 - trace.plane).ravel()
    light = np.empty_like(rays)
    for number in np.unique(surfaces):
        pixels = np.flatnonzero(surfaces == number)
        points = column(scene.camera.position, 2) + rays[:, pixels] * depth[pixels]
        patch, others = _patch(scene, int(number), points)
        light[:, pixels] = shade(patch, scene.camera.position, others, scene.lighting)
    light = light.reshape(3, height, _SAMPLES, width, _SAMPLES).mean(axis=(2, 4))
    return np.ascontiguousarray(to_srgb(light).transpose(1, 2, 0))


def _patch(scene: Scene, number: int, points: Array) -> tuple[Patch, list[Solid]]:
    """Return the points of a surface, numbered as in `_picture`, and the solids that may shade it."""
    things = scene.things
    if number < 0:
        plane = -1 - number
        surface = scene.floor if plane == FLOOR else scene.walls
        patch = Patch(points, column(scene.room.normal(plane), 2), surface.albedo(points), surface.gloss)
        return patch, [thing.solid for thing in things]
    solid, surface = things[number - 1].solid, things[number - 1].surface
    # The pattern turns with the solid.
    albedo = surface.albedo(solid.local(points - column(solid.centre, 2)))
    patch = Patch(points, solid.normals(points), albedo, surface.gloss)
    return patch, [thing.solid for thing in things if thing.solid is not solid]
