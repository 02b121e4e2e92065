"""Learn the two tasks of ``mixer_learning.py``, by its recipe, with pyramids of given sizes."""

from pathlib import Path
from typing import Any

from learning_tasks import Cifar, Segmenter, Task, ToyScenes
from mixer_learning import learn
from rich.progress import Progress
from torch import nn

from effvit_mm.backbones import create_backbone, create_classifier


class EnlargedCifar(Cifar):
    """Pictures enlarged to 64x64 pixels, so that the stages have 16x16 to 2x2 tokens; one pass over them."""

    epochs, size = 1, (64, 64)


def segmenter(options: dict[str, Any]) -> nn.Module:
    """Put another pyramid below the head of the small network that toy scenes are learned with."""
    network = Segmenter("pooling", 1.0)
    network.backbone = create_backbone("pyramid_t", **options, drop_path_rate=0.0)
    width = network.classify.in_channels
    network.heads = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in network.backbone.channels)
    return network


def classifier(options: dict[str, Any]) -> nn.Module:
    """Put a linear layer on the mean of a pyramid's last map."""
    network = create_classifier("pyramid_t", num_classes=10, **options, drop_path_rate=0.0)
    return nn.Sequential(nn.Upsample(EnlargedCifar.size, mode="bilinear"), network)


def learned(
    task: Task, name: str, options: dict[str, Any], seed: int, epochs: int | None, progress: Progress
) -> dict[str, Any]:
    """Train and score one network.

    Args:
        task: One of :func:`tasks`.
        name: The mixer; the row bears it.
        options: Of its pyramid.
        seed: Seed of weights and order.
        epochs: None for those of the task.
        progress: Shows the iterations.

    Returns:
        The row of ``mixer_learning.py``, with the sizes of the pyramid.
    """
    task.epochs = epochs or task.epochs
    build = classifier if isinstance(task, Cifar) else segmenter
    # The task builds by name; here the name has its sizes already.
    task.network = lambda spec, mlp_factor: build(options)
    bar = progress.add_task(f"{name}, seed {seed}", total=task.epochs * (len(task.data[0]) // task.batch))
    row = learn(task, name, seed, lambda: progress.advance(bar))
    progress.remove_task(bar)
    return {key: value for key, value in row.items() if key not in ("spec", "exchange")} | options


def tasks(toy_root: Path, cifar: Path | None) -> dict[str, Task]:
    """Return the tasks by name.

    Args:
        toy_root: Toy scenes; rendered where there are none.
        cifar: Archive of CIFAR-10's pictures.
    """
    return {"toy": ToyScenes(toy_root), "cifar": EnlargedCifar(cifar)}
