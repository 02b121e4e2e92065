"""The taxonomy of mixers: complete, the same as its page, and usable by name."""

import importlib
import re
from pathlib import Path

import pytest
import torch

import effvit_mm
from effvit_mm.analysis import count
from effvit_mm.backbones.taxonomy import CATEGORIES, MIXERS, ROWS, equality_table, mixer_tables, tokenization_tables
from effvit_mm.layers import AnchorAttention, EfficientAttention, SelfAttention
from effvit_mm.registry import MODELS, TOKEN_MERGERS, TOKEN_MIXERS, TOKEN_REDUCERS, build_mechanism

PAGE = Path(__file__).parents[2] / "docs" / "mixers.md"


def test_every_registered_mixer_has_a_row_and_every_row_a_mixer():
    # Any module of a library is none of the survey's.
    assert effvit_mm.list_mixers() == sorted(set(TOKEN_MIXERS.module_dict) - {"library"})


def test_every_row_is_in_categories_there_are_and_every_category_has_rows():
    found = {category for row in ROWS for category in row.categories}
    assert found == set(CATEGORIES)
    assert all(row.categories for row in ROWS)
    assert len({(row.kind, row.name) for row in ROWS}) == len(ROWS)


def test_a_mixer_is_listed_in_each_of_its_categories():
    listed = {category: effvit_mm.list_mixers(category) for category in CATEGORIES if "tokenization" not in category}
    assert {name for names in listed.values() for name in names} == set(MIXERS)
    both = ("complexity reduction", "channel and spatial")
    assert all("cross_covariance" in listed[category] for category in both)
    assert "cross_covariance" not in listed["hierarchical"]


def test_what_makes_other_tokens_is_said_to_be_no_mixer():
    with pytest.raises(ValueError, match=r"list_mergers\(\) and list_reducers\(\)"):
        effvit_mm.list_mixers("rethinking tokenization")


def test_every_registered_merger_reducer_and_neck_has_a_row_and_every_row_one_of_these():
    assert effvit_mm.list_mergers() == sorted(TOKEN_MERGERS.module_dict)
    assert effvit_mm.list_reducers() == sorted(TOKEN_REDUCERS.module_dict)
    from effvit_mm import necks

    across_scales = [row.name for row in ROWS if row.kind == "neck"]
    assert sorted(across_scales) == sorted(necks.__all__)
    assert all(MODELS.get(name) is getattr(necks, name) for name in across_scales)


# Letters of the table, for the defaults of each mixer on 14 x 14 tokens of 24 channels in 3 heads.
LETTERS = dict(N=196, C=24, d=8, M=30, S=7, P=7, R=1, K=49, r=2, s=1, kernels=(5,), k=5, L=2)
OTHERS = {
    "agent": dict(M=49),
    "spatial_reduction": dict(R=2),
    "deformable": dict(K=49),
    "focal": dict(kernels=(3, 5)),
}
SPECS = {
    "relative": {"type": "relative", "table_grid": (3, 4)},
    "spatial_reduction": {"type": "spatial_reduction", "reduction_ratio": 2},
    "deformable": {"type": "deformable", "stride": 2},
}


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_the_multiply_adds_of_a_row_are_those_counted(name):
    formula = MIXERS[name].multiply_adds.split(";")[0].replace("²", "**2")
    formula = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", formula)
    formula = re.sub(r"Σ \* (.*)", r"sum(\1 for k in kernels)", formula)
    mixer = build_mechanism(TOKEN_MIXERS, SPECS.get(name, name), 24, 3).eval()
    ledger = count(mixer, torch.randn(1, 196, 24), (14, 14))
    assert eval(formula, {**LETTERS, **OTHERS.get(name, {})}) == ledger.macs, formula


@pytest.mark.parametrize("path", sorted({path for row in ROWS for path in row.equal_to}))
def test_a_module_that_something_is_said_to_be_equal_to_is_there_and_a_test_compares_with_it(path):
    module, _, name = path.rpartition(".")
    pytest.importorskip(module.partition(".")[0])
    assert hasattr(importlib.import_module(module), name)
    layers = Path(__file__).parents[1] / "layers"
    assert any(f"{name}(" in file.read_text(encoding="utf-8") for file in layers.glob("test_*.py"))


def test_an_unknown_category_is_named_with_a_near_one():
    with pytest.raises(ValueError, match=r"'hierarchic'.*did you mean 'hierarchical'"):
        effvit_mm.list_mixers("hierarchic")


def test_the_page_shows_the_table():
    page = PAGE.read_text(encoding="utf-8")
    assert mixer_tables() in page, "docs/mixers.md must hold mixer_tables() as it is"
    assert equality_table() in page, "docs/mixers.md must hold equality_table() as it is"


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
