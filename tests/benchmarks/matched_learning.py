"""Learn toy scenes with a pyramid of given sizes, by the task and the recipe of ``mixer_learning.py``."""

from pathlib import Path
from typing import Any

from learning_tasks import Segmenter, ToyScenes
from mixer_learning import learn
from rich.progress import Progress
from torch import nn

from effvit_mm.backbones import create_backbone


def segmenter(options: dict[str, Any]) -> nn.Module:
    """Put another pyramid below the head of the small network that toy scenes are learned with."""
    network = Segmenter("pooling", 1.0)
    network.backbone = create_backbone("pyramid_t", **options, drop_path_rate=0.0)
    width = network.classify.in_channels
    network.heads = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in network.backbone.channels)
    return network


def learned(
    name: str, options: dict[str, Any], seed: int, root: Path, epochs: int | None, progress: Progress
) -> dict[str, Any]:
    """Train and score one network.

    Args:
        name: The mixer; the row bears it.
        options: Of its pyramid.
        seed: Seed of weights and order.
        root: Toy scenes; rendered where there are none.
        epochs: None for those of the task.
        progress: Shows the iterations.

    Returns:
        The row of ``mixer_learning.py``, with the sizes of the pyramid.
    """
    task = ToyScenes(root)
    task.epochs = epochs or task.epochs
    # It builds by name; here the name has its sizes already.
    task.network = lambda spec, mlp_factor: segmenter(options)
    bar = progress.add_task(f"{name}, seed {seed}", total=task.epochs * (len(task.data[0]) // task.batch))
    row = learn(task, name, seed, lambda: progress.advance(bar))
    progress.remove_task(bar)
    return {key: value for key, value in row.items() if key not in ("spec", "exchange")} | options
