"""The figure of anchors: of any model with them, whole or not at all, strongest first."""

import numpy as np
import pytest
import torch
from cases import SMALL_PLAIN
from PIL import Image

from effvit_mm.analysis.anchor_health import AnchorHealth, AnchorMaps
from effvit_mm.backbones import AnchorDeiT, create_classifier
from effvit_mm.engine.anchor_drawing import draw_anchors, strongest
from effvit_mm.errors import BadInputError


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(file)
    return file


def backbone(**options):
    torch.manual_seed(0)
    return AnchorDeiT(**{**SMALL_PLAIN, "num_anchors": 7, "mode": "cosine", **options})


def test_a_figure_is_written_and_the_maps_of_all_layers_returned(picture, tmp_path):
    out = tmp_path / "new" / "anchors.png"
    maps = draw_anchors(backbone().train(), None, picture, out, size=64)
    assert list(maps) == [f"blocks.{i}.mixer" for i in range(4)]
    assert maps["blocks.0.mixer"].weights.shape == (3, 7, 4, 6)
    with Image.open(out) as figure:
        assert min(figure.size) > 300
    assert [file.name for file in out.parent.iterdir()] == ["anchors.png"]


def test_rows_are_the_layers_asked_for(picture, tmp_path):
    heights = []
    for layers in (["blocks.1.mixer"], ["blocks.1.mixer", "blocks.3.mixer"]):
        draw_anchors(backbone(), None, picture, tmp_path / "anchors.png", layers=layers, size=64)
        with Image.open(tmp_path / "anchors.png") as figure:
            heights.append(figure.height)
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)


def test_the_model_stays_in_training(picture, tmp_path):
    network = backbone().train()
    draw_anchors(network, None, picture, tmp_path / "anchors.png", size=64)
    assert network.training


def test_weights_of_a_classifier_are_those_that_are_drawn(picture, tmp_path):
    torch.manual_seed(3)
    network = create_classifier("anchor_deit_t", num_classes=5, depth=2)
    for block in network.backbone.blocks:
        torch.nn.init.normal_(block.mixer.anchors, std=30.0)
    torch.save(network.state_dict(), tmp_path / "classifier.pth")
    maps = draw_anchors(
        "anchor_deit_t(depth=2)", tmp_path / "classifier.pth", picture, tmp_path / "anchors.png", size=64
    )
    direct = draw_anchors(network, None, picture, tmp_path / "anchors.png", size=64)
    torch.testing.assert_close(maps["blocks.1.mixer"].weights, direct["backbone.blocks.1.mixer"].weights)


def maps_of(shares, weights):
    return AnchorMaps(torch.tensor(weights)[:, :, None], torch.tensor(shares), AnchorHealth(0, 0, 1))


def test_the_largest_shares_come_first_and_no_map_twice():
    weights = [[[4.0, 0, 0, 0], [0, 4.0, 0, 0]], [[3.9, 0.1, 0, 0], [0, 0, 2.0, 2.0]]]
    maps = maps_of([[0.3, 0.7], [0.6, 0.4]], weights)
    assert strongest(maps, 4) == [(0, 1), (1, 0), (1, 1)]
    assert strongest(maps, 2) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["blocks.9.mixer"]}, "'blocks.9.mixer' is no anchor layer of the model"),
        ({"per_row": 0}, "per_row=0 must be at least 1"),
        ({"size": 8}, "size=8"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(picture, tmp_path, options, message):
    with pytest.raises(BadInputError, match=message):
        draw_anchors(backbone(), None, picture, tmp_path / "anchors.png", **{"size": 64, **options})


def test_another_suffix_or_picture_is_refused(picture, tmp_path):
    with pytest.raises(BadInputError, match=r"anchors\.jpg must end in \.png"):
        draw_anchors(backbone(), None, picture, tmp_path / "anchors.jpg")
    with pytest.raises(BadInputError, match=r"none\.png does not exist"):
        draw_anchors(backbone(), None, tmp_path / "none.png", tmp_path / "anchors.png")


def test_weights_of_another_network_are_refused_and_nothing_is_drawn(picture, tmp_path):
    torch.save(backbone(num_anchors=9).state_dict(), tmp_path / "other.pth")
    with pytest.raises(BadInputError, match=r"other\.pth does not fit the backbone AnchorDeiT"):
        draw_anchors(backbone(), tmp_path / "other.pth", picture, tmp_path / "anchors.png", size=64)
    assert not (tmp_path / "anchors.png").exists()
