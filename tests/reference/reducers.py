"""Token reducers and fusions across scales written from their equations, with loops; imports nothing of the package.

Weights come in a dict by the names of a module's state dict. One picture at a time: tokens (N, C).
"""

import math

import torch
from reference.mixers import Weights, attend, by_head, enhanced_mix_mlp, layer_norm, linear, part_of, softmax
from torch import Tensor


def norm_all(weights: Weights, name: str, tokens: Tensor, eps: float = 1e-5) -> Tensor:
    return torch.stack([layer_norm(weights, name, token, eps) for token in tokens])


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def two_layers(weights: Weights, name: str, tokens: Tensor) -> Tensor:
    return linear(weights, f"{name}.2", gelu(linear(weights, f"{name}.0", tokens)))


@torch.no_grad()
def token_learner(tokens: Tensor, weights: Weights) -> Tensor:
    scores = two_layers(weights, "score", norm_all(weights, "norm", tokens))
    learned = []
    for column in scores.T:
        total = torch.zeros_like(tokens[0])
        for share, token in zip(softmax(column), tokens, strict=True):
            total = total + share * token
        learned.append(total)
    return torch.stack(learned)


@torch.no_grad()
def token_fuser(learned: Tensor, places: Tensor, weights: Weights) -> Tensor:
    mixed = linear(weights, "mix", norm_all(weights, "norm_tokens", learned).T).T
    mixed = norm_all(weights, "norm_mixed", mixed)
    gates = 1 / (1 + (-two_layers(weights, "gate", norm_all(weights, "norm_places", places))).exp())
    return torch.stack([sum(gate * token for gate, token in zip(row, mixed, strict=True)) for row in gates])


@torch.no_grad()
def keep_scores(tokens: Tensor, weights: Weights, policy: Tensor) -> Tensor:
    """Log-probabilities (N, 2)."""
    embedded = gelu(linear(weights, "embed", norm_all(weights, "norm", tokens)))
    half = tokens.shape[1] // 2
    everywhere = (embedded[:, half:] * policy[:, None]).sum(0) / policy.sum()
    rows = []
    for token in embedded:
        hidden = gelu(linear(weights, "score.0", torch.cat([token[:half], everywhere])))
        score = linear(weights, "score.4", gelu(linear(weights, "score.2", hidden)))
        rows.append(softmax(score).log())
    return torch.stack(rows)


@torch.no_grad()
def reorganized(tokens: Tensor, attention: Tensor, num_kept: int) -> Tensor:
    """EViT's kept tokens in raster order and the fused one, of tokens behind the prefix."""
    order = sorted(range(len(tokens)), key=lambda n: -attention[n])
    kept = sorted(order[:num_kept])
    fused = sum(attention[n] * tokens[n] for n in order[num_kept:])
    return torch.stack([*(tokens[n] for n in kept), fused])


@torch.no_grad()
def attention_with_policy(query: Tensor, key: Tensor, value: Tensor, policy: Tensor) -> Tensor:
    """One head: each token sees those that take part, and itself."""
    rows = []
    for i, q in enumerate(query):
        seen = [j for j in range(len(key)) if policy[j] or j == i]
        rows.append(softmax(key[seen] @ q * q.shape[0] ** -0.5) @ value[seen])
    return torch.stack(rows)


@torch.no_grad()
def context_bridge_layer(
    scales: list[Tensor], weights: Weights, grids: list, multiples: tuple, ratios: tuple, num_heads: int
) -> list[Tensor]:
    """Tokens (N_s m_s, C) of each scale."""
    tokens = torch.cat(scales)
    seen = norm_all(weights, "norm1", tokens)
    sizes = [len(scale) for scale in scales]
    reduced = []
    for s, (part, grid) in enumerate(zip(seen.split(sizes), grids, strict=True)):
        fmap = part.reshape(*grid, -1)  # (H, W, m C)
        if ratios[s] > 1:
            fmap = strided(fmap, weights[f"reductions.{s}.weight"], weights[f"reductions.{s}.bias"])
        reduced += [token for place in fmap.flatten(0, 1) for token in place.chunk(multiples[s])]
    key, value = linear(weights, "key_value", norm_all(weights, "norm_keys", torch.stack(reduced))).chunk(2, dim=-1)
    parts = by_head(num_heads, linear(weights, "query", seen), key, value)
    mixed = torch.cat([attend(*part, part[0].shape[-1] ** -0.5) for part in parts], dim=-1)
    tokens = tokens + linear(weights, "proj", mixed)
    out = []
    normed = norm_all(weights, "norm2", tokens).split(sizes)
    for s, (part, before, grid) in enumerate(zip(normed, tokens.split(sizes), grids, strict=True)):
        wide = part.reshape(grid[0] * grid[1], -1)
        out.append(before + enhanced_mix_mlp(wide, part_of(weights, f"mlps.{s}"), grid).reshape(before.shape))
    return out


def strided(fmap: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Convolve (H, W, C) with windows (C', C, R, R) that touch; zeros at the bottom and right."""
    height, width, _ = fmap.shape
    step = kernel.shape[-1]
    rows = []
    for top in range(0, height, step):
        row = []
        for left in range(0, width, step):
            total = bias
            for i in range(min(step, height - top)):
                for j in range(min(step, width - left)):
                    total = total + kernel[:, :, i, j] @ fmap[top + i, left + j]
            row.append(total)
        rows.append(torch.stack(row))
    return torch.stack(rows)
