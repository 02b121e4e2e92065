"""The geometry of a toy scene: pinhole camera, room, and three solids, each met by whole arrays of rays at once.

World coordinates are metres: x to the right, y up, z into the room; the floor is y = 0. Rays are arrays `(3, ...)`. The
rays of a camera have length 1 along its optical axis, so the parameter of a hit IS its z-depth and is never converted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

Vector = tuple[float, float, float]
Array = np.ndarray

FLOOR, WALL_LEFT, WALL_RIGHT, WALL_FAR, WALL_NEAR = range(5)

_TINY = np.float32(1e-9)


def column(vector: Vector, ndim: int) -> Array:
    """Return a vector as a float32 array `(3, 1, ..., 1)` of `ndim` dimensions, to broadcast against rays."""
    return np.asarray(vector, np.float32).reshape((3,) + (1,) * (ndim - 1))


def dot(first: Array, second: Array) -> Array:
    """Return the scalar product over the leading axis; faster than `sum(axis=0)` for three planes."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _nonzero(values: Array) -> Array:
    """Replace zeros, so that a ray parallel to a plane meets it very far away instead of dividing by zero."""
    return np.where(np.abs(values) < _TINY, _TINY, values)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels and its principal point in the middle of the picture.

    Args:
        position: Optical centre, metres.
        pitch: Downward tilt, radians.
        yaw: Turn to the right, radians.
        focal: Focal length in pixels of the picture.
        size: `(H, W)` of the picture in pixels.
    """

    position: Vector
    pitch: float
    yaw: float
    focal: float
    size: tuple[int, int]

    def axes(self) -> tuple[Array, Array, Array]:
        """Return the unit vectors right, down and forward in world coordinates."""
        sin_p, cos_p, sin_y, cos_y = math.sin(self.pitch), math.cos(self.pitch), math.sin(self.yaw), math.cos(self.yaw)
        right = np.array((cos_y, 0.0, -sin_y), np.float32)
        down = np.array((-sin_y * sin_p, -cos_p, -cos_y * sin_p), np.float32)
        forward = np.array((sin_y * cos_p, -sin_p, cos_y * cos_p), np.float32)
        return right, down, forward

    def rays(self, samples: int = 1) -> Array:
        """Return the directions `(3, H * samples, W * samples)` through the centres of the (sub)pixels."""
        height, width = self.size
        right, down, forward = (axis.reshape(3, 1, 1) for axis in self.axes())
        across = ((np.arange(width * samples, dtype=np.float32) + 0.5) / samples - width / 2) / self.focal
        along = ((np.arange(height * samples, dtype=np.float32) + 0.5) / samples - height / 2) / self.focal
        return forward + right * across[None, None, :] + down * along[None, :, None]

    def project(self, point: Vector) -> tuple[float, float, float]:
        """Return `(row, column, depth)` of a world point: pixels from the upper left corner, and metres."""
        right, down, forward = self.axes()
        offset = np.subtract(point, self.position)
        depth = float(forward @ offset)
        scale = self.focal / max(depth, 1e-6)
        return float(down @ offset) * scale + self.size[0] / 2, float(right @ offset) * scale + self.size[1] / 2, depth

    def window(self, centre: Vector, radius: float, samples: int = 1) -> tuple[slice, slice]:
        """Return slices of the (sub)pixels that can see a ball; all of them when the ball reaches the camera."""
        height, width = self.size[0] * samples, self.size[1] * samples
        row, col, depth = self.project(centre)
        if depth <= 1.5 * radius:
            return slice(0, height), slice(0, width)
        # A ball off the axis projects to an ellipse, longer than focal * radius / depth by at most this factor.
        off_axis = math.hypot(row - self.size[0] / 2, col - self.size[1] / 2) / self.focal
        reach = (self.focal * radius / (depth - radius) * (1 + off_axis) + 1) * samples
        row, col = row * samples, col * samples
        rows = slice(max(0, int(row - reach)), max(0, min(height, int(row + reach) + 2)))
        return rows, slice(max(0, int(col - reach)), max(0, min(width, int(col + reach) + 2)))


@dataclass(frozen=True)
class Room:
    """A floor at y = 0 between four walls without a ceiling.

    Args:
        left, right: Walls at these x, metres.
        near, far: Walls at these z, metres; the near one stands behind the camera.
    """

    left: float
    right: float
    near: float
    far: float

    def distance(self, origin: Vector, directions: Array) -> tuple[Array, Array]:
        """Return the ray parameter and the plane (`FLOOR`, `WALL_LEFT`, ...) that each ray from inside meets first."""
        dx, dy, dz = _nonzero(directions)
        ox, oy, oz = (np.float32(value) for value in origin)
        to_side = np.where(dx > 0, np.float32(self.right) - ox, np.float32(self.left) - ox) / dx
        to_end = np.where(dz > 0, np.float32(self.far) - oz, np.float32(self.near) - oz) / dz
        to_floor = np.where(dy < 0, -oy / dy, np.float32(np.inf))
        depth = np.minimum(np.minimum(to_side, to_end), to_floor)
        plane = np.where(
            depth == to_floor,
            FLOOR,
            np.where(depth == to_end, np.where(dz > 0, WALL_FAR, WALL_NEAR), np.where(dx > 0, WALL_RIGHT, WALL_LEFT)),
        )
        return depth, plane.astype(np.int8)

    @staticmethod
    def normal(plane: int) -> Vector:
        """Return the unit normal of a plane, pointing into the room."""
        return ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 0.0, 1.0))[plane]


@dataclass(frozen=True)
class Solid(ABC):
    """A convex solid, turned about the vertical through its centre.

    Args:
        centre: World position of the centre, metres.
        yaw: Turn about the vertical, radians.
        extent: Half lengths along the own x, y and z axes, metres. A sphere uses the first; a cylinder the first as
            radius and the second as half height.
    """

    centre: Vector
    yaw: float
    extent: Vector

    @property
    @abstractmethod
    def radius(self) -> float:
        """Radius in metres of the smallest ball about the centre that holds the solid."""

    @abstractmethod
    def _enter(self, origin: Array, directions: Array) -> Array:
        """Return the parameter at which rays in own coordinates enter, `inf` for a miss."""

    @abstractmethod
    def _outward(self, points: Array) -> Array:
        """Return unit normals in own coordinates at surface points in own coordinates."""

    def distance(self, origin: Array, directions: Array) -> Array:
        """Return the parameter at which each ray enters, `inf` where it misses or starts beyond.

        Args:
            origin: `(3, ...)`, broadcastable against directions; outside the solid.
            directions: `(3, ...)`, any length.
        """
        entry = self._enter(self.local(origin - column(self.centre, origin.ndim)), self.local(directions))
        return np.where(entry > 0, entry, np.float32(np.inf))

    def normals(self, points: Array) -> Array:
        """Return outward unit normals `(3, ...)` at surface points `(3, ...)`, both in world coordinates."""
        return self._turn(self._outward(self.local(points - column(self.centre, points.ndim))), -self.yaw)

    def local(self, vectors: Array) -> Array:
        """Return world vectors `(3, ...)` in the solid's own axes (directions only: the centre is not subtracted)."""
        return self._turn(vectors, self.yaw)

    @staticmethod
    def _turn(vectors: Array, angle: float) -> Array:
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        x, y, z = vectors
        return np.stack((cos * x - sin * z, y, sin * x + cos * z))


