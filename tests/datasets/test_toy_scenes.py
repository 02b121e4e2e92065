"""The toy scenes: one geometry behind picture, masks and depth, and nothing but shape to tell the classes apart."""

import math
from dataclasses import replace

import numpy as np
import pytest

from effvit_mm.datasets.toy_drawing import OBJECT_CLASSES, Scene, Thing, draw_scene
from effvit_mm.datasets.toy_geometry import Box, Camera, Cylinder, Room, Sphere
from effvit_mm.datasets.toy_scenes import SEMANTIC_CLASSES, render, render_scene
from effvit_mm.datasets.toy_shading import PATTERNS, Lighting, Surface

HEIGHT, WIDTH, FOCAL = 65, 81, 70.0  # odd, so that the middle pixel looks along the optical axis
EYE_HEIGHT = 1.25
AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def plain(colour):
    return Surface(colour, colour, "plain", period=1.0, axes=AXES, phase=(0.0, 0.0, 0.0))


def make_scene(*solids, pitch=0.0, lamp=(-1.5, 3.0, 1.0)):
    camera = Camera((0.0, EYE_HEIGHT, 0.0), pitch, yaw=0.0, focal=FOCAL, size=(HEIGHT, WIDTH))
    lighting = Lighting(lamp, (0.0, 1.0, 0.0), lamp_strength=0.8, ambient_strength=0.3, fill_strength=0.1)
    things = tuple(Thing(type(solid).__name__.lower(), solid, plain((0.8, 0.2, 0.1))) for solid in solids)
    return Scene(camera, Room(-2.0, 2.0, -1.0, 6.0), plain((0.7, 0.7, 0.7)), plain((0.8, 0.8, 0.9)), things, lighting)


@pytest.fixture(scope="module")
def rendered():
    return [render_scene(seed, (96, 128)) for seed in range(12)]


