"""The tasks of ``selection_quality.py``: pictures in memory, a small ToSA, its training and its score."""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.backbones import ToSADeiT
from effvit_mm.backbones.tosa import Stage
from effvit_mm.datasets.toy_scenes import SEMANTIC_CLASSES, render_scene
from effvit_mm.depth.heads import resize
from effvit_mm.depth.losses import SILogLoss
from effvit_mm.depth.metric import depth_errors

SIZE, LARGE, NYU_SIZE = (128, 192), (320, 480), (144, 192)  # pixels: 96, 600 and 108 tokens
NUM_TRAIN, NUM_VAL, NUM_LARGE, BATCH = 640, 192, 8, 8
NETWORK = dict(dim=96, depth=4, num_heads=3, mlp_ratio=4, drop_path_rate=0.0, pretrain_img_size=160, out_indices=(2,))
STEPS = {"dense": 1000, "selector": 200, "joint": 180}
RATES = {"dense": 1e-3, "selector": 3e-3, "joint": 3e-4}
POINTS = 6
MEAN, STD = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])


class Pictures:
    """Pictures and what is true of them, in memory.

    Args:
        pictures: ``(N, H, W, 3)``, RGB.
        truth: Depth in metres or classes, ``(N, H, W)``.
    """

    def __init__(self, pictures: np.ndarray, truth: np.ndarray) -> None:
        self.pictures = ((torch.from_numpy(pictures).float() - MEAN) / STD).permute(0, 3, 1, 2).contiguous()
        self.truth = torch.from_numpy(truth)

    def batches(self, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            chosen = torch.randint(len(self.pictures), (BATCH,), generator=generator)
            pictures, truth = self.pictures[chosen], self.truth[chosen]
            if torch.rand((), generator=generator) < 0.5:
                pictures, truth = pictures.flip(-1), truth.flip(-1)
            yield pictures, truth


def rendered(task: str, first: int, count: int, size: tuple[int, int]) -> Pictures:
    """Render toy scenes."""
    scenes = [render_scene(seed, size) for seed in range(first, first + count)]
    truth = [scene.depth if task == "depth" else scene.semantics.astype(np.int64) for scene in scenes]
    return Pictures(np.stack([scene.image for scene in scenes]), np.stack(truth))


def photographed(root: Path, split: str, size: tuple[int, int], count: int | None = None) -> Pictures:
    """Read pairs of NYU Depth V2 listed in ``nyu_<split>.txt``, depth in millimetres, made smaller."""
    pictures, truth = [], []
    for line in (root / f"nyu_{split}.txt").read_text().splitlines()[:count]:
        picture, depth = (cv2.imread(str(root / name), cv2.IMREAD_UNCHANGED) for name in line.split()[:2])
        pictures.append(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)[..., ::-1])
        # A mean of two surfaces is a depth that nothing has.
        truth.append(cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.float32) / 1000)
    return Pictures(np.stack(pictures), np.stack(truth))


def pictures_of(task: str, nyu: Path | None) -> tuple[Pictures, Pictures, Tensor]:
    """Pictures to train on, to score on, and a few larger ones."""
    if task == "nyu":
        if nyu is None:
            raise SystemExit("--task nyu needs --nyu FOLDER with nyu_train.txt, nyu_test.txt and what they list")
        train, test = (photographed(nyu, split, NYU_SIZE) for split in ("train", "test"))
        return train, test, photographed(nyu, "test", LARGE, NUM_LARGE).pictures
    train, test = rendered(task, 0, NUM_TRAIN, SIZE), rendered(task, 10_000, NUM_VAL, SIZE)
    return train, test, rendered(task, 20_000, NUM_LARGE, LARGE).pictures


class Network(nn.Module):
    """The backbone and one linear layer on its map of stride 16: what is lost, no decoder makes up for.

    The layer reads 4x4 places off each token.
    """

    def __init__(self, task: str, **options: object) -> None:
        super().__init__()
        self.backbone = ToSADeiT(**{**NETWORK, **options})
        self.read = nn.Conv2d(
            self.backbone.channels[0], 16 * (len(SEMANTIC_CLASSES) if task == "segmentation" else 1), 1
        )
        self.task = task

    def forward(self, pictures: Tensor) -> Tensor:
        return self.decode(self.backbone(pictures)[0], pictures)

    def decode(self, fmap: Tensor, pictures: Tensor) -> Tensor:
        scores = resize(F.pixel_shuffle(self.read(fmap), 4), pictures.shape[-2:])
        return scores if self.task == "segmentation" else 1e-3 + 10 * scores.sigmoid()

    def loss(self, predicted: Tensor, truth: Tensor) -> Tensor:
        if self.task == "segmentation":
            return F.cross_entropy(predicted, truth)
        return SILogLoss(min_depth=0.1)(predicted, truth[:, None])


def fit(
    network: Network, train: Pictures, stage: Stage, seed: int, watch: Callable[[], float] | None = None
) -> list[float]:
    """Train one stage; return what ``watch`` gives at a few points on the way, the last one behind the last step."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if stage == "selector":
        learning = list(network.backbone.selections.parameters())
    steps = STEPS[stage]
    optimizer = torch.optim.AdamW(learning, lr=RATES[stage], weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATES[stage], total_steps=steps, pct_start=0.2)
    seen = []
    network.train()
    for step, (pictures, truth) in enumerate(train.batches(steps, seed), 1):
        loss = network.loss(network(pictures), truth) + sum(network.backbone.auxiliary_losses().values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 5.0)
        optimizer.step()
        schedule.step()
        if watch is not None and step * POINTS % steps < POINTS:
            seen.append(watch())
            network.train()
    return seen


def staged(task: str, weights: dict[str, Tensor], stage: Stage, **options: object) -> Network:
    """Build a network in a stage, with the weights of another; selectors that it lacks are left out or start fresh."""
    network = Network(task, stage=stage, **options)
    own = network.state_dict()
    network.load_state_dict({**own, **{name: value for name, value in weights.items() if name in own}})
    return network


@torch.no_grad()
def evaluate(network: Network, test: Pictures, forward: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
    """Return the task's figures: means over the pictures, or of all pixels for segmentation."""
    network.eval()
    before = torch.get_rng_state()
    torch.manual_seed(0)  # a random choice is the same in every evaluation
    predicted = torch.cat([(forward or network)(pictures) for pictures in test.pictures.split(16)])
    torch.set_rng_state(before)
    if network.task != "segmentation":
        pairs = zip(predicted[:, 0].clamp(0.1, 10), test.truth, strict=True)
        errors = [depth_errors(one[true > 0.1], true[true > 0.1]) for one, true in pairs]
        return {name: statistics.fmean(error[name] for error in errors) for name in ("rmse", "abs_rel", "delta1")}
    classes, truth = predicted.argmax(1), test.truth
    ious = [
        ((classes == k) & (truth == k)).sum() / ((classes == k) | (truth == k)).sum()
        for k in range(len(SEMANTIC_CLASSES))
    ]
    return {"mIoU": 100 * torch.stack(ious).mean().item()}
