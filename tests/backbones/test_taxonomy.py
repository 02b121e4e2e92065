"""The taxonomy of mixers: complete, the same as its page, and usable by name."""

from pathlib import Path

import pytest
import torch

import effvit_mm
from effvit_mm.backbones.taxonomy import CATEGORIES, taxonomy_tables
from effvit_mm.backbones.tokenization_taxonomy import ACROSS_SCALES, tokenization_tables
from effvit_mm.layers import AnchorAttention, EfficientAttention, SelfAttention
from effvit_mm.registry import MODELS, TOKEN_MERGERS, TOKEN_MIXERS, TOKEN_REDUCERS

PAGE = Path(__file__).parents[2] / "docs" / "mixers.md"


def test_every_registered_mixer_has_a_row_and_every_row_a_mixer():
    assert effvit_mm.list_mixers() == sorted(TOKEN_MIXERS.module_dict)


def test_the_categories_share_out_the_mixers():
    shared_out = [name for category in CATEGORIES for name in effvit_mm.list_mixers(category)]
    assert sorted(shared_out) == effvit_mm.list_mixers()
    assert all(effvit_mm.list_mixers(category) for category in CATEGORIES)


def test_every_registered_merger_reducer_and_neck_has_a_row_and_every_row_one_of_these():
    assert effvit_mm.list_mergers() == sorted(TOKEN_MERGERS.module_dict)
    assert effvit_mm.list_reducers() == sorted(TOKEN_REDUCERS.module_dict)
    from effvit_mm import necks

    assert sorted(ACROSS_SCALES) == sorted(necks.__all__)
    assert all(MODELS.get(name) is getattr(necks, name) for name in ACROSS_SCALES)


def test_an_unknown_category_is_named_with_a_near_one():
    with pytest.raises(ValueError, match=r"'hierarchic'.*did you mean 'hierarchical'"):
        effvit_mm.list_mixers("hierarchic")


def test_the_page_shows_the_table():
    assert taxonomy_tables() in PAGE.read_text(encoding="utf-8"), "docs/mixers.md must hold taxonomy_tables() as it is"


def test_the_page_shows_the_tables_of_tokenization():
    assert tokenization_tables() in PAGE.read_text(encoding="utf-8"), "docs/mixers.md must hold tokenization_tables()"


@pytest.mark.parametrize("merger", effvit_mm.list_mergers())
@torch.no_grad()
def test_every_merger_is_a_stem_and_stands_between_stages(merger):
    backbone = effvit_mm.create_backbone("pyramid_t", mergers=merger, depths=(1, 1, 1, 1)).eval()
    maps = backbone(torch.randn(1, 3, 45, 70, generator=torch.Generator().manual_seed(0)))
    assert [fmap.shape[2:] for fmap in maps] == [(12, 18), (6, 9), (3, 5), (2, 3)]


def test_a_pyramid_takes_another_mixer_in_each_stage_by_name():
    backbone = effvit_mm.create_backbone("pyramid_t", mixers=("efficient", "efficient", "anchor", "self"))
    kinds = [{type(block.mixer) for block in stage.blocks} for stage in backbone.stages]
    assert kinds == [{EfficientAttention}, {EfficientAttention}, {AnchorAttention}, {SelfAttention}]


@pytest.mark.parametrize("mixer", effvit_mm.list_mixers())
@torch.no_grad()
def test_every_mixer_fills_every_stage_of_a_pyramid(mixer):
    backbone = effvit_mm.create_backbone("pyramid_t", mixers=mixer, mlps="enhanced_mix", depths=(1, 1, 1, 1)).eval()
    maps = backbone(torch.randn(1, 3, 45, 70, generator=torch.Generator().manual_seed(0)))
    assert [fmap.shape[2:] for fmap in maps] == [(12, 18), (6, 9), (3, 5), (2, 3)]
    assert all(fmap.isfinite().all() for fmap in maps)


def test_blocks_of_a_stage_take_several_mixers_in_turn():
    backbone = effvit_mm.create_backbone("pyramid_t", mixers=(("window", "shifted_window"), None, None, "self"))
    assert [block.mixer.shift for block in backbone.stages[0].blocks] == [0, 3]


def test_an_empty_turn_is_refused():
    with pytest.raises(ValueError, match="empty sequence"):
        effvit_mm.create_backbone("pyramid_t", mixers=((), None, None, "self"))