def test_the_same_seed_gives_the_same_bytes():
    first, second = render_scene(7, (64, 80)), render_scene(7, (64, 80))
    for name in ("image", "instances", "semantics", "depth"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name
    assert (first.labels, first.focal) == (second.labels, second.focal)


def test_another_seed_gives_another_picture():
    assert (render_scene(7, (64, 80)).image != render_scene(8, (64, 80)).image).any()


def test_arrays_have_the_promised_shapes_and_types(rendered):
    for scene in rendered:
        assert (scene.image.shape, scene.image.dtype) == ((96, 128, 3), np.uint8)
        assert (scene.instances.shape, scene.instances.dtype) == ((96, 128), np.int32)
        assert (scene.semantics.shape, scene.semantics.dtype) == ((96, 128), np.uint8)
        assert (scene.depth.shape, scene.depth.dtype) == ((96, 128), np.float32)


def test_pixels_of_an_instance_carry_its_class(rendered):
    for scene in rendered:
        for number, label in enumerate(scene.labels, start=1):
            assert set(scene.semantics[scene.instances == number]) == {SEMANTIC_CLASSES.index(label)}
        assert set(scene.semantics[scene.instances == 0]) <= {
            SEMANTIC_CLASSES.index(name) for name in ("floor", "wall")
        }


def test_depth_stays_well_within_the_range_of_indoor_sensors(rendered):
    assert min(scene.depth.min() for scene in rendered) > 0.5
    assert max(scene.depth.max() for scene in rendered) < 10


def test_every_object_is_large_enough_to_be_found(rendered):
    for scene in rendered:
        assert 2 <= len(scene.labels) <= 6
        assert len(scene.visible_ratios) == len(scene.labels)
        assert min(scene.visible_ratios) >= 0.4
        for number in range(1, len(scene.labels) + 1):
            rows, cols = np.nonzero(scene.instances == number)
            assert rows.size >= 60
            assert min(np.ptp(rows), np.ptp(cols)) + 1 >= 10


def test_a_sphere_straight_ahead_is_nearest_at_distance_minus_radius():
    scene = render(make_scene(Sphere((0.0, EYE_HEIGHT, 4.0), 0.3, (0.6, 0.6, 0.6))))
    assert scene.depth[HEIGHT // 2, WIDTH // 2] == pytest.approx(4.0 - 0.6, abs=1e-3)
    assert scene.depth[scene.instances == 1].min() == pytest.approx(4.0 - 0.6, abs=1e-3)


def test_the_outline_of_a_sphere_has_the_radius_of_its_tangent_cone():
    scene = render(make_scene(Sphere((0.0, EYE_HEIGHT, 4.0), 0.0, (0.6, 0.6, 0.6))))
    radius = FOCAL * 0.6 / math.sqrt(4.0**2 - 0.6**2)
    assert (scene.instances == 1).sum() == pytest.approx(math.pi * radius**2, rel=0.02)


def test_the_front_of_a_box_that_faces_the_camera_has_one_depth():
    scene = render(make_scene(Box((0.0, EYE_HEIGHT, 4.0), 0.0, (0.5, 0.7, 0.4))))
    np.testing.assert_allclose(scene.depth[scene.instances == 1], 4.0 - 0.4, atol=1e-3)


def test_a_box_turned_by_45_degrees_shows_its_edge_first():
    scene = render(make_scene(Box((0.0, EYE_HEIGHT, 4.0), math.pi / 4, (0.5, 0.7, 0.5))))
    assert scene.depth[HEIGHT // 2, WIDTH // 2] == pytest.approx(4.0 - 0.5 * math.sqrt(2), abs=1e-3)


def test_a_cylinder_has_one_depth_along_its_middle_column():
    scene = render(make_scene(Cylinder((0.0, EYE_HEIGHT, 4.0), 0.2, (0.5, 0.7, 0.5))))
    column = scene.depth[scene.instances[:, WIDTH // 2] == 1, WIDTH // 2]
    assert column.size > 10
    np.testing.assert_allclose(column, 4.0 - 0.5, atol=1e-3)


@pytest.mark.parametrize("pitch", [0.0, 0.3])
def test_the_floor_has_the_depth_of_its_plane(pitch):
    scene = render(make_scene(pitch=pitch))
    row, col = HEIGHT - 3, WIDTH // 2
    downward = math.sin(pitch) + (row + 0.5 - HEIGHT / 2) / FOCAL * math.cos(pitch)
    assert scene.semantics[row, col] == SEMANTIC_CLASSES.index("floor")
    assert scene.depth[row, col] == pytest.approx(EYE_HEIGHT / downward, abs=1e-3)


def test_a_wall_that_faces_the_camera_has_its_distance_as_depth():
    scene = render(make_scene())
    middle = scene.depth[HEIGHT // 2 - 5 : HEIGHT // 2, WIDTH // 2 - 5 : WIDTH // 2 + 6]
    np.testing.assert_allclose(middle, 6.0, atol=1e-3)


def test_the_nearer_object_hides_the_farther_one():
    far, near = Box((0.0, EYE_HEIGHT, 5.0), 0.0, (0.8, 0.8, 0.3)), Sphere((0.0, EYE_HEIGHT, 3.0), 0.0, (0.3, 0.3, 0.3))
    scene, swapped = render(make_scene(far, near)), render(make_scene(near, far))
    assert scene.instances[HEIGHT // 2, WIDTH // 2] == 2
    assert scene.visible_ratios[0] < 1 == scene.visible_ratios[1]
    assert (scene.depth == swapped.depth).all()
    assert (scene.image == swapped.image).all()


@pytest.mark.parametrize(
    "solid",
    [
        Box((0.2, 1.0, 4.0), 0.7, (0.5, 0.7, 0.3)),
        Sphere((0.2, 1.0, 4.0), 0.7, (0.5, 0.5, 0.5)),
        Cylinder((0.2, 1.0, 4.0), 0.7, (0.5, 0.7, 0.5)),
    ],
)
def test_normals_agree_with_the_slope_of_the_depth(solid):
    rays = Camera((0.0, 2.2, 0.0), 0.3, 0.0, 100 * FOCAL, (201, 301)).rays()
    start = np.array((0.0, 2.2, 0.0), np.float32).reshape(3, 1, 1)
    for turn in (0.0, 0.06):
        cos, sin = math.cos(turn), math.sin(turn)
        turned = np.stack((cos * rays[0] + sin * rays[2], rays[1], cos * rays[2] - sin * rays[0]))
        points = start + turned * solid.distance(start, turned)
        normals = solid.normals(points)
        slope = np.cross(
            points[:, 40:, :-40] - points[:, :-40, :-40], points[:, :-40, 40:] - points[:, :-40, :-40], axis=0
        )
        slope /= np.linalg.norm(slope, axis=0)
        agreement = np.abs((slope * normals[:, 20:-20, 20:-20]).sum(axis=0))
        np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, atol=1e-4)
        assert np.median(agreement) > 0.999
        assert ((normals * turned).sum(axis=0) < 0).all(), "normals must point at the camera"


def test_the_window_of_a_ball_holds_every_ray_that_meets_it():
    camera = Camera((0.1, 1.3, 0.0), 0.25, -0.2, 60.0, (64, 96))
    rays, start = camera.rays(2), np.array((0.1, 1.3, 0.0), np.float32).reshape(3, 1, 1)
    rng = np.random.default_rng(1)
    for _ in range(100):
        ball = Sphere(tuple(rng.uniform((-2, 0, 0.8), (2, 2, 5))), 0.0, (rng.uniform(0.1, 0.7),) * 3)
        outside = np.isfinite(ball.distance(start, rays))
        outside[camera.window(ball.centre, ball.radius, 2)] = False
        assert not outside.any(), ball


def test_an_object_casts_a_shadow_away_from_the_lamp():
    empty = make_scene(pitch=0.3)
    with_box = make_scene(Box((0.0, 0.4, 3.0), 0.0, (0.3, 0.4, 0.3)), pitch=0.3)
    lit, shaded = render(empty), render(with_box)
    row, col, _ = empty.camera.project((0.5, 0.0, 3.1))
    behind = slice(int(row) - 1, int(row) + 2), slice(int(col) - 1, int(col) + 2)
    assert (shaded.instances[behind] == 0).all()
    assert shaded.image[behind].mean() < 0.85 * lit.image[behind].mean()


def test_faces_of_a_plain_box_differ_in_brightness():
    scene = render(make_scene(Box((0.0, 0.5, 3.0), math.pi / 4, (0.5, 0.5, 0.5)), pitch=0.3))
    left, right = scene.image[40, WIDTH // 2 - 6], scene.image[40, WIDTH // 2 + 6]
    assert scene.instances[40, WIDTH // 2 - 6] == scene.instances[40, WIDTH // 2 + 6] == 1
    assert int(left.max()) - int(right.max()) > 30


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_mixes_two_colours_unless_it_is_plain(pattern):
    surface = replace(plain((1.0, 0.0, 0.0)), accent=(0.0, 1.0, 0.0), pattern=pattern, period=0.4)
    points = np.random.default_rng(0).uniform(-2, 2, (3, 4000)).astype(np.float32)
    red, green, blue = surface.albedo(points).mean(axis=1)
    assert red + green == pytest.approx(1, abs=1e-5)
    assert blue == 0
    assert green == (0 if pattern == "plain" else pytest.approx(0.5, abs=0.05))


def test_every_drawn_colour_is_within_the_range_of_srgb():
    rng = np.random.default_rng(4)
    for scene in (draw_scene(rng, (128, 160)) for _ in range(60)):
        for surface in (scene.floor, scene.walls, *(thing.surface for thing in scene.things)):
            assert 0 <= min(surface.colour + surface.accent) <= max(surface.colour + surface.accent) <= 1


def test_colour_and_texture_do_not_tell_the_class():
    rng = np.random.default_rng(3)
    things = [thing for _ in range(150) for thing in draw_scene(rng, (128, 160)).things]
    features = np.array(
        [
            (*s.colour, *s.accent, s.period, s.gloss, *(s.pattern == pattern for pattern in PATTERNS))
            for s in (thing.surface for thing in things)
        ]
    )
    labels = np.array([thing.label for thing in things])
    for label in OBJECT_CLASSES:
        own, rest = features[labels == label], features[labels != label]
        assert len(own) > 100
        error = np.sqrt(own.var(axis=0) / len(own) + rest.var(axis=0) / len(rest))
        assert (np.abs(own.mean(axis=0) - rest.mean(axis=0)) < 3.5 * error).all(), label


@pytest.mark.parametrize("size", [(63, 80), (64, 129), (64.5, 80), (64, 80, 3)])
def test_a_size_that_does_not_fit_a_room_is_refused(size):
    with pytest.raises(ValueError, match=r"size=.*pass"):
        render_scene(0, size)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed=-1"):
        render_scene(-1)
