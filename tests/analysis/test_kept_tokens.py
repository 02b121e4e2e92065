"""Kept tokens as maps and as a picture: bright where a token takes part, dim and grey where it does not."""

import numpy as np
import pytest
import torch
from cases import SMALL_PLAIN

from effvit_mm.analysis import draw_kept_tokens, kept_maps
from effvit_mm.backbones import ToSADeiT


def built(**options):
    torch.manual_seed(0)
    return ToSADeiT(**{**SMALL_PLAIN, "num_probes": 5, **options}).eval()


def x(height=64, width=96):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", [{}, {"select": "threshold"}, {"importance": "own"}])
def test_a_map_is_one_where_a_token_takes_part(options):
    backbone = built(keep=(0.3, 0.7), **options)
    with torch.no_grad():
        for block in backbone.blocks:
            block.mixer.qkv.weight.mul_(6)  # sharp attention: of two pictures, a threshold keeps unlike numbers
    maps = kept_maps(backbone, x())
    assert list(maps) == ["blocks 0, 1", "blocks 2, 3"]
    if options == {"select": "threshold"}:
        assert not all(kept.valid.all() for kept in backbone.kept_tokens(x()))
    for found, kept in zip(maps.values(), backbone.kept_tokens(x()), strict=True):
        for picture in range(2):
            places = kept.places[picture] if kept.valid is None else kept.places[picture][kept.valid[picture]]
            expected = [i + 1 in places.tolist() for i in range(24)]
            assert found[picture].flatten().tolist() == expected
        assert found.shape == (2, 4, 6)


def test_where_heads_choose_for_themselves_a_map_is_their_share():
    found = kept_maps(built(keep=0.5, head_reduce="per_head"), x())["blocks 0, 1"]
    heads = SMALL_PLAIN["num_heads"]
    assert set((found * heads).round(decimals=4).flatten().tolist()) <= set(range(heads + 1))
    torch.testing.assert_close(found.mean(dim=(1, 2)), torch.full((2,), 0.5))


def test_a_pair_that_works_on_all_tokens_has_no_map():
    assert list(kept_maps(built(keep=(1.0, 0.5)), x())) == ["blocks 2, 3"]


def test_what_is_kept_is_as_it_was_and_the_rest_is_dim_and_grey():
    picture = np.full((32, 230, 3), (40, 200, 120), np.uint8)
    kept = torch.zeros(2, 15)
    kept[1, 2] = 1
    drawn = draw_kept_tokens([picture], {"pair": [kept]})
    assert drawn.dtype == np.uint8
    left, right = drawn[24:56, :230], drawn[24:56, 236:466]
    assert (left == picture).all()
    assert (right[16:, 32:48] == picture[16:, 32:48]).all()
    right[16:, 32:48] = 30
    assert (right == 30).all()


def test_small_pictures_are_enlarged_and_of_several_sizes_each_has_its_row():
    pictures = [np.zeros((64, 96, 3), np.uint8), np.zeros((48, 240, 3), np.uint8)]
    kept = [torch.ones(4, 6), torch.ones(3, 15)]
    drawn = draw_kept_tokens(pictures, {"a": kept, "b": kept})
    assert drawn.shape == (24 + 3 * 64 + 6 + 48 + 6, 3 * (288 + 6), 3)


def test_as_many_maps_as_pictures_are_asked_for():
    with pytest.raises(ValueError, match="there are 1 pictures and maps for"):
        draw_kept_tokens([np.zeros((64, 96, 3), np.uint8)], {"a": [torch.ones(4, 6)] * 2})
