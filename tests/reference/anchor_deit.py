"""AnchorFormer as its released code lays it out, written from the equations: plain modules under the official names.

The walk of a head is one dense matrix over all tokens, and pictures and heads are taken one at a time.
"""

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6


class Attention(nn.Module):
    def __init__(self, dim, heads, anchors):
        super().__init__()
        self.heads = heads
        self.x_to_emb = nn.Linear(dim, 2 * dim, bias=False)
        self.dist_anchor_B = nn.Linear(dim // heads, anchors, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(0.0))

    def forward(self, x):
        return self.to_out(torch.stack([self.of_picture(tokens) for tokens in x]))

    def of_picture(self, tokens):
        keys, values = self.x_to_emb(tokens).chunk(2, dim=-1)
        heads = zip(keys.chunk(self.heads, dim=-1), values.chunk(self.heads, dim=-1), strict=True)
        return torch.cat([self.walk(key) @ value for key, value in heads], dim=-1)

    def walk(self, key):
        to_anchor = torch.exp(self.dist_anchor_B(key) / key.shape[-1] ** 0.5)
        to_anchor = to_anchor / to_anchor.sum(dim=1, keepdim=True)
        degrees = torch.diag(1 / to_anchor.sum(dim=0))
        return to_anchor @ degrees @ to_anchor.T


class Perceptron(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, anchors):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads, anchors)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Perceptron(dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 16, 16)


class AnchorDeiT(nn.Module):
    def __init__(self, dim, heads, *, depth=12, anchors=30, img_size=224, num_classes=1000):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.dist_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, (img_size // 16) ** 2 + 2, dim))
        self.patch_embed = PatchEmbed(dim)
        self.blocks = nn.ModuleList(Block(dim, heads, anchors) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.head = nn.Linear(dim, num_classes)
        self.head_dist = nn.Linear(dim, num_classes)

    def block_outputs(self, x):
        patches = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        front = torch.cat([self.cls_token, self.dist_token], dim=1).expand(len(x), -1, -1)
        tokens = torch.cat([front, patches], dim=1) + self.pos_embed
        outputs = []
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        return outputs

    def pair(self, x):
        last = self.norm(self.block_outputs(x)[-1])
        return self.head(last[:, 0]), self.head_dist(last[:, 1])

    def forward(self, x):
        first, second = self.pair(x)
        return (first + second) / 2
