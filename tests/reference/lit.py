"""LIT as its released code lays it out, written from the paper: plain modules under the official names of the weights.

Sizes are multiples of 32 pixels only. ``SwinLike`` is LIT-S, M and B; ``PvtLike`` is LIT-Ti.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import deform_conv2d


def tokens_of(fmap):
    return fmap.flatten(2).transpose(1, 2)


def map_of(tokens, height, width):
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)


class PatchEmbed(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        return self.norm(tokens_of(self.proj(x)))


class Dconv(nn.Module):
    def __init__(self, in_dim, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, in_dim, 2, 2) / (2 * in_dim**0.5))
        self.bias = nn.Parameter(torch.randn(dim))
        self.conv_offset = nn.Conv2d(in_dim, 8, 2, 2)

    def forward(self, x):
        return deform_conv2d(x, self.conv_offset(x), self.weight, self.bias, stride=2)


class Merging(nn.Module):
    def __init__(self, in_dim, dim):
        super().__init__()
        self.dconv = Dconv(in_dim, dim)
        self.norm_layer = nn.BatchNorm2d(dim)

    def forward(self, fmap):
        return F.gelu(self.norm_layer(self.dconv(fmap)))


class Attention(nn.Module):
    def __init__(self, dim, heads, table_side):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        if table_side:
            self.relative_position_bias_table = nn.Parameter(torch.randn((2 * table_side - 1) ** 2, heads))
            self.register_buffer("relative_position_index", torch.zeros(table_side**2, table_side**2).long())

    def bias(self, height, width):
        table = self.relative_position_bias_table
        side = int(len(table) ** 0.5)
        table = table.T.reshape(1, self.heads, side, side)
        size = (2 * height - 1, 2 * width - 1)
        if size != (side, side):
            table = F.interpolate(table, size, mode="bicubic", align_corners=False)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        y, x = y.flatten(), x.flatten()
        return table[0, :, y[:, None] - y + height - 1, x[:, None] - x + width - 1]

    def forward(self, x, height, width):
        query, key, value = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        logits = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        if hasattr(self, "relative_position_bias_table"):
            logits = logits + self.bias(height, width)
        return self.proj((logits.softmax(-1) @ value).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    def __init__(self, dim, ratio):
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, ratio, *, attends, table_side, eps):
        super().__init__()
        if attends:
            self.norm1 = nn.LayerNorm(dim, eps=eps)
            self.attn = Attention(dim, heads, table_side)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Perceptron(dim, ratio)

    def forward(self, x, height, width):
        if hasattr(self, "attn"):
            x = x + self.attn(self.norm1(x), height, width)
        return x + self.mlp(self.norm2(x))


class Layer(nn.Module):
    def __init__(self, blocks, downsample):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        if downsample is not None:
            self.downsample = downsample


class SwinLike(nn.Module):
    def __init__(self, dims, depths, heads, ratios, *, num_classes=1000, img_size=224, dense_norms=None):
        super().__init__()
        self.patch_embed = PatchEmbed(dims[0])
        self.layers = nn.ModuleList()
        for i, dim in enumerate(dims):
            side = img_size // (4, 8, 16, 32)[i] if i >= 2 else 0
            blocks = [
                Block(dim, heads[i], ratios[i], attends=i >= 2, table_side=side, eps=1e-5) for _ in range(depths[i])
            ]
            self.layers.append(Layer(blocks, Merging(dim, dims[i + 1]) if i < 3 else None))
        if dense_norms is None:
            self.norm = nn.LayerNorm(dims[-1])
            self.head = nn.Linear(dims[-1], num_classes)
        else:
            for i in dense_norms:
                setattr(self, f"norm{i}", nn.LayerNorm(dims[i]))

    def stages(self, x):
        height, width = x.shape[2] // 4, x.shape[3] // 4
        tokens, maps = self.patch_embed(x), []
        for layer in self.layers:
            for block in layer.blocks:
                tokens = block(tokens, height, width)
            maps.append(map_of(tokens, height, width))
            if hasattr(layer, "downsample"):
                merged = layer.downsample(maps[-1])
                (height, width), tokens = merged.shape[2:], tokens_of(merged)
        return maps

    def dense(self, x):
        maps = self.stages(x)
        for i, fmap in enumerate(maps):
            if hasattr(self, f"norm{i}"):
                maps[i] = map_of(getattr(self, f"norm{i}")(tokens_of(fmap)), *fmap.shape[2:])
        return maps

    def forward(self, x):
        return self.head(self.norm(tokens_of(self.stages(x)[-1])).mean(1))


class PvtLike(nn.Module):
    def __init__(self, dims, depths, heads, ratios, *, num_classes=1000, img_size=224):
        super().__init__()
        for i, dim in enumerate(dims):
            merging = PatchEmbed(dim) if i == 0 else Merging(dims[i - 1], dim)
            setattr(self, f"patch_embed{i + 1}", merging)
            places = (img_size // (4, 8, 16, 32)[i]) ** 2 + (i == 3)
            setattr(self, f"pos_embed{i + 1}", nn.Parameter(torch.randn(1, places, dim)))
            blocks = [Block(dim, heads[i], ratios[i], attends=i >= 2, table_side=0, eps=1e-6) for _ in range(depths[i])]
            setattr(self, f"block{i + 1}", nn.ModuleList(blocks))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dims[-1]))
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], num_classes)

    def positions(self, level, height, width):
        table = getattr(self, f"pos_embed{level}")
        table = table[:, 1:] if level == 4 else table
        side = int(table.shape[1] ** 0.5)
        return tokens_of(F.interpolate(map_of(table, side, side), (height, width), mode="bilinear"))

    def stages(self, x, *, classify=False):
        maps = []
        for level in (1, 2, 3, 4):
            merging = getattr(self, f"patch_embed{level}")
            tokens = merging(x) if level == 1 else tokens_of(merging(x))
            height, width = (side // 4 if level == 1 else side // 2 for side in x.shape[2:])
            if level == 4 and classify:
                tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1) + self.pos_embed4
            else:
                tokens = tokens + self.positions(level, height, width)
            for block in getattr(self, f"block{level}"):
                tokens = block(tokens, height, width)
            if level == 4 and classify:
                return tokens
            x = map_of(tokens, height, width)
            maps.append(x)
        return maps

    dense = stages

    def forward(self, x):
        return self.head(self.norm(self.stages(x, classify=True))[:, 0])
