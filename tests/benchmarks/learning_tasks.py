"""The two tasks of ``mixer_learning.py``: data in memory, a small network around a mixer, and its score."""

import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from compared_mixers import Spec
from torch import Tensor, nn
from torchvision.io import ImageReadMode, decode_image

from effvit_mm.backbones import Pyramid
from effvit_mm.backbones.initialization import initialize_weights
from effvit_mm.datasets.toy_export import SEMANTIC_CLASSES, ensure_toy_scenes
from effvit_mm.layers import AbsolutePositions, Block, MixMlp, Mlp, map_to_tokens
from effvit_mm.registry import MLPS, TOKEN_MIXERS, build_mechanism

IGNORED = 255


class Columnar(nn.Module):
    """A plain ViT for 32x32 pixels: patches of 4, no class token, mean over tokens, linear."""

    mlp: type[Mlp] = Mlp

    def __init__(self, mixer: Spec, mlp_factor: float, *, dim: int = 64, depth: int = 4, num_heads: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, 4, stride=4)
        self.positions = AbsolutePositions(dim, (8, 8))
        hidden = round(2 * dim * mlp_factor)
        self.blocks = nn.ModuleList(
            Block(dim, build_mechanism(TOKEN_MIXERS, mixer, dim, num_heads), self.mlp(dim, hidden))
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)
        initialize_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        tokens, grid = map_to_tokens(self.patches(x)), (8, 8)
        tokens = self.positions(tokens, grid)
        for block in self.blocks:
            tokens = block(tokens, grid)
        return self.head(self.norm(tokens).mean(1))


class ColumnarMix(Columnar):
    """The same with a depth-wise convolution in each MLP, as pyramids have it."""

    mlp = MixMlp


