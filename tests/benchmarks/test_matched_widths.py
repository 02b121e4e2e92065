"""The search for widths of equal cost."""

from itertools import pairwise

import pytest
from benchmarks.matched_widths import (
    IN_STAGES,
    REFERENCE,
    TOLERANCE,
    WIDTHS,
    candidates,
    heads_of,
    layer_of,
    ledger_of,
    matched_widths,
    mixers_of,
    nearest,
    options_of,
    reference_macs,
)

from effvit_mm.backbones import create_backbone, list_mixers
from effvit_mm.errors import BadInputError


def cost(widths):
    """Stages of 7, 5, 3 and 2 tokens: a linear layer and a dense mixing each."""
    return sum(tokens * width**2 + tokens**2 * width for tokens, width in zip((7, 5, 3, 2), widths, strict=True))


@pytest.mark.parametrize("target", [30_000, 123_456, 260_000, 900_000])
def test_the_search_finds_the_best_of_all_candidates(target):
    best = min(abs(cost(widths) - target) for widths in candidates())
    assert abs(cost(nearest(cost, target, candidates())) - target) == best


def test_a_step_back_in_the_cost_does_not_hide_the_best_widths():
    costs = {(8,): 10, (16,): 30, (24,): 28, (32,): 50}
    assert nearest(costs.__getitem__, 31, list(costs)) == (16,)


def test_a_target_below_all_candidates_gives_the_narrowest():
    assert nearest(cost, 1, candidates()) == candidates()[0]


def test_a_target_above_all_candidates_gives_the_widest():
    assert nearest(cost, 10**9, candidates()) == candidates()[-1]


def test_the_reference_is_one_of_the_candidates():
    assert WIDTHS in candidates()


def test_one_stage_widens_from_candidate_to_candidate():
    for narrow, wide in pairwise(candidates()):
        assert sorted(b > a for a, b in zip(narrow, wide, strict=True)) == [False, False, False, True]


def test_the_stages_keep_to_a_common_factor():
    # The first stage has 24 channels at the least, three quarters of its own, where the others have half of theirs.
    for widths in candidates():
        factors = [width / base for width, base in zip(widths, WIDTHS, strict=True)]
        assert max(factors) / min(factors) < 1.6, widths


@pytest.mark.parametrize(
    ("channels", "heads"), [(24, 1), (32, 1), (40, 1), (48, 2), (72, 3), (80, 2), (96, 3), (120, 3)]
)
def test_heads_have_32_channels_where_that_divides_else_40_or_24(channels, heads):
    assert heads_of(channels) == heads


@pytest.mark.parametrize("name", [*IN_STAGES, "dual"])
def test_a_pyramid_is_built_at_scaled_widths(name):
    widths = (24, 40, 96, 144)
    assert create_backbone("pyramid_t", **options_of(name, widths)).channels == widths


def test_what_differs_between_stages_belongs_to_registered_mixers():
    assert set(IN_STAGES) | {REFERENCE} <= set(list_mixers())


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("pooling", "pooling"),
        ("shifted_window", "shifted_window"),
        (REFERENCE, {"type": "spatial_reduction", "reduction_ratio": 8}),
        ('{"type": "agent", "agent_grid": [3, 4]}', {"type": "agent", "agent_grid": [3, 4]}),
    ],
)
def test_a_single_layer_is_the_mixer_that_gives_the_row_its_name(name, layer):
    assert layer_of(name) == layer


def test_a_hybrid_has_in_each_stage_what_its_mixers_have_there():
    hybrid = mixers_of("spatial_reduction|window+channel_group|anchor|spatial_reduction@0.8")
    assert hybrid == (
        {"type": "spatial_reduction", "reduction_ratio": 8},
        ("window", "channel_group"),
        "anchor",
        {"type": "spatial_reduction", "reduction_ratio": 1},
    )
    assert create_backbone("pyramid_t", **options_of("pooling|focal|anchor|self", WIDTHS)).channels == WIDTHS


def test_what_takes_turns_has_in_each_stage_what_it_has_there_alone():
    assert mixers_of("cross_covariance+anchor") == (("cross_covariance", "anchor"),) * 4
    assert mixers_of("spatial_reduction+shifted_window")[1] == (
        {"type": "spatial_reduction", "reduction_ratio": 4},
        "shifted_window",
    )


@pytest.mark.parametrize("name", ["window|window|anchor|self", "cross_covariance+anchor"])
def test_a_hybrid_is_no_single_layer(name):
    with pytest.raises(BadInputError, match="leave out the part layer"):
        layer_of(name)


def test_a_factor_behind_the_name_brings_the_widths_to_a_part_of_the_reference():
    narrow = matched_widths("pooling@0.6")
    assert abs(ledger_of("pooling", narrow).macs / reference_macs() / 0.6 - 1) <= TOLERANCE
