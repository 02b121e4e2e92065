"""Token selection: which tokens pass the second layer of a pair, what becomes of the others, what is learnt."""

import copy

import pytest
import torch
from torch.nn import functional as F

from effvit_mm.analysis import count
from effvit_mm.layers import Block, Mlp, SelfAttention, TokenSelection, TokenSelector
from effvit_mm.layers.kept_tokens import num_kept, probe_rows
from effvit_mm.testing.gradients import assert_gradients_above_rounding

GRID, C, HEADS, PREFIX = (6, 10), 24, 3, 1
N = PREFIX + 60


def layers(seed=0):
    torch.manual_seed(seed)
    return [Block(C, SelfAttention(C, HEADS), Mlp(C, 2 * C)).double().eval() for _ in range(2)]


def selection(**options):
    torch.manual_seed(1)
    return TokenSelection(HEADS, **{"num_probes": 7, **options}).double()


def tokens(batch=2):
    return torch.randn(batch, N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def run(pair, x, keep=0.4, blocks=None, **options):
    return pair(*(blocks or layers()), x, GRID, keep=keep, num_prefix=PREFIX, **options)


@pytest.mark.parametrize(("keep", "num_tokens", "kept"), [(0.55, 100, 55), (0.07, 100, 7), (0.3, 7, 3), (0.01, 5, 1)])
def test_a_share_is_taken_of_its_decimal_number_and_rounded_up(keep, num_tokens, kept):
    assert num_kept(keep, num_tokens) == kept


def test_probes_lie_on_an_even_grid_behind_the_prefix():
    rows = probe_rows((6, 10), 15, num_prefix=2, device=torch.device("cpu")) - 2
    assert (rows // 10).unique().tolist() == [1, 3, 5]
    assert (rows % 10).unique().tolist() == [1, 3, 5, 7, 9]


@pytest.mark.parametrize("grid", [(3, 40), (40, 3), (1, 9), (14, 14), (30, 40)])
@pytest.mark.parametrize("num_probes", [1, 5, 64])
def test_probes_are_different_places_and_never_more_than_asked_for(grid, num_probes):
    rows = probe_rows(grid, num_probes, num_prefix=1, device=torch.device("cpu")).tolist()
    places = grid[0] * grid[1]
    assert rows == sorted(set(rows))
    assert set(rows) <= set(range(1, 1 + places)) or len(rows) == 1 + places
    assert len(rows) > 0.7 * num_probes or len(rows) >= places


def test_all_rows_are_probed_with_none():
    assert probe_rows((2, 3), None, num_prefix=1, device=torch.device("cpu")).tolist() == list(range(7))


def test_a_selector_is_two_convolutions_along_the_keys_of_each_row():
    selector, scores = TokenSelector(HEADS, hidden=4).double(), torch.randn(2, HEADS, 5, 9, dtype=torch.float64)
    for parameter in selector.parameters():
        torch.nn.init.normal_(parameter)
    shown = scores - scores.amax(-1, keepdim=True)
    rows = shown.transpose(1, 2).flatten(0, 1)  # (B * P, h, N)
    hidden = F.conv1d(rows, selector.conv1.weight[:, :, 0], selector.conv1.bias, padding=1).relu()
    rows = F.conv1d(hidden, selector.conv2.weight[:, :, 0], selector.conv2.bias, padding=1)
    expected = rows.unflatten(0, (2, 5)).transpose(1, 2).log_softmax(-1)
    torch.testing.assert_close(selector(scores, 8), expected)


def test_a_flat_selector_sees_beyond_the_end_of_a_row():
    scores = torch.zeros(1, HEADS, 2, 9, dtype=torch.float64)
    moved = scores.clone()
    moved[..., 0, 8] = -1
    for axis, reaches in (("key", False), ("flat", True)):
        selector = TokenSelector(HEADS, axis=axis, selector_input="raw").double()
        for parameter in selector.parameters():
            torch.nn.init.normal_(parameter)
        assert (not torch.equal(selector(scores, 8)[..., 1, :], selector(moved, 8)[..., 1, :])) is reaches


def test_raw_scores_are_the_products_of_queries_and_keys_themselves():
    scores = torch.randn(1, HEADS, 5, 9)
    raw = TokenSelector(HEADS, selector_input="raw")
    torch.nn.init.normal_(raw.conv1.bias)
    hidden = raw.conv2(raw.conv1(scores * 8**0.5).relu())
    torch.testing.assert_close(raw(scores, 8), hidden.log_softmax(-1))


def test_a_new_selector_ranks_by_the_map_it_is_shown():
    scores = torch.randn(1, HEADS, 5, 9, dtype=torch.float64)
    assert (TokenSelector(HEADS).double()(scores, 8) - scores.log_softmax(-1)).abs().max() < 0.3


@pytest.mark.parametrize("num_probes", [7, None])
def test_tokens_that_are_not_chosen_are_untouched_and_the_others_are_not(num_probes):
    out = run(selection(num_probes=num_probes), tokens())
    for picture, places in enumerate(out.kept.places):
        chosen = torch.zeros(N, dtype=torch.bool).index_fill(0, places, True)
        same = (out.tokens[picture] == out.first[picture]).all(-1)
        assert torch.equal(same, ~chosen)


def test_the_prefix_is_always_chosen_and_the_share_is_of_the_others():
    places = run(selection(), tokens(), keep=0.01).kept.places
    assert places.shape == (2, 2)
    assert (places[:, 0] == 0).all()


def test_without_its_privilege_the_prefix_competes():
    out = run(selection(keep_prefix=False), tokens(), keep=0.4)
    assert out.kept.places.shape == (2, num_kept(0.4, N))


@pytest.mark.parametrize("with_gradients", [False, True])
def test_gathered_equals_masked_in_fp32(with_gradients):
    blocks, pair, x = [b.float() for b in layers()], selection().float(), tokens().float().requires_grad_()
    out = run(pair, x, blocks=blocks)
    chosen = torch.zeros(2, N, dtype=torch.bool).scatter(1, out.kept.places, True)
    first = blocks[0](x, GRID, num_prefix=PREFIX)
    masked = torch.where(chosen[..., None], blocks[1](first, GRID, padding_mask=~chosen), first)
    if not with_gradients:
        torch.testing.assert_close(out.tokens, masked, rtol=0, atol=1e-5)
        return
    weights = [x, *blocks[0].parameters(), *blocks[1].parameters()]
    ours, theirs = (torch.autograd.grad(y.square().mean(), weights) for y in (out.tokens, masked))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_what_is_chosen_has_the_largest_columns_of_the_predicted_map():
    pair, blocks, x = selection(num_probes=None), layers(), tokens()
    first = blocks[0]
    query, key, _ = first.mixer.project(first.norm1(x))
    log_map = pair.selector(query @ key.transpose(-2, -1) / 8**0.5, 8)
    columns = log_map.exp().sum(2).mean(1)[:, 1:]
    expected = 1 + columns.topk(num_kept(0.4, N - 1)).indices.sort().values
    assert torch.equal(run(pair, x).kept.places[:, 1:], expected)


def test_a_share_of_one_is_two_plain_layers():
    blocks, x = layers(), tokens()
    expected = blocks[1](blocks[0](x, GRID), GRID)
    for with_loss in (False, True):
        assert torch.equal(run(selection(), x, keep=1.0, with_loss=with_loss).tokens, expected)


@pytest.mark.parametrize("importance", ["predicted", "own", "class_token"])
@pytest.mark.parametrize("select", ["topk", "threshold"])
@pytest.mark.parametrize("head_reduce", ["mean", "sum", "per_head"])
@pytest.mark.parametrize("bypass", ["layer", "attn_only"])
def test_pictures_do_not_mix_whatever_is_chosen(importance, select, head_reduce, bypass):
    pair = selection(importance=importance, select=select, head_reduce=head_reduce, bypass=bypass)
    x = tokens(3)
    alone = torch.cat([run(pair, picture[None]).tokens for picture in x])
    torch.testing.assert_close(run(pair, x).tokens, alone)
    assert not torch.allclose(alone, run(pair, x, keep=1.0).tokens)


def test_attention_alone_is_bypassed_where_that_is_asked_for():
    blocks, out = layers(), run(selection(bypass="attn_only"), tokens())
    expected = blocks[1].mix_channels(out.first, GRID)
    chosen = torch.zeros(2, N, dtype=torch.bool).scatter(1, out.kept.places, True)
    torch.testing.assert_close(out.tokens[~chosen], expected[~chosen])
    assert not torch.allclose(out.tokens[chosen], expected[chosen])


def test_heads_that_all_choose_everything_are_a_plain_layer():
    pair, blocks = selection(head_reduce="per_head", select="threshold"), layers()
    x = tokens()
    torch.testing.assert_close(run(pair, x, keep=0.999999999).tokens, blocks[1](blocks[0](x, GRID), GRID))


def test_a_threshold_takes_the_fewest_tokens_with_that_share_of_the_importance():
    pair = selection(select="threshold")
    log_map = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.94, 0.03, 0.02, 0.01]]).log()[:, None, None]
    kept = pair.choose(log_map, 0.75, 0)
    chosen = [places[valid].tolist() for places, valid in zip(kept.places, kept.valid, strict=True)]
    assert chosen == [[1, 2, 3], [0]]


