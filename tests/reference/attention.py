"""Attention written from its equations, with loops; imports nothing of the package."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def anchor_attention(
    tokens: Tensor, key_value: Tensor, anchors: Tensor, proj: Tensor, proj_bias: Tensor, *, num_heads: int
) -> Tensor:
    """The paper's operator through the dense matrix S = A diag(1/degrees) A^T, a picture and a head at a time.

    tokens (B, N, C), key_value (2C, C), anchors (M, d), proj (C, C), proj_bias (C,).
    """
    out = torch.zeros_like(tokens)
    dim = tokens.shape[-1] // num_heads
    for b, picture in enumerate(tokens):
        projected = picture @ key_value.T
        keys, values = projected[:, : tokens.shape[-1]], projected[:, tokens.shape[-1] :]
        for head in range(num_heads):
            own = slice(head * dim, (head + 1) * dim)
            out[b, :, own] = walk_matrix(keys[:, own], anchors, math.sqrt(dim)) @ values[:, own]
    return out @ proj.T + proj_bias


def walk_matrix(keys: Tensor, anchors: Tensor, scale: float) -> Tensor:
    """S (N, N) of one head, element by element."""
    num_tokens, num_anchors = len(keys), len(anchors)
    step = torch.zeros(num_tokens, num_anchors, dtype=keys.dtype)
    for i in range(num_tokens):
        weights = [math.exp(float(keys[i] @ anchors[j]) / scale) for j in range(num_anchors)]
        for j in range(num_anchors):
            step[i, j] = weights[j] / sum(weights)
    walk = torch.zeros(num_tokens, num_tokens, dtype=keys.dtype)
    for j in range(num_anchors):
        degree = sum(float(step[i, j]) for i in range(num_tokens))
        for i in range(num_tokens):
            for k in range(num_tokens):
                walk[i, k] += step[i, j] * step[k, j] / degree
    return walk


@torch.no_grad()
def apart_anchor_attention(
    tokens: Tensor,
    key_value: Tensor,
    gather: Tensor,
    distribute: Tensor,
    proj: Tensor,
    proj_bias: Tensor,
    *,
    temperatures: Tensor,
) -> Tensor:
    """Anchors that gather, anchors that distribute, a picture, a head and a pair at a time.

    tokens (B, N, C), key_value (2C, C), gather and distribute (h, M, d), proj (C, C), temperatures (h,).
    """
    out = torch.zeros_like(tokens)
    channels = tokens.shape[-1]
    dim = channels // len(temperatures)
    for b, picture in enumerate(tokens):
        keys, values = (picture @ key_value.T).split(channels, dim=-1)
        for head, temperature in enumerate(temperatures.tolist()):
            own = slice(head * dim, (head + 1) * dim)
            contexts = []
            for anchor in gather[head]:
                weights = [math.exp(cosine(anchor, key) / temperature) for key in keys[:, own]]
                contexts.append(sum(w * value for w, value in zip(weights, values[:, own], strict=True)) / sum(weights))
            for i, key in enumerate(keys[:, own]):
                weights = [math.exp(cosine(anchor, key) / temperature) for anchor in distribute[head]]
                out[b, i, own] = sum(w * context for w, context in zip(weights, contexts, strict=True)) / sum(weights)
    return out @ proj.T + proj_bias


def cosine(a: Tensor, b: Tensor) -> float:
    """The cosine of the angle between two vectors."""
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


@torch.no_grad()
def self_attention(
    tokens: Tensor, qkv: Tensor, qkv_bias: Tensor, proj: Tensor, proj_bias: Tensor, *, num_heads: int
) -> Tensor:
    """Softmax attention, a picture and a head at a time; qkv (3C, C)."""
    out = torch.zeros_like(tokens)
    channels = tokens.shape[-1]
    dim = channels // num_heads
    for b, picture in enumerate(tokens):
        query, key, value = (picture @ qkv.T + qkv_bias).split(channels, dim=-1)
        for head in range(num_heads):
            own = slice(head * dim, (head + 1) * dim)
            for i in range(len(picture)):
                weights = (key[:, own] @ query[i, own] / math.sqrt(dim)).exp()
                out[b, i, own] = (weights / weights.sum()) @ value[:, own]
    return out @ proj.T + proj_bias
