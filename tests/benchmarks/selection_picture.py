"""What different choices keep of the same pictures, drawn."""

from pathlib import Path

import cv2
import torch
from selection_bounds import gains_of, largest
from selection_tasks import MEAN, STD, Pictures, staged

from effvit_mm.analysis import draw_kept_tokens, kept_maps

KEEP = 0.5


def draw_choices(task: str, folder: Path, title: str, test: Pictures, file: Path, count: int = 3) -> None:
    """Draw the first pictures, and beside each which half of their tokens passes the first selective layer.

    Args:
        task: Of the networks.
        folder: Of the weights of seed 0, dense but for selectors and scorers.
        title: Of the weights.
        test: The pictures.
        file: Where the picture goes.
        count: Pictures.
    """
    shown, truth = test.pictures[:count], test.truth[:count]
    maps = {}
    for importance, weights in (("scored", "scorer"), ("predicted", "selector"), ("random", "selector")):
        trained = torch.load(folder / f"{title}_{weights}_0.pth", weights_only=True)
        network = staged(task, trained, "joint", importance=importance, keep=KEEP).eval()
        torch.manual_seed(0)
        maps[importance] = next(iter(kept_maps(network.backbone, shown).values()))
        if importance == "predicted":
            served = gains_of(network, shown, truth)[0][:, network.backbone.num_prefix :]
            maps["labels known"] = largest(served, KEEP).unflatten(1, maps[importance].shape[1:])
    pictures = (shown * STD[:, None, None] + MEAN[:, None, None]).permute(0, 2, 3, 1).clamp(0, 255).byte().numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    order = ("labels known", "scored", "predicted", "random")
    drawn = draw_kept_tokens(list(pictures), {name: maps[name] for name in order})
    cv2.imwrite(str(file), drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