def test_a_random_choice_changes_and_a_seed_repeats_it():
    pair, x = selection(importance="random"), tokens()
    choices = []
    for seed in (0, 0, 1):
        blocks = layers()
        torch.manual_seed(seed)
        choices.append(run(pair, x, blocks=blocks).kept.places)
    assert torch.equal(choices[0], choices[1])
    assert not torch.equal(choices[0], choices[2])


def test_a_class_token_chooses_by_its_own_row():
    blocks, x = layers(), tokens()
    query, key, _ = blocks[0].mixer.project(blocks[0].norm1(x))
    row = (query[:, :, :1] @ key.transpose(-2, -1) / 8**0.5).softmax(-1).mean(1)[:, 0, 1:]
    expected = 1 + row.topk(24).indices.sort().values
    assert torch.equal(run(selection(importance="class_token"), x).kept.places[:, 1:], expected)


def test_padding_is_never_chosen_and_says_nothing():
    mask = torch.zeros(2, N, dtype=torch.bool)
    mask[:, 40:] = True
    x, pair = tokens(), selection()
    other = torch.where(mask[..., None], torch.randn_like(x), x)
    # Probes among the padding count like others: they are left out here.
    pair.probes = lambda *_: torch.tensor([3, 17, 30])
    for keep in (0.4, 0.9):
        out, moved = (run(pair, y, keep=keep, padding_mask=mask) for y in (x, other))
        assert keep == 0.9 or not mask.gather(1, out.kept.places).any()
        torch.testing.assert_close(out.tokens[~mask], moved.tokens[~mask])


