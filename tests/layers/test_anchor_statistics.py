"""What is said of anchors equals what the dense walk says, and the extremes are where they should be."""

import pytest
import torch

from effvit_mm.layers.anchor_statistics import effective_anchors, gather_weights, map_similarity, row_entropy

B, N, HEADS, M = 2, 17, 3, 5


def assignment(spread=2.0):
    logits = torch.randn(B, N, HEADS, M, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (spread * logits).softmax(-1)


def even():
    return torch.full((B, N, HEADS, M), 1 / M, dtype=torch.float64)


def own():
    """Each token chooses one anchor, and every anchor is chosen."""
    return torch.eye(M, dtype=torch.float64)[torch.arange(N) % M][None, :, None].expand(B, N, HEADS, M)


def test_effective_anchors_are_the_trace_of_the_dense_walk():
    maps = assignment().transpose(1, 2)
    walk = maps @ torch.diag_embed(1 / maps.sum(2)) @ maps.transpose(-2, -1)  # (B, h, N, N)
    torch.testing.assert_close(effective_anchors(assignment()), walk.diagonal(dim1=-2, dim2=-1).sum(-1))


def gather_of_its_own():
    logits = torch.randn(B, N, HEADS, M, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return logits.softmax(1)


def test_effective_anchors_of_two_sets_are_told_by_the_singular_values_of_their_product():
    product = assignment().transpose(1, 2) @ gather_of_its_own().permute(0, 2, 3, 1)  # (B, h, N, N)
    values = torch.linalg.svdvals(product)
    expected = values.sum(-1).square() / values.square().sum(-1)
    torch.testing.assert_close(effective_anchors(assignment(), gather_of_its_own()), expected)


def test_two_sets_that_coincide_count_as_one_anchor_and_two_that_are_apart_as_m():
    ones = torch.ones(B, HEADS, dtype=torch.float64)
    torch.testing.assert_close(effective_anchors(assignment(), even() / N * M), ones)
    first = torch.eye(N, dtype=torch.float64)[:, None, :M].expand(B, N, HEADS, M)
    torch.testing.assert_close(effective_anchors(first, first), M * ones)


def test_similarity_is_the_mean_cosine_of_pairs_of_columns():
    maps = assignment()[1, :, 2]
    pairs = [torch.cosine_similarity(maps[:, j], maps[:, k], dim=0) for j in range(M) for k in range(M) if j != k]
    torch.testing.assert_close(map_similarity(assignment())[1, 2], torch.stack(pairs).mean())


def test_entropy_is_the_mean_over_tokens_in_units_of_log_m():
    expected = torch.distributions.Categorical(probs=assignment()[0, :, 1], validate_args=False).entropy().mean()
    torch.testing.assert_close(row_entropy(assignment())[0, 1], expected / torch.log(torch.tensor(float(M)).double()))


@pytest.mark.parametrize(
    ("of", "coinciding", "apart"), [(row_entropy, 1, 0), (map_similarity, 1, 0), (effective_anchors, 1, M)]
)
def test_the_extremes(of, coinciding, apart):
    torch.testing.assert_close(of(even()), torch.full((B, HEADS), float(coinciding), dtype=torch.float64))
    torch.testing.assert_close(of(own()), torch.full((B, HEADS), float(apart), dtype=torch.float64))


@pytest.mark.parametrize("of", [row_entropy, map_similarity, effective_anchors])
def test_padding_does_not_count(of):
    padded = torch.cat([assignment(), torch.zeros(B, 6, HEADS, M, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(of(padded), of(assignment()))


@pytest.mark.parametrize("of", [row_entropy, map_similarity, effective_anchors])
def test_one_anchor_and_an_anchor_that_nobody_chooses_give_numbers(of):
    assert of(torch.ones(B, N, HEADS, 1)).isfinite().all()
    unchosen = torch.cat([assignment().float(), torch.zeros(B, N, HEADS, 1)], dim=-1)
    assert of(unchosen).isfinite().all()


def test_gather_weights_sum_to_one_over_the_tokens():
    torch.testing.assert_close(gather_weights(assignment()).sum(1), torch.ones(B, HEADS, M, dtype=torch.float64))


@pytest.mark.parametrize("of", [row_entropy, map_similarity, effective_anchors])
def test_autocast_does_not_lower_the_precision(of):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = of(assignment().float())
    torch.testing.assert_close(lowered, of(assignment().float()), rtol=0, atol=0)
