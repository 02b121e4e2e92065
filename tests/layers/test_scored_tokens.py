"""Scored tokens: what they are chosen by, what a learning choice changes and what it learns."""

import pytest
import torch

from effvit_mm.analysis import count
from effvit_mm.layers import Block, Mlp, SelfAttention, TokenSelection

GRID, C, HEADS, PREFIX = (6, 10), 24, 3, 1
N = PREFIX + 60
KEPT = 24
LEARNING = [{"with_loss": True}, {"with_loss": True, "try_all": True}]


def layers():
    torch.manual_seed(0)
    return [Block(C, SelfAttention(C, HEADS), Mlp(C, 2 * C)).double().eval() for _ in range(2)]


def scored(**options):
    torch.manual_seed(1)
    return TokenSelection(HEADS, **{"importance": "scored", "dim": C, **options}).double()


def tokens(batch=2):
    return torch.randn(batch, N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def run(pair, x, keep=0.4, blocks=None, **options):
    return pair(*(blocks or layers()), x, GRID, keep=keep, num_prefix=PREFIX, **options)


def test_a_score_is_of_its_token_alone_and_the_largest_are_chosen():
    pair, x = scored(), tokens()
    out = run(pair, x)
    scores = pair.scorer(out.first)
    assert torch.equal(out.kept.places[:, PREFIX:], scores[:, PREFIX:].topk(KEPT).indices.sort().values + PREFIX)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(2, dtype=torch.float64))
    beyond_the_first = [pair.scorer(out.first[:, [0, i]]).diff() for i in range(N)]
    torch.testing.assert_close(scores - scores[:, :1], torch.cat(beyond_the_first, 1))


@pytest.mark.parametrize("learning", LEARNING)
@pytest.mark.parametrize("bypass", ["layer", "attn_only"])
def test_learning_changes_nothing_of_what_becomes_of_the_tokens(learning, bypass):
    pair, x = scored(bypass=bypass), tokens()
    out = run(pair, x, **learning)
    torch.testing.assert_close(out.tokens, run(pair, x).tokens, rtol=1e-9, atol=1e-9)
    assert out.loss is None


@pytest.mark.parametrize("learning", LEARNING)
def test_learning_changes_no_gradient_but_the_scorers(learning):
    gradients = []
    for options in (learning, {}):
        pair, blocks, x = scored(), layers(), tokens().requires_grad_()
        run(pair, x, blocks=blocks, **options).tokens.square().sum().backward()
        gradients.append([x.grad, *(p.grad for block in blocks for p in block.parameters())])
        assert all((p.grad is not None) is bool(options) for p in pair.parameters())
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("keep", [0.4, 1.0])
@pytest.mark.parametrize("learning", LEARNING)
def test_the_task_raises_the_score_of_a_token_that_the_layer_serves(keep, learning):
    pair, x, seen = scored(), tokens(), {}
    pair.scorer.register_forward_hook(lambda module, args, output: seen.update(scores=output))
    out = run(pair, x, keep=keep, **learning)
    served = 20 if out.kept is None else int(out.kept.places[0, 3])
    # A task that wants of one token just what the layer does to it.
    wanted = (out.tokens - out.first).detach()
    loss = -(out.tokens * wanted)[0, served].sum()
    gradient = torch.autograd.grad(loss, seen["scores"])[0]
    assert gradient[0, served] < 0
    assert gradient.abs().sum() == gradient[0, served].abs()


def test_a_token_that_is_passed_by_learns_only_where_all_are_tried():
    pair, x = scored(), tokens()
    left_out = sorted({*range(PREFIX, N)} - {*run(pair, x).kept.places[0].tolist()})
    for options in LEARNING:
        out = run(pair, x, **options)
        gradients = torch.autograd.grad(out.tokens[0, left_out].square().sum(), list(pair.parameters()))
        if "try_all" in options:
            assert all(gradient.abs().amax() > 1e-6 for gradient in gradients)
        else:
            assert not any(gradient.any() for gradient in gradients)


def test_a_scorer_learns_which_tokens_the_task_needs():
    pair, blocks, x = scored(), layers(), tokens(8)
    useful = x[..., 0] > 0.8  # those whose change the task wants; of the others it wants none
    with torch.no_grad():
        changed, unchanged = (run(pair, x, keep=1.0, blocks=blocks)[i] for i in (1, 0))
    target = torch.where(useful[..., None], changed, unchanged)
    optimizer, shares = torch.optim.Adam(pair.parameters(), lr=0.005), []
    for _ in range(60):
        out = run(pair, x, keep=0.25, blocks=blocks, with_loss=True, try_all=True)
        shares.append(useful.gather(1, out.kept.places).double().mean())
        optimizer.zero_grad()
        (out.tokens - target).square().mean().backward()
        optimizer.step()
    assert shares[0] < 0.3
    assert shares[-1] > 0.5


@pytest.mark.parametrize("options", [{}, *LEARNING])
def test_padding_is_never_chosen_and_says_nothing(options):
    x, pair = tokens(), scored()
    mask = torch.zeros(2, N, dtype=torch.bool)
    mask[1, 40:] = True
    other = torch.where(mask[..., None], torch.randn_like(x), x)
    out, moved = (run(pair, y, padding_mask=mask, **options) for y in (x, other))
    assert not mask.gather(1, out.kept.places).any()
    torch.testing.assert_close(out.tokens[~mask], moved.tokens[~mask])


@pytest.mark.parametrize("select", ["topk", "threshold"])
@pytest.mark.parametrize("options", [{}, *LEARNING])
def test_pictures_do_not_mix(select, options):
    pair, x = scored(select=select), tokens()
    torch.testing.assert_close(run(pair, x, **options).tokens[1:], run(pair, x[1:], **options).tokens)


def test_a_pair_costs_what_its_docstring_says():
    kept = PREFIX + KEPT
    macs = 8 * C**2 * (N + kept) + 2 * C * (N**2 + kept**2) + N * (C**2 + C) / 4
    blocks = [block.float() for block in layers()]
    ledger = count(scored().float(), *blocks, tokens(1).float(), GRID, keep=0.4, num_prefix=PREFIX)
    assert ledger.macs == pytest.approx(macs, rel=0.01)
    assert not ledger.unknown()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_finite(dtype):
    with torch.autocast("cpu", dtype=dtype):
        blocks = [block.float() for block in layers()]
        out = run(scored().float(), 10 * tokens().float(), blocks=blocks, with_loss=True, try_all=True)
    assert out.tokens.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": None}, "importance='scored' needs dim, the channels of a token, not None"),
        ({"head_reduce": "per_head"}, "head_reduce='per_head' has no meaning for scored tokens"),
        ({"dim": 3}, "dim=3 must be at least 4"),
    ],
)
def test_what_is_not_allowed_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        scored(**options)