def test_the_task_gives_a_selector_no_gradient_and_its_loss_gives_it_and_nothing_else_one():
    pair, blocks = selection(), layers()
    out = run(pair, tokens(), blocks=blocks, with_loss=True)
    own, others = list(pair.parameters()), [p for block in blocks for p in block.parameters()]
    task = torch.autograd.grad(out.tokens.square().sum(), own, allow_unused=True, retain_graph=True)
    assert task == (None,) * len(own)
    assert torch.autograd.grad(out.loss, others, allow_unused=True, retain_graph=True) == (None,) * len(others)
    out.loss.backward()
    assert_gradients_above_rounding(pair)


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_the_loss_is_the_distance_from_the_second_layers_own_map(loss):
    pair, blocks, x = selection(num_probes=None, loss=loss), layers(), tokens()
    out = run(pair, x, blocks=blocks, with_loss=True)
    maps = []
    for block, given in zip(blocks, (x, out.first), strict=True):
        query, key, _ = block.mixer.project(block.norm1(given))
        maps.append(query @ key.transpose(-2, -1) / 8**0.5)
    predicted, true = pair.selector(maps[0], 8), maps[1].softmax(-1)
    expected = true * (true.log() - predicted) if loss == "kl" else (true - predicted.exp()) ** 2
    torch.testing.assert_close(out.loss, expected.sum(-1).mean())


def test_a_selector_learns_the_next_map_from_its_loss():
    pair, blocks, x = selection(), layers(), tokens()
    optimizer = torch.optim.Adam(pair.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        losses.append(run(pair, x, blocks=blocks, with_loss=True).loss)
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("selector_input", ["scaled", "raw"])
def test_half_precision_stays_finite(dtype, selector_input):
    pair = selection(selector_input=selector_input).float()
    with torch.autocast("cpu", dtype=dtype):
        out = run(pair, 10 * tokens().float(), blocks=[b.float() for b in layers()], with_loss=True)
    assert out.tokens.isfinite().all()
    assert out.loss.isfinite()


@pytest.mark.parametrize("keep", [1.0, 0.5, 0.3])
def test_a_pair_costs_what_its_docstring_says(keep):
    kept, probes = PREFIX + num_kept(keep, 60), 6
    layer = 4 * C**2 + 4 * C**2  # attention's projections, and an MLP of 2 C
    macs = layer * (N + kept) + 2 * C * (N**2 + kept**2)
    if keep < 1:
        macs += probes * N * C + 2 * 3 * HEADS * (2 * HEADS) * probes * N
    blocks = [copy.deepcopy(block).float() for block in layers()]
    ledger = count(selection().float(), *blocks, tokens(1).float(), GRID, keep=keep, num_prefix=PREFIX)
    assert ledger.macs == pytest.approx(macs, rel=0.01)
    assert not ledger.unknown()
    assert ("gather and scatter" in ledger.by_line()) is (keep < 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_probes": 0}, "num_probes=0"),
        ({"importance": "guess"}, "importance='guess'"),
        ({"select": "all"}, "select='all'"),
        ({"head_reduce": "max"}, "head_reduce='max'"),
        ({"bypass": "mlp"}, "bypass='mlp'"),
        ({"loss": "l1"}, "loss='l1'"),
        ({"kernel_size": 2}, "kernel_size=2"),
        ({"hidden": 0}, "hidden=0"),
        ({"axis": "query"}, "axis='query'"),
        ({"selector_input": "soft"}, "selector_input='soft'"),
    ],
)
def test_what_is_not_allowed_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        TokenSelection(HEADS, **options)
