"""Token reducers against loops over their equations, their laws, and tokens-to-token against mmpretrain's module."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import mixers, reducers

import effvit_mm
from effvit_mm import layers
from effvit_mm.layers.class_attention_selection import ClassAttentionSelection
from effvit_mm.layers.kept_tokens import num_kept
from effvit_mm.layers.predicted_selection import keep_ratio_loss, mix_with_policy
from effvit_mm.layers.token_reduction import most_important
from effvit_mm.layers.tokens_to_token import TokenTransformer

B, H, W, C, HEADS, P = 2, 4, 6, 12, 3, 2
N, GRID = H * W, (H, W)


def built(kind, *args, **options):
    """A layer in float64 whose every number counts: no bias is 0, no norm the identity."""
    torch.manual_seed(0)
    layer = kind(*args, **options).double().eval()
    for value in layer.parameters():
        value.data.uniform_(0.5, 1.5) if value.ndim < 2 else value.data.normal_(std=0.4)
    return layer


def tokens(n=P + N, batch=B, dim=C):
    return torch.randn(batch, n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def scores(n=P + N):
    return torch.randn(B, HEADS, 1, n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def block():
    return built(layers.Block, C, layers.SelfAttention(C, HEADS), layers.Mlp(C, 2 * C))


def each(x, loop):
    return torch.stack([loop(picture) for picture in x])


def test_learned_tokens_are_those_of_the_loops_over_the_equations():
    learner = built(layers.TokenLearner, C, num_tokens=5, bottleneck=7)
    expected = each(tokens()[:, P:], lambda x: reducers.token_learner(x, learner.state_dict()))
    torch.testing.assert_close(learner(tokens(), GRID, num_prefix=P).tokens[:, P:], expected)


def test_fused_tokens_are_those_of_the_loops_over_the_equations():
    learner = built(layers.TokenLearner, C, num_tokens=5, bottleneck=7)
    reduced = learner(tokens(), GRID, num_prefix=P)
    behind = reduced.tokens.sin()
    weights = mixers.part_of(learner.state_dict(), "fuser")
    pairs = zip(behind[:, P:], tokens()[:, P:], strict=True)
    expected = torch.stack([places + reducers.token_fuser(learned, places, weights) for learned, places in pairs])
    torch.testing.assert_close(reduced.restore(behind)[:, P:], expected)


def test_a_fresh_fuser_adds_next_to_nothing():
    learner = layers.TokenLearner(C).double()
    restored = learner(tokens(), GRID).restore(tokens(n=8))
    change = (restored - tokens()).norm() / tokens().norm()
    assert 0 < change < 0.1


def test_a_fuser_starts_small_inside_a_network():
    network = effvit_mm.create_backbone("reduced_deit_t", reducers="token_learner", reduce_at=(6,))
    torch.testing.assert_close(network.reducers["6"].fuser.norm_mixed.weight, torch.full((192,), 0.01))


def test_learned_weights_sum_to_one_over_the_places():
    learner = built(layers.TokenLearner, C)
    same = tokens(n=1).expand(-1, N, -1)
    torch.testing.assert_close(learner(same, GRID).tokens, same[:, :8])


def test_a_token_learner_without_a_fuser_says_so():
    learner = built(layers.TokenLearner, C)
    learner.without_restore()
    reduced = learner(tokens(), GRID)
    with pytest.raises(ValueError, match="build one that restores"):
        reduced.restore(reduced.tokens)


@pytest.mark.parametrize("decided", ["all", "some"])
def test_predicted_scores_are_those_of_the_loops_over_the_equations(decided):
    selection, x = built(layers.PredictedSelection, C), tokens(N)
    policy = torch.ones(B, N, dtype=torch.float64)
    if decided == "some":
        policy[:, ::3] = 0
    pairs = zip(x, policy, strict=True)
    expected = torch.stack([reducers.keep_scores(tokens, selection.state_dict(), some) for tokens, some in pairs])
    torch.testing.assert_close(selection.scores(x, policy=None if decided == "all" else policy), expected)


def test_the_highest_scores_go_on_in_raster_order():
    selection, x = built(layers.PredictedSelection, C, keep=0.4), tokens()
    reduced = selection(x, GRID, num_prefix=P)
    kept = num_kept(0.4, N)
    for picture, tokens_kept, score in zip(x, reduced.tokens, selection.scores(x[:, P:])[..., 0], strict=True):
        places = sorted(score.argsort(descending=True)[:kept].tolist())
        assert torch.equal(tokens_kept, torch.cat([picture[:P], picture[P:][places]]))


@pytest.mark.parametrize("kind", ["predicted", "class_attention"])
def test_tokens_that_are_not_kept_return_as_they_left(kind):
    x, read = tokens(), {}
    selection = built(layers.PredictedSelection, C, keep=0.4)
    if kind == "class_attention":
        selection, read = ClassAttentionSelection(C, keep=0.4), {"scores": scores()}
    reduced = selection(x, GRID, num_prefix=P, **read)
    restored = reduced.restore(reduced.tokens + 1)
    moved = (restored != x).all(-1)
    torch.testing.assert_close(restored, x + moved[..., None])
    assert moved.sum(1).tolist() == [P + num_kept(0.4, N)] * B


def test_in_training_decisions_are_whole_follow_the_ones_before_and_prefix_tokens_take_part():
    selection, x = built(layers.PredictedSelection, C).train(), tokens()
    before = torch.ones(B, P + N, dtype=torch.float64)
    before[:, P::2] = 0
    reduced = selection(x, GRID, num_prefix=P, policy=before)
    assert set(reduced.policy.unique().tolist()) == {0.0, 1.0}
    assert (reduced.policy[:, :P] == 1).all()
    assert (reduced.policy <= before).all()


@torch.no_grad()
def test_training_computes_what_evaluation_would_with_the_same_decisions():
    selection, layer, x = built(layers.PredictedSelection, C).train(), block(), tokens()
    reduced = selection(x, GRID, num_prefix=P)
    trained = reduced.restore(mix_with_policy(layer, reduced.tokens, GRID, policy=reduced.policy, num_prefix=P))
    for picture, policy, ours in zip(x, reduced.policy, trained, strict=True):
        kept = policy.bool()
        expected = picture.clone()
        expected[kept] = layer(picture[None, kept], GRID, num_prefix=P)[0]
        torch.testing.assert_close(ours, expected)


@torch.no_grad()
def test_attention_by_a_policy_is_that_of_the_loops_over_the_equations():
    layer, x = block(), tokens(N)
    policy = (torch.rand(B, N, generator=torch.Generator().manual_seed(3)) > 0.5).double()
    query, key, value = layer.mixer.project(layer.norm1(x))
    heads = [
        [reducers.attention_with_policy(query[b, h], key[b, h], value[b, h], policy[b]) for h in range(HEADS)]
        for b in range(B)
    ]
    mixed = x + layer.mixer.merge(torch.stack([torch.stack(picture) for picture in heads]))
    torch.testing.assert_close(mix_with_policy(layer, x, GRID, policy=policy), layer.mix_channels(mixed, GRID))


@torch.no_grad()
def test_a_token_that_was_decided_against_changes_nothing_however_far_it_leads():
    layer, x = block().float(), tokens(N).float()
    layer.mixer.qkv.weight.mul_(30)  # scores differ by hundreds
    policy = (torch.rand(B, N, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    for picture, kept, found in zip(x, policy.bool(), mix_with_policy(layer, x, GRID, policy=policy), strict=True):
        torch.testing.assert_close(
            found[kept], layer(picture[None, kept], (1, int(kept.sum())))[0], rtol=1e-4, atol=1e-4
        )


def test_a_token_that_was_decided_against_tells_its_decision_what_it_would_have_given():
    layer, x = block(), tokens(N)
    policy = torch.ones(B, N, dtype=torch.float64)
    policy[:, 5] = 0
    mix_with_policy(layer, x, GRID, policy=policy.requires_grad_()).square().sum().backward()
    assert (policy.grad != 0).all()


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.0), (0.75, 0.0625), (0.25, 0.0625)])
def test_the_keep_ratio_loss_is_the_squared_distance_from_the_share(share, expected):
    policy = torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0]]).expand(3, -1)
    assert keep_ratio_loss(policy, share, 1).item() == pytest.approx(expected)


def test_padding_has_no_part_in_the_keep_ratio():
    policy = torch.tensor([[1.0, 1.0, 0.0, 1.0, 1.0]])
    padding = torch.tensor([[False, False, False, True, True]])
    assert keep_ratio_loss(policy, 0.5, 1, padding).item() == 0


def test_the_class_tokens_choice_and_the_fused_token_are_those_of_the_loops_over_the_equations():
    x, rows = tokens(), scores()
    reduced = ClassAttentionSelection(C, keep=0.4)(x, GRID, num_prefix=P, scores=rows)
    attention = torch.stack([torch.stack([mixers.softmax(row[0]) for row in heads]).mean(0) for heads in rows])
    pairs = zip(x[:, P:], attention[:, P:], strict=True)
    expected = torch.stack([reducers.reorganized(*pair, num_kept(0.4, N)) for pair in pairs])
    torch.testing.assert_close(reduced.tokens[:, P:], expected)


def test_a_picture_that_keeps_all_of_its_tokens_has_none_to_fuse():
    padding = torch.zeros(B, P + N, dtype=torch.bool)
    padding[0, P + 1 :] = True
    reduced = ClassAttentionSelection(C, keep=0.4)(tokens(), GRID, num_prefix=P, scores=scores(), padding_mask=padding)
    assert reduced.padding_mask[:, -1].tolist() == [True, False]
    assert reduced.padding_mask[:, : P + 2].tolist() == [[False, False, False, True], [False] * 4]


def test_without_a_class_token_its_attention_is_asked_for():
    with pytest.raises(ValueError, match="num_prefix=0 must be at least 1"):
        ClassAttentionSelection(C)(tokens(N), GRID, scores=scores(N))


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 12),
    padded=st.lists(st.integers(0, 11), min_size=2, max_size=2),
    keep=st.sampled_from([0.1, 0.5, 0.7, 1.0]),
)
def test_each_picture_keeps_its_share_of_its_real_tokens(n, padded, keep):
    padding = torch.zeros(2, n, dtype=torch.bool)
    for picture, count in zip(padding, padded, strict=True):
        picture[n - min(count, n - 1) :] = True
    importance = torch.randperm(2 * n).view(2, n).double()
    places, spare = most_important(importance, keep, padding)
    for b in range(2):
        real = places[b][~spare[b]].tolist()
        assert len(real) == num_kept(keep, int((~padding[b]).sum()))
        assert not padding[b][real].any()
        assert places[b].diff().gt(0).all()


def test_tokens_to_token_equals_mmpretrains():
    from mmpretrain.models.backbones.t2t_vit import T2TModule
    from mmpretrain.models.utils.attention import scaled_dot_product_attention_pyimpl

    ours = built(layers.TokensToToken, 3, C, stride=16, token_dim=5, attention="softmax")
    theirs = T2TModule(img_size=32, embed_dims=C, token_dims=5).double().eval()
    parts = {"norm1": "ln1", "qkv": "attn.qkv", "proj": "attn.proj", "norm2": "ln2"}
    parts |= {"mlp.fc1": "ffn.layers.0.0", "mlp.fc2": "ffn.layers.1"}
    state = {f"project.{name}": value for name, value in ours.proj.state_dict().items()}
    for i in (0, 1):
        for our, their in parts.items():
            for name, value in mixers.part_of(ours.layers[i].state_dict(), our).items():
                state[f"attention{i + 1}.{their}.{name}"] = value
    theirs.load_state_dict(state)
    for step, width in ((theirs.attention1, 3 * 49), (theirs.attention2, 5 * 9)):
        # Its function divides by the scale it is given, and is given the inverse; the paper's is of the wide tokens.
        step.attn.scaled_dot_product_attention = functools.partial(
            scaled_dot_product_attention_pyimpl, scale=width**0.5
        )
    x = torch.randn(B, 3, 64, 96, dtype=torch.float64)
    expected, grid = theirs(x)
    merged, our_grid = ours(x)
    assert our_grid == tuple(grid) == (4, 6)
    torch.testing.assert_close(merged, expected)


def test_linear_steps_are_efficient_attention_with_the_values_as_shortcut():
    layer = built(TokenTransformer, 7, C)
    x = tokens(N, dim=7)
    query, key, value = layer.qkv(layer.norm1(x)).chunk(3, dim=-1)
    summary = key.softmax(1).transpose(1, 2) @ value
    narrow = value + layer.proj(query.softmax(-1) @ summary)
    torch.testing.assert_close(layer(x, GRID), narrow + layer.mlp(layer.norm2(narrow), GRID))


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_a_soft_split_stem_takes_any_map(stride):
    merged, grid = built(layers.TokensToToken, 3, C, stride=stride, token_dim=5)(torch.randn(B, 3, 33, 70).double())
    assert grid == (-(-33 // stride), -(-70 // stride))
    assert merged.shape == (B, grid[0] * grid[1], C)


def test_one_soft_split_is_an_overlapping_convolution():
    merger = built(layers.TokensToToken, 3, C, stride=4, splits=(4,))
    x = torch.randn(B, 3, 16, 24, dtype=torch.float64)
    kernel = merger.proj.weight.unflatten(1, (3, 7, 7))
    expected = torch.nn.functional.conv2d(x, kernel, merger.proj.bias, stride=4, padding=2)
    torch.testing.assert_close(merger(x)[0], expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (layers.TokenLearner, {"num_tokens": 0}, "num_tokens=0"),
        (layers.TokenLearner, {"bottleneck": 0}, "bottleneck=0"),
        (layers.PredictedSelection, {"keep": 0.0}, "keep=0.0 must be above 0"),
        (layers.PredictedSelection, {"dim": 3}, "dim=3 must be at least 4"),
        (layers.ClassAttentionSelection, {"keep": 1.5}, "keep=1.5"),
        (layers.TokensToToken, {"in_dim": 3, "stride": 12}, "product is stride=12"),
        (layers.TokensToToken, {"in_dim": 3, "stride": 4, "splits": (2, 4)}, r"splits=\(2, 4\)"),
        (layers.TokensToToken, {"in_dim": 3, "stride": 4, "attention": "performer"}, "attention='performer'"),
        (layers.TokensToToken, {"in_dim": 3, "stride": 4, "token_dim": 0}, "token_dim=0"),
    ],
)
def test_a_bad_option_is_named(kind, options, named):
    with pytest.raises(ValueError, match=named):
        kind(**{"dim": C, **options})