@dataclass(frozen=True)
class Box(Solid):
    """A cuboid."""

    @property
    def radius(self) -> float:  # noqa: D102 (inherited)
        return math.hypot(*self.extent)

    def _enter(self, origin: Array, directions: Array) -> Array:
        inverse = 1 / _nonzero(directions)
        middle, half = -origin * inverse, column(self.extent, directions.ndim) * np.abs(inverse)
        enter, leave = (middle - half).max(axis=0), (middle + half).min(axis=0)
        return np.where(enter < leave, enter, np.float32(np.inf))

    def _outward(self, points: Array) -> Array:
        relative = points / column(self.extent, points.ndim)
        face = np.abs(relative).argmax(axis=0)
        return np.stack([np.where(face == axis, np.sign(relative[axis]), np.float32(0)) for axis in range(3)])


@dataclass(frozen=True)
class Sphere(Solid):
    """A ball."""

    @property
    def radius(self) -> float:  # noqa: D102 (inherited)
        return self.extent[0]

    def _enter(self, origin: Array, directions: Array) -> Array:
        # Through the point of closest approach: in float32 b^2 - ac would lose the digits near the silhouette.
        squared = dot(directions, directions)
        closest = -dot(origin, directions) / squared
        offset = origin + closest * directions
        inside = np.float32(self.radius**2) - dot(offset, offset)
        return np.where(inside > 0, closest - np.sqrt(np.maximum(inside, 0) / squared), np.float32(np.inf))

    def _outward(self, points: Array) -> Array:
        return points / np.float32(self.radius)


@dataclass(frozen=True)
class Cylinder(Solid):
    """An upright cylinder."""

    @property
    def radius(self) -> float:  # noqa: D102 (inherited)
        return math.hypot(self.extent[0], self.extent[1])

    def _enter(self, origin: Array, directions: Array) -> Array:
        dx, dy, dz = directions
        dy = _nonzero(dy)
        squared = _nonzero(dx * dx + dz * dz)
        closest = -(origin[0] * dx + origin[2] * dz) / squared
        across, deep = origin[0] + closest * dx, origin[2] + closest * dz
        inside = np.float32(self.extent[0] ** 2) - across * across - deep * deep
        side = np.sqrt(np.maximum(inside, 0) / squared)
        middle, half = -origin[1] / dy, np.float32(self.extent[1]) / np.abs(dy)
        enter, leave = np.maximum(closest - side, middle - half), np.minimum(closest + side, middle + half)
        return np.where((inside > 0) & (enter < leave), enter, np.float32(np.inf))

    def _outward(self, points: Array) -> Array:
        radius, half_height, _ = self.extent
        x, y, z = points / column((radius, half_height, radius), points.ndim)
        cap = np.abs(y) > np.hypot(x, z)
        return np.where(cap, np.stack((0 * x, np.sign(y), 0 * z)), np.stack((x, 0 * y, z)))
