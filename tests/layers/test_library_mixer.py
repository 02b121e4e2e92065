"""Modules of other libraries as token mixers: their numbers, with and without padding; and what is refused."""

import pytest
import torch
from timm.models import focalnet, metaformer, pvt_v2, xcit
from torch import nn

import effvit_mm
from effvit_mm.layers import LibraryMixer

B, H, W, C, HEADS, P = 3, 6, 8, 24, 3, 2
GRID = (H, W)
TIMM = "timm.models."


def tokens(n=H * W):
    return torch.randn(B, n, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def built(**options):
    torch.manual_seed(0)
    return LibraryMixer(C, HEADS, **options).double().eval()


def as_map(x):
    return x.transpose(1, 2).unflatten(-1, GRID)


def as_tokens(x):
    return x.flatten(2).transpose(1, 2)


class LastChannels(nn.Module):
    """Shifts rows, which tells rows from columns and channels."""

    def forward(self, x):
        assert x.shape[1:] == (H, W, C)
        return x.roll(1, dims=1)


CASES = {
    "tokens": (dict(module=TIMM + "xcit.XCA"), xcit.XCA, lambda module, x: module(x)),
    "grid": (
        dict(module=TIMM + "pvt_v2.Attention", layout="tokens_and_grid", sr_ratio=2),
        pvt_v2.Attention,
        lambda module, x: module(x, GRID),
    ),
    "map": (
        dict(module=TIMM + "focalnet.FocalModulation", layout="map", focal_window=3, focal_level=2),
        focalnet.FocalModulation,
        lambda module, x: as_tokens(module(as_map(x))),
    ),
    "map without channels": (
        dict(module=TIMM + "metaformer.Pooling", layout="map", pool_size=5),
        metaformer.Pooling,
        lambda module, x: as_tokens(module(as_map(x))),
    ),
    "channels last": (
        dict(module=LastChannels, layout="map_channels_last"),
        LastChannels,
        lambda module, x: x.unflatten(1, GRID).roll(1, dims=1).flatten(1, 2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_the_module_gives(name):
    options, kind, run = CASES[name]
    mixer = built(**options)
    assert type(mixer.module) is kind
    torch.testing.assert_close(mixer(tokens(), GRID), run(mixer.module, tokens()), rtol=0, atol=0)


def test_what_the_module_adds_is_subtracted():
    mit = pytest.importorskip("mmseg.models.backbones.mit")
    options = dict(module=mit.EfficientMultiheadAttention, layout="tokens_and_grid", sr_ratio=2)
    plain, less = built(**options), built(**options, adds_input=True)
    torch.testing.assert_close(less(tokens(), GRID) + tokens(), plain(tokens(), GRID))


@pytest.mark.parametrize("name", ["tokens", "grid", "map"])
def test_pictures_of_different_padding_get_what_they_would_get_alone(name):
    mixer = built(**CASES[name][0])
    sides = [(4, 6), (6, 8), (4, 6)]
    padding = torch.ones(B, H, W, dtype=torch.bool)
    for picture, (height, width) in zip(padding, sides, strict=True):
        picture[:height, :width] = False
    mixed = mixer(tokens(), GRID, padding_mask=padding.flatten(1)).unflatten(1, GRID)
    for x, found, (height, width) in zip(tokens().unflatten(1, GRID), mixed, sides, strict=True):
        alone = mixer(x[None, :height, :width].flatten(1, 2), (height, width))[0]
        torch.testing.assert_close(found[:height, :width].flatten(0, 1), alone)
        assert not found[height:].any()
        assert not found[:, width:].any()


def test_a_picture_that_is_all_padding_gives_nothing():
    mixer, padding = built(**CASES["map"][0]), torch.zeros(B, H * W, dtype=torch.bool)
    padding[1] = True
    mixed = mixer(tokens(), GRID, padding_mask=padding)
    assert not mixed[1].any()
    torch.testing.assert_close(mixed[0], mixer(tokens(), GRID)[0])


def test_prefix_tokens_are_tokens_where_there_is_no_grid_and_pass_by_where_there_is():
    x = tokens(P + H * W)
    without, with_grid = built(**CASES["tokens"][0]), built(**CASES["map"][0])
    torch.testing.assert_close(without(x, GRID, num_prefix=P), without.module(x))
    mixed = with_grid(x, GRID, num_prefix=P)
    assert not mixed[:, :P].any()
    torch.testing.assert_close(mixed[:, P:], with_grid(x[:, P:], GRID))


def test_a_pyramid_takes_it_in_a_stage():
    mixer = {"type": "library", **CASES["map"][0]}
    backbone = effvit_mm.create_backbone("pyramid_t", mixers=(mixer, "efficient", None, None), depths=(1, 1, 1, 1))
    assert [block.mixer.module.dim for block in backbone.stages[0].blocks] == [32]
    assert backbone.eval()(torch.randn(1, 3, 45, 70))[0].shape == (1, 32, 12, 18)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (dict(module="timm.models.xcit.XCAA"), ValueError, "'timm.models.xcit.XCAA' cannot be imported"),
        (dict(module="tim.models.XCA"), ValueError, "No module named 'tim'"),
        (dict(module="XCA"), ValueError, "name it as in 'timm.models.focalnet.FocalModulation'"),
        (dict(module=TIMM + "xcit.XCA", layout="grid"), ValueError, "layout='grid' must be one of tokens, "),
        (dict(module=TIMM + "xcit.XCA", heads=3), TypeError, "takes dim, num_heads, .*heads"),
    ],
)
def test_what_cannot_be_built_is_named(options, kind, message):
    with pytest.raises(kind, match=message):
        LibraryMixer(C, HEADS, **options)