class Segmenter(nn.Module):
    """A small pyramid; the sum of its levels, each through a 1x1 convolution, at stride 4."""

    def __init__(self, mixer: Spec, mlp_factor: float) -> None:
        super().__init__()
        mixers = mixer if isinstance(mixer, str | dict) else tuple(mixer)
        self.backbone = Pyramid(
            channels=(32, 48, 96, 128),
            depths=(1, 1, 2, 1),
            num_heads=(1, 2, 4, 4),
            mlp_ratios=(4, 4, 3, 3),
            drop_path_rate=0.0,
            mixers=mixers,
            mlps={"type": "scaled_mix", "factor": mlp_factor},
        )
        self.heads = nn.ModuleList(nn.Conv2d(channels, 32, 1) for channels in self.backbone.channels)
        self.classify = nn.Conv2d(32, len(SEMANTIC_CLASSES), 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [head(fmap) for head, fmap in zip(self.heads, self.backbone(x), strict=True)]
        size = levels[0].shape[-2:]
        joined = levels[0] + sum(F.interpolate(level, size, mode="bilinear") for level in levels[1:])
        return F.interpolate(self.classify(F.relu(joined)), x.shape[-2:], mode="bilinear")


def _scaled_mix(dim: int, hidden_dim: int, *, factor: float) -> MixMlp:
    return MixMlp(dim, round(hidden_dim * factor))


MLPS.register_module("scaled_mix", module=_scaled_mix)


class Task:
    """Pictures in memory, and how they are learned from.

    Attributes:
        metric: Name of the score, in per cent.
        size: ``(H, W)`` of the pictures in pixels.
    """

    name: str
    metric: str
    network: type[nn.Module]
    epochs: int
    batch: int
    lr: float
    shift: int
    size: tuple[int, int]

    @cached_property
    def data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures (uint8) and labels to train with, pictures and labels to test with."""
        raise NotImplementedError

    def score(self, network: nn.Module) -> float:
        """The metric on the pictures to test with."""
        raise NotImplementedError

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of flipped and shifted pictures, normalised, and labels."""
        pictures, labels = self.data[:2]
        order = torch.randperm(len(pictures), generator=generator)
        for chosen in order.split(self.batch)[: len(pictures) // self.batch]:
            yield self.changed(pictures[chosen], labels[chosen], generator)

    def changed(self, pictures: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mirror half of the pictures and move each by up to ``shift`` pixels, labels of places along."""
        moves = torch.randint(0, 2 * self.shift + 1, (2, len(pictures)), generator=generator)
        mirrored = torch.rand(len(pictures), generator=generator) < 0.5
        pictures = _moved(pictures, moves, mirrored, self.shift, 0)
        if labels.ndim == 3:
            labels = _moved(labels[:, None], moves, mirrored, self.shift, IGNORED)[:, 0]
        return normalised(pictures), labels.long()

    @property
    def probe(self) -> Tensor:
        """A few pictures to test with, on which the exchange of a mixer is measured."""
        return normalised(self.data[2][:16])


class Cifar(Task):
    name, metric, network = "cifar", "accuracy", Columnar
    epochs, batch, lr, shift, size = 2, 64, 2e-3, 4, (32, 32)

    def __init__(self, archive: Path | None) -> None:
        self.archive = archive

    @cached_property
    def data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self.archive is None:
            raise SystemExit("--task cifar needs --cifar ARCHIVE.zip with train/<class>/*.jpg and test/<class>/*.jpg")
        with zipfile.ZipFile(self.archive) as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            classes = sorted({name.split("/")[1] for name in names})
            of_split: dict[str, list[str]] = {
                split: [name for name in names if name.startswith(f"{split}/")] for split in ("train", "test")
            }
            found: list[Tensor] = []
            for listed in of_split.values():
                files = (torch.frombuffer(bytearray(archive.read(name)), dtype=torch.uint8) for name in listed)
                found.append(torch.stack([decode_image(file, ImageReadMode.RGB) for file in files]))
                found.append(torch.tensor([classes.index(name.split("/")[1]) for name in listed]))
        return found[0], found[1], found[2], found[3]

    @torch.no_grad()
    def score(self, network: nn.Module) -> float:
        _, _, pictures, labels = self.data
        found = torch.cat([network(normalised(chunk)).argmax(1) for chunk in pictures.split(250)])
        return 100 * (found == labels).float().mean().item()


class CifarMix(Cifar):
    name, network = "cifar_mix", ColumnarMix


class ToyScenes(Task):
    name, metric, network = "toy", "mIoU", Segmenter
    epochs, batch, lr, shift, size = 8, 4, 2e-3, 8, (128, 160)

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ensure_toy_scenes(self.root)
        found: list[Tensor] = []
        for split in ("training", "validation"):
            for folder in ("images", "annotations"):
                files = sorted((self.root / "ade20k" / folder / split).iterdir())
                mode = ImageReadMode.RGB if folder == "images" else ImageReadMode.GRAY
                found.append(torch.stack([_read(file, mode) for file in files]))
        # Classes start at 1 on disk; 0 is ignored there and becomes 255.
        return found[0], found[1][:, 0] - 1, found[2], found[3][:, 0] - 1

    @torch.no_grad()
    def score(self, network: nn.Module) -> float:
        _, _, pictures, labels = self.data
        found = torch.cat([network(normalised(chunk)).argmax(1) for chunk in pictures.split(10)])
        count = len(SEMANTIC_CLASSES)
        seen = labels != IGNORED
        pairs = (labels[seen].long() * count + found[seen]).bincount(minlength=count**2).unflatten(0, (count, count))
        return 100 * (pairs.diag() / (pairs.sum(0) + pairs.sum(1) - pairs.diag())).nan_to_num().mean().item()


def normalised(pictures: Tensor) -> Tensor:
    """Bring bytes to about zero mean and unit spread."""
    return (pictures.float() - 120) / 64


def _read(file: Path, mode: ImageReadMode) -> Tensor:
    return decode_image(torch.from_numpy(np.fromfile(file, np.uint8)), mode)


def _moved(x: Tensor, moves: Tensor, mirrored: Tensor, most: int, fill: int) -> Tensor:
    """Cut ``(B, C, H, W)`` out of its padded self, a place for each, and mirror the chosen."""
    height, width = x.shape[-2:]
    rows = moves[0][:, None] + torch.arange(height)
    columns = moves[1][:, None] + torch.arange(width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    padded = F.pad(x, (most,) * 4, value=fill)
    picked: Any = padded[torch.arange(len(x))[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()
