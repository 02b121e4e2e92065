"""Token mixers written from their equations, with loops; imports nothing of the package.

Weights come in a dict by the names of a module's state dict. One picture at a time: tokens (N, C).
"""

import math

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def linear(weights: Weights, name: str, tokens: Tensor) -> Tensor:
    bias = weights.get(f"{name}.bias")
    projected = tokens @ weights[f"{name}.weight"].T
    return projected if bias is None else projected + bias


def softmax(numbers: Tensor) -> Tensor:
    """Of a vector."""
    powers = (numbers - numbers.max()).exp()
    return powers / powers.sum()


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax attention of one head, a query at a time."""
    return torch.stack([softmax(key @ q * scale) @ value for q in query])


def by_head(num_heads: int, *parts: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(part.chunk(num_heads, dim=-1) for part in parts), strict=True))


def layer_norm(weights: Weights, name: str, token: Tensor, eps: float) -> Tensor:
    variance = token.var(unbiased=False)
    return (token - token.mean()) / (variance + eps).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def depthwise(fmap: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """Convolve each channel of (H, W, C) with its own kernel (C, 1, k, k), zeros around, no bias."""
    height, width, channels = fmap.shape
    reach = kernel.shape[-1] // 2
    rows = []
    for y in range(0, height, stride):
        row = []
        for x in range(0, width, stride):
            total = torch.zeros(channels, dtype=fmap.dtype)
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if 0 <= y + i < height and 0 <= x + j < width:
                        total = total + fmap[y + i, x + j] * kernel[:, 0, i + reach, j + reach]
            row.append(total)
        rows.append(torch.stack(row))
    return torch.stack(rows)


@torch.no_grad()
def efficient_attention(tokens: Tensor, weights: Weights, num_heads: int) -> Tensor:
    """Through the N x N map that the fast form never makes."""
    heads = []
    for query, key, value in by_head(num_heads, *linear(weights, "qkv", tokens).chunk(3, dim=-1)):
        over_channels = torch.stack([softmax(q) for q in query])
        over_tokens = torch.stack([softmax(column) for column in key.T], dim=1)
        heads.append((over_channels @ over_tokens.T) @ value)
    return linear(weights, "proj", torch.cat(heads, dim=-1))


@torch.no_grad()
def transpose_attention(tokens: Tensor, weights: Weights, num_heads: int) -> Tensor:
    heads = []
    parts = by_head(num_heads, *linear(weights, "qkv", tokens).chunk(3, dim=-1))
    for temperature, (query, key, value) in zip(weights["temperature"].flatten(), parts, strict=True):
        mixed = []
        for i in range(query.shape[1]):
            cosines = [query[:, i] @ key[:, j] / (query[:, i].norm() * key[:, j].norm()) for j in range(key.shape[1])]
            mixed.append(value @ softmax(temperature * torch.stack(cosines)))
        heads.append(torch.stack(mixed, dim=1))
    return linear(weights, "proj", torch.cat(heads, dim=-1))


@torch.no_grad()
def dual_attention(tokens: Tensor, weights: Weights, num_heads: int, spatial_heads: int) -> Tensor:
    spatial = efficient_attention(tokens, part_of(weights, "spatial"), spatial_heads)
    seen = torch.stack([layer_norm(weights, "norm", token, 1e-6) for token in tokens + spatial])
    return spatial + transpose_attention(seen, part_of(weights, "channel"), num_heads)


@torch.no_grad()
def agent_attention(tokens: Tensor, weights: Weights, grid: tuple, agent_grid: tuple, num_heads: int) -> Tensor:
    query, key, value = linear(weights, "qkv", tokens).chunk(3, dim=-1)
    fmap = query.unflatten(0, grid)
    agents = []
    for i in range(agent_grid[0]):
        rows = slice(math.floor(i * grid[0] / agent_grid[0]), math.ceil((i + 1) * grid[0] / agent_grid[0]))
        for j in range(agent_grid[1]):
            columns = slice(math.floor(j * grid[1] / agent_grid[1]), math.ceil((j + 1) * grid[1] / agent_grid[1]))
            agents.append(fmap[rows, columns].flatten(0, 1).mean(0))
    heads = []
    for q, k, v, a in by_head(num_heads, query, key, value, torch.stack(agents)):
        scale = q.shape[-1] ** -0.5
        heads.append(attend(q, a, attend(a, k, v, scale), scale))
    nearby = depthwise(value.unflatten(0, grid), weights["local.weight"]).flatten(0, 1) + weights["local.bias"]
    return linear(weights, "proj", torch.cat(heads, dim=-1) + nearby)


@torch.no_grad()
def convolutional_projection(tokens: Tensor, weights: Weights, grid: tuple, num_heads: int, stride: int) -> Tensor:
    projected = {}
    for name, step in (("query", 1), ("key", stride), ("value", stride)):
        fmap = depthwise(tokens.unflatten(0, grid), weights[f"{name}_conv.0.weight"], step).flatten(0, 1)
        norm = part_of(weights, f"{name}_conv.1")
        fmap = (fmap - norm["running_mean"]) / (norm["running_var"] + 1e-5).sqrt() * norm["weight"] + norm["bias"]
        projected[name] = linear(weights, name, fmap)
    parts = by_head(num_heads, projected["query"], projected["key"], projected["value"])
    return linear(weights, "proj", torch.cat([attend(*part, tokens.shape[-1] ** -0.5) for part in parts], dim=-1))


@torch.no_grad()
def deformable_attention(
    tokens: Tensor,
    weights: Weights,
    grid: tuple,
    num_heads: int,
    *,
    stride: int,
    num_groups: int,
    offset_range: float,
    log_position: bool = False,
) -> Tensor:
    query = linear(weights, "query", tokens)
    sampled, biases = [], []
    groups = zip(query.chunk(num_groups, dim=-1), tokens.chunk(num_groups, dim=-1), strict=True)
    for asking, holding in groups:
        fmap = depthwise(asking.unflatten(0, grid), weights["offset_conv.weight"], stride) + weights["offset_conv.bias"]
        read, points = [], []
        for i, row in enumerate(fmap):
            for j, place in enumerate(row):
                hidden = torch.nn.functional.gelu(layer_norm(weights, "offset_norm", place, 1e-5))
                offset = (hidden @ weights["offset_proj.weight"].T).tanh() * offset_range * stride / 2
                y = min(max(i * stride + (stride - 1) / 2 + float(offset[0]), 0), grid[0] - 1)
                x = min(max(j * stride + (stride - 1) / 2 + float(offset[1]), 0), grid[1] - 1)
                read.append(bilinear(holding.unflatten(0, grid), y, x))
                points.append((y, x))
        sampled.append(torch.stack(read))
        if log_position:
            biases.append(pair_biases(weights, grid, points))  # (N, K, h / G)
    key, value = linear(weights, "key_value", torch.cat(sampled, dim=-1)).chunk(2, dim=-1)
    parts = by_head(num_heads, query, key, value)
    if log_position:
        heads = []
        for (q, k, v), bias in zip(parts, torch.cat(biases, dim=-1).permute(2, 0, 1), strict=True):
            scores = [k @ one * q.shape[-1] ** -0.5 + added for one, added in zip(q, bias, strict=True)]
            heads.append(torch.stack([softmax(row) @ v for row in scores]))
        return linear(weights, "proj", torch.cat(heads, dim=-1))
    mixed = torch.cat([attend(*part, part[0].shape[-1] ** -0.5) for part in parts], dim=-1)
    place = depthwise(query.unflatten(0, grid), weights["position.weight"]).flatten(0, 1) + weights["position.bias"]
    return linear(weights, "proj", mixed + place)


def pair_biases(weights: Weights, grid: tuple, points: list) -> Tensor:
    """What each place of a grid adds to its logit of each point, by the logarithm of the way, (N, K, heads)."""
    rows = []
    for i in range(grid[0]):
        for j in range(grid[1]):
            row = []
            for y, x in points:
                way = [math.copysign(math.log2(1 + abs(step)), step) / 3 for step in (i - y, j - x)]
                hidden = linear(weights, "pair_bias.0", torch.tensor(way, dtype=torch.float64)).clamp(min=0)
                row.append(linear(weights, "pair_bias.2", hidden))
            rows.append(torch.stack(row))
    return torch.stack(rows)


def bilinear(fmap: Tensor, y: float, x: float) -> Tensor:
    """The value of (H, W, C) at a point inside."""
    top, left = min(math.floor(y), fmap.shape[0] - 1), min(math.floor(x), fmap.shape[1] - 1)
    bottom, right = min(top + 1, fmap.shape[0] - 1), min(left + 1, fmap.shape[1] - 1)
    down, across = y - top, x - left
    upper = (1 - across) * fmap[top, left] + across * fmap[top, right]
    lower = (1 - across) * fmap[bottom, left] + across * fmap[bottom, right]
    return (1 - down) * upper + down * lower


@torch.no_grad()
def enhanced_mix_mlp(tokens: Tensor, weights: Weights, grid: tuple) -> Tensor:
    hidden = linear(weights, "fc1", tokens)
    near = depthwise(hidden.unflatten(0, grid), weights["dwconv.weight"]).flatten(0, 1) + weights["dwconv.bias"]
    normed = torch.stack([layer_norm(weights, "norm", token, 1e-5) for token in hidden + near])
    return linear(weights, "fc2", torch.nn.functional.gelu(normed))


def part_of(weights: Weights, module: str) -> Weights:
    """The weights of a module inside, by their names there."""
    return {name.removeprefix(f"{module}."): value for name, value in weights.items() if name.startswith(f"{module}.")}
