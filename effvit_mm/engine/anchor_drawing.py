"""Which tokens of a picture the anchors gather, as a figure: a row a layer, the picture and its strongest anchors."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from torch import Tensor, nn

from effvit_mm.analysis.anchor_health import AnchorMaps, anchor_layers, anchor_maps
from effvit_mm.analysis.subjects import load_subject
from effvit_mm.checkpoint.intake import fit_backbone, read_pretrained
from effvit_mm.checkpoint.whole_file import written_whole
from effvit_mm.errors import BadInputError
from effvit_mm.pictures import as_tensor, read_picture
from effvit_mm.registry import near_names

SIZE = 448  # pixels of the shorter side
NUM_LAYERS = 4
MULTIPLE = 32  # a side is one of it, so that no network pads
PANEL = 2.2  # inches
# The same in every figure, so that figures compare; an even map has the color of 1.
BRIGHTEST = 4.0
MAX_LIKENESS = 0.9  # cosine between two maps that are both drawn


def draw_anchors(
    model: nn.Module | str,
    checkpoint: str | Path | None,
    picture: str | Path,
    out: str | Path,
    *,
    layers: Sequence[str] | None = None,
    per_row: int = 5,
    size: int = SIZE,
) -> dict[str, AnchorMaps]:
    """Draw which tokens of one picture the anchors of some layers gather.

    Args:
        model: A backbone or classifier, a backbone's name such as ``'anchor_deit_s'``, or the path of a config, of
            whose model the backbone is taken.
        checkpoint: Weights of it, of a classifier or detector with it; None for the weights that it has.
        picture: The picture's file.
        out: The PNG to write; its folder is made.
        layers: Names of layers, a row each; by default four spread over the depth.
        per_row: Anchors a row at most: those of the layer's heads with the largest shares of the tokens whose maps
            differ. Where anchors coincide, that is one.
        size: Shorter side that the picture is resized to, in pixels; sides are rounded to multiples of 32.

    Returns:
        The maps of all layers by name.

    Raises:
        BadInputError: If the model, a layer, the checkpoint or the picture cannot be used, or a number is out of range.
        NotSavedError: If the figure cannot be written.
    """
    if per_row < 1 or size < MULTIPLE:
        raise BadInputError(f"per_row={per_row} must be at least 1, and size={size} at least {MULTIPLE} pixels")
    if Path(out).suffix.lower() != ".png":
        raise BadInputError(f"{out} must end in .png")
    network = _network(model, checkpoint)
    known = list(anchor_layers(network))
    chosen = _chosen(known, layers)
    resized = _resized(read_picture(picture), size)
    device = next(network.parameters()).device
    was_training = network.training
    maps = anchor_maps(network.eval(), as_tensor(resized)[None].to(device))
    network.train(was_training)
    figure = _figure(np.array(resized), {name: maps[name] for name in chosen}, per_row)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with written_whole(Path(out), remedy="{first} or give another file") as partial:
        figure.savefig(partial, format="png", dpi=100)
    return maps


def _network(model: nn.Module | str, checkpoint: str | Path | None) -> nn.Module:
    if isinstance(model, nn.Module):
        network = model
    else:
        network = load_subject(model, (SIZE, SIZE)).module
        network = getattr(network, "backbone", network)
    if checkpoint is not None:
        backbone = getattr(network, "backbone", network)
        fitted = fit_backbone(backbone, read_pretrained(str(checkpoint)), str(checkpoint))
        backbone.load_state_dict(fitted.weights, strict=True)
    return network


def _chosen(known: list[str], layers: Sequence[str] | None) -> list[str]:
    if layers is None:
        places = np.linspace(0, len(known) - 1, min(NUM_LAYERS, len(known))).round().astype(int)
        return [known[place] for place in places]
    for name in layers:
        if name not in known:
            raise BadInputError(f"{name!r} is no anchor layer of the model; {near_names(name, known)}")
    return list(layers)


def _resized(picture: Image.Image, size: int) -> Image.Image:
    scale = size / min(picture.size)
    width, height = (max(round(side * scale / MULTIPLE), 1) * MULTIPLE for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _figure(picture: np.ndarray, maps: Mapping[str, AnchorMaps], per_row: int) -> Figure:
    height, width = picture.shape[:2]
    chosen = {name: strongest(of_layer, per_row) for name, of_layer in maps.items()}
    # One more than the fullest row where there is something to say of the others.
    columns = 1 + min(per_row, 1 + max(map(len, chosen.values())))
    figure = Figure(
        figsize=(PANEL * width / height * columns + 0.8, (PANEL + 0.45) * len(maps)),
        layout=ConstrainedLayoutEngine(h_pad=0.12),
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(maps), columns, squeeze=False)
    # Pale, so that what is dark is the map's.
    pale = 0.6 + 0.4 * picture.mean(axis=-1) / 255
    for row, (name, of_layer) in zip(axes, maps.items(), strict=True):
        for axis in row:
            axis.set_axis_off()
        row[0].imshow(picture)
        health = of_layer.health
        row[0].set_title(f"{name}\n{health.effective:.1f} effective, entropy {health.entropy:.2f}", fontsize=8)
        for axis, (head, anchor) in zip(row[1 : 1 + len(chosen[name])], chosen[name], strict=True):
            axis.imshow(pale, cmap="gray", vmin=0, vmax=1)
            weights = _enlarged(of_layer, head, anchor, (height, width))
            image = axis.imshow(weights, cmap="viridis", alpha=0.75, vmin=0, vmax=BRIGHTEST)
            share = float(of_layer.shares[head, anchor])
            axis.set_title(f"head {head}, anchor {anchor}\n{share:.0%} of the tokens", fontsize=8)
        if len(chosen[name]) < per_row:
            row[1 + len(chosen[name])].text(0, 0.5, "the other anchors\nhave maps like these", fontsize=8, va="center")
        bar = figure.colorbar(image, ax=row[-1], fraction=0.05, extend="max")
        bar.set_label("weight over an average's", fontsize=7)
        bar.ax.tick_params(labelsize=7)
    return figure


def strongest(maps: AnchorMaps, per_row: int) -> list[tuple[int, int]]:
    """Return head and anchor of the maps with the largest shares, leaving out those much like one before.

    Args:
        maps: Of a layer.
        per_row: How many at most; fewer where no more differ.
    """
    unit = F.normalize(maps.weights.flatten(0, 1).flatten(1), dim=1)  # (h * M, H * W)
    chosen: list[int] = []
    for place in maps.shares.flatten().argsort(descending=True, stable=True).tolist():
        if not chosen or float((unit[chosen] @ unit[place]).max()) < MAX_LIKENESS:
            chosen.append(place)
        if len(chosen) == per_row:
            break
    return [divmod(place, maps.shares.shape[1]) for place in chosen]


def _enlarged(maps: AnchorMaps, head: int, anchor: int, size: tuple[int, int]) -> np.ndarray:
    weights: Tensor = maps.weights[head, anchor][None, None].float()
    return F.interpolate(weights, size, mode="bilinear", align_corners=False)[0, 0].cpu().numpy()
