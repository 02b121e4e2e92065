"""Does a learned selection of tokens choose well? A small ToSA on toy scenes against baselines that learn no choice.

    OMP_NUM_THREADS=1 python tests/benchmarks/selection_quality.py              # depth, 3 seeds
    python tests/benchmarks/selection_quality.py --task segmentation
    python tests/benchmarks/selection_quality.py --report                       # table and plot of what is there

For each seed a network is trained dense, then its selectors alone; then every way of choosing is evaluated twice,
on the dense weights as they are (what is lost by the choice alone) and after the same fine-tuning with that choice. Two
more ways bound the first of these: by the true map of the second layer, which the selectors predict, and its reverse.
How well the choices agree with the true map, and what it costs to read them off a few query rows, is measured on the
dense weights, the rows on larger pictures. Every row is written as soon as it is known; started again, the script goes
on behind the last one.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from effvit_mm.backbones import ToSADeiT
from effvit_mm.backbones.tosa import Stage
from effvit_mm.datasets.toy_scenes import SEMANTIC_CLASSES, render_scene
from effvit_mm.depth.heads import resize
from effvit_mm.depth.losses import SILogLoss
from effvit_mm.depth.metric import depth_errors
from effvit_mm.layers.kept_tokens import num_kept

SIZE, LARGE = (128, 192), (320, 480)  # pixels: 96 tokens, and 600
NUM_TRAIN, NUM_VAL, NUM_LARGE, BATCH = 320, 96, 8, 8
NETWORK = dict(dim=96, depth=8, num_heads=3, mlp_ratio=4, drop_path_rate=0.0, pretrain_img_size=160, out_indices=(2,))
STEPS = {"dense": 1000, "selector": 200, "joint": 180}
RATES = {"dense": 1e-3, "selector": 3e-3, "joint": 3e-4}
KEEPS = (0.5, 0.3)
CHOICES = ("predicted", "own", "class_token", "random")
BOUNDS = ("true map", "reversed")
PROBES = (4, 16, 64)
MEAN, STD = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])


class Scenes:
    """Rendered scenes in memory."""

    def __init__(self, task: str, first: int, count: int, size: tuple[int, int]) -> None:
        scenes = [render_scene(seed, size) for seed in range(first, first + count)]
        pictures = torch.from_numpy(np.stack([scene.image for scene in scenes])).float()
        self.pictures = ((pictures - MEAN) / STD).permute(0, 3, 1, 2).contiguous()
        truth = [scene.depth if task == "depth" else scene.semantics.astype(np.int64) for scene in scenes]
        self.truth = torch.from_numpy(np.stack(truth))

    def batches(self, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            chosen = torch.randint(len(self.pictures), (BATCH,), generator=generator)
            pictures, truth = self.pictures[chosen], self.truth[chosen]
            if torch.rand((), generator=generator) < 0.5:
                pictures, truth = pictures.flip(-1), truth.flip(-1)
            yield pictures, truth


class Network(nn.Module):
    """The backbone and one linear layer on its map of stride 16: what is lost, no decoder makes up for."""

    def __init__(self, task: str, **options: object) -> None:
        super().__init__()
        self.backbone = ToSADeiT(**{**NETWORK, **options})
        self.read = nn.Conv2d(self.backbone.channels[0], 1 if task == "depth" else len(SEMANTIC_CLASSES), 1)
        self.task = task

    def forward(self, pictures: Tensor) -> Tensor:
        return self.decode(self.backbone(pictures)[0], pictures)

    def decode(self, fmap: Tensor, pictures: Tensor) -> Tensor:
        scores = resize(self.read(fmap), pictures.shape[-2:])
        return 1e-3 + 10 * scores.sigmoid() if self.task == "depth" else scores

    def loss(self, predicted: Tensor, truth: Tensor) -> Tensor:
        if self.task == "depth":
            return SILogLoss(min_depth=0.1)(predicted, truth[:, None])
        return F.cross_entropy(predicted, truth)


def fit(network: Network, scenes: Scenes, stage: Stage, seed: int) -> None:
    """Train one stage; the first and last selector losses stay with the network."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if stage == "selector":
        learning = list(network.backbone.selections.parameters())
    steps = STEPS[stage]
    optimizer = torch.optim.AdamW(learning, lr=RATES[stage], weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATES[stage], total_steps=steps, pct_start=0.2)
    network.train()
    for pictures, truth in scenes.batches(steps, seed):
        loss = network.loss(network(pictures), truth) + sum(network.backbone.auxiliary_losses().values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 5.0)
        optimizer.step()
        schedule.step()


def staged(task: str, weights: dict[str, Tensor], stage: Stage, **options: object) -> Network:
    """Build a network in a stage, with the weights of another; selectors that a baseline lacks are left out."""
    network = Network(task, stage=stage, **options)
    own = network.state_dict()
    network.load_state_dict({name: value for name, value in weights.items() if name in own})
    return network


@torch.no_grad()
def evaluate(network: Network, scenes: Scenes, forward: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
    """Return the task's figures: means over the pictures, or of all pixels for segmentation."""
    network.eval()
    torch.manual_seed(0)  # a random choice is the same in every evaluation
    predicted = torch.cat([(forward or network)(pictures) for pictures in scenes.pictures.split(16)])
    if network.task == "depth":
        pairs = zip(predicted[:, 0].clamp(0.1, 10), scenes.truth, strict=True)
        errors = [depth_errors(one[true > 0.1], true[true > 0.1]) for one, true in pairs]
        return {name: statistics.fmean(error[name] for error in errors) for name in ("rmse", "abs_rel", "delta1")}
    classes, truth = predicted.argmax(1), scenes.truth
    ious = [
        ((classes == k) & (truth == k)).sum() / ((classes == k) | (truth == k)).sum()
        for k in range(len(SEMANTIC_CLASSES))
    ]
    return {"mIoU": 100 * torch.stack(ious).mean().item()}


def bounded(network: Network, keep: float, bound: str) -> Callable[[Tensor], Tensor]:
    """Return a forward that chooses by the second layers' true maps, all rows, or by their reverse."""
    backbone = network.backbone

    def outputs(tokens: Tensor, grid: tuple[int, int]) -> Iterator[Tensor]:
        for pair, first, second in pairs_of(backbone):
            tokens = first(tokens, grid)
            yield tokens
            columns = (
                pair.true_map(second, tokens, torch.arange(tokens.shape[1])).sum(2, keepdim=True).mean(1, keepdim=True)
            )
            ranked = columns if bound == "true map" else columns.amax(-1, keepdim=True) - columns + 1e-6
            kept = pair.choose(ranked.log(), keep, 1)
            tokens = pair.pass_by(
                second, tokens, kept, grid, 1, lambda block, *args, **options: block(*args, **options)
            )
            yield tokens

    def forward(pictures: Tensor) -> Tensor:
        tokens, grid = backbone.embed(pictures)
        return network.decode(backbone.emit(outputs(tokens, grid), grid, tuple(pictures.shape[-2:]))[0], pictures)

    return forward


def pairs_of(backbone: ToSADeiT) -> Iterator[tuple]:
    for (first, second), pair in zip(backbone.pairs, backbone.selections.values(), strict=True):
        yield pair, backbone.blocks[first], backbone.blocks[second]


@torch.no_grad()
def importances(
    backbone: ToSADeiT, pictures: Tensor, num_probes: int | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield for each pair of a dense pass its importance ``(B, N)``, that by the true map, and the selector's loss."""
    tokens, grid = backbone.eval().embed(pictures)
    for pair, first, second in pairs_of(backbone):
        pair.num_probes = num_probes
        probes = pair.probes(grid, 1, tokens.device)
        tokens, scores = first(tokens, grid, probes=probes)
        log_map = pair.predict(scores, tokens.shape[-1] // scores.shape[1])
        true = pair.true_map(second, tokens, torch.arange(tokens.shape[1]))
        yield (
            *(part.sum(2).mean(1)[:, 1:] for part in (log_map.exp(), true)),
            pair.compare(log_map, true[:, :, probes]),
        )
        tokens = second(tokens, grid)


def overlap(one: Tensor, other: Tensor, keep: float) -> float:
    """Return the share of the tokens kept by one importance that another keeps too."""
    count = num_kept(keep, one.shape[-1])
    sets = [torch.zeros_like(part).scatter(-1, part.topk(count).indices, 1) for part in (one, other)]
    return ((sets[0] * sets[1]).sum(-1) / count).mean().item()


def spearman(one: Tensor, other: Tensor) -> float:
    ranks = [part.argsort(-1).argsort(-1).double() for part in (one, other)]
    centred = [part - part.mean(-1, keepdim=True) for part in ranks]
    return F.cosine_similarity(*centred, dim=-1).mean().item()


class Record:
    """Rows on disk, each written once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder / "rows.jsonl"
        self.rows = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.is_file() else []

    def add(self, make: Callable[[], dict[str, float]], **about: object) -> None:
        if any(about.items() <= row.items() for row in self.rows):
            return
        self.rows.append({**about, **make()})
        with open(self.file, "a") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        print(json.dumps(self.rows[-1]), flush=True)

    def weights(self, name: str, make: Callable[[], Network]) -> dict[str, Tensor]:
        file = self.folder / f"{name}.pth"
        if not file.is_file():
            torch.save(make().state_dict(), file)
        return torch.load(file, weights_only=True)


def run(task: str, seeds: int, record: Record) -> None:
    """Train and evaluate all that is not there yet."""
    train, val = Scenes(task, 0, NUM_TRAIN, SIZE), Scenes(task, 10_000, NUM_VAL, SIZE)
    large = Scenes(task, 20_000, NUM_LARGE, LARGE).pictures
    for seed in range(seeds):

        def trained(stage: Stage, weights: dict[str, Tensor] | None, seed: int = seed, **options: object) -> Network:
            torch.manual_seed(seed)
            network = (
                Network(task, stage=stage, **options) if weights is None else staged(task, weights, stage, **options)
            )
            fit(network, train, stage, seed)
            return network

        dense = record.weights(f"{task}_dense_{seed}", lambda: trained("dense", None))
        taught = record.weights(f"{task}_selector_{seed}", lambda dense=dense: trained("selector", dense))
        about = dict(task=task, seed=seed)
        for name, weights in (("untrained", dense), ("trained", taught)):
            network = staged(task, weights, "joint")
            record.add(lambda n=network: agreement(n.backbone, val.pictures), kind="agreement", choice=name, **about)
            for probes in PROBES:
                measure = lambda n=network, p=probes: rows_price(n.backbone, large, p)  # noqa: E731
                record.add(measure, kind="rows", choice=name, probes=probes, **about)
        for choice in ("own", "class_token", "random"):
            network = staged(task, taught, "joint", importance=choice)
            record.add(lambda n=network: agreement(n.backbone, val.pictures), kind="agreement", choice=choice, **about)
        record.add(
            lambda w=taught: evaluate(staged(task, w, "dense"), val), kind="as it is", choice="dense", keep=1.0, **about
        )
        record.add(
            lambda w=taught: evaluate(trained("joint", w, keep=1.0), val),
            kind="tuned",
            choice="dense",
            keep=1.0,
            **about,
        )
        for keep in KEEPS:
            for bound in BOUNDS:
                network = staged(task, taught, "joint")
                measure = lambda n=network, k=keep, b=bound: evaluate(n, val, bounded(n, k, b))  # noqa: E731
                record.add(measure, kind="as it is", choice=bound, keep=keep, **about)
            for choice in CHOICES:
                options = dict(importance=choice, keep=keep)
                measure = lambda w=taught, o=options: evaluate(staged(task, w, "joint", **o), val)  # noqa: E731
                record.add(measure, kind="as it is", choice=choice, keep=keep, **about)
                measure = lambda w=taught, o=options: evaluate(trained("joint", w, **o), val)  # noqa: E731
                record.add(measure, kind="tuned", choice=choice, keep=keep, **about)


def agreement(backbone: ToSADeiT, pictures: Tensor) -> dict[str, float]:
    """Compare a choice with that of the true map, mean over the pairs."""
    torch.manual_seed(0)
    found = list(importances(backbone, pictures, 64))
    figures = {f"overlap_{keep}": statistics.fmean(overlap(a, b, keep) for a, b, _ in found) for keep in KEEPS}
    kl = statistics.fmean(loss.item() for _, _, loss in found)
    return {**figures, "spearman": statistics.fmean(spearman(a, b) for a, b, _ in found), "kl": kl}


def rows_price(backbone: ToSADeiT, pictures: Tensor, num_probes: int) -> dict[str, float]:
    """Compare the choice from some query rows with the one from all of them, mean over the pairs."""
    some, every = ([part for part, _, _ in importances(backbone, pictures, rows)] for rows in (num_probes, None))
    both = list(zip(some, every, strict=True))
    figures = {f"overlap_{keep}": statistics.fmean(overlap(a, b, keep) for a, b in both) for keep in KEEPS}
    return {**figures, "spearman": statistics.fmean(spearman(a, b) for a, b in both)}


def report(record: Record, task: str) -> None:
    """Print the tables, and draw the first figure of every choice."""
    rows = [row for row in record.rows if row["task"] == task]
    metric = "rmse" if task == "depth" else "mIoU"
    table = Table(
        "choice",
        *(f"{kind}, keep {keep}" for keep in KEEPS for kind in ("as it is", "tuned")),
        title=f"{task}: {metric}",
    )
    for choice in ("dense", *BOUNDS, *CHOICES):
        cells = [
            spread(rows, metric, kind=kind, choice=choice, keep=1.0 if choice == "dense" else keep)
            for keep in KEEPS
            for kind in ("as it is", "tuned")
        ]
        table.add_row(choice, *cells)
    Console(width=120).print(table)
    names = [f"overlap_{keep}" for keep in KEEPS] + ["spearman"]
    table = Table("choice", *names, "kl", title="agreement with the true map")
    for choice in ("trained", "untrained", "own", "class_token", "random"):
        table.add_row(choice, *(spread(rows, name, kind="agreement", choice=choice) for name in (*names, "kl")))
    Console(width=120).print(table)
    table = Table(
        "selector", "query rows", *names, title=f"some of {LARGE[0] * LARGE[1] // 256} query rows against all"
    )
    for choice in ("trained", "untrained"):
        for probes in PROBES:
            cells = [spread(rows, name, kind="rows", choice=choice, probes=probes) for name in names]
            table.add_row(choice, str(probes), *cells)
    Console(width=120).print(table)
    draw(rows, metric, record.folder / f"{task}.png")


def of(rows: list[dict], metric: str, **about: object) -> list[float]:
    return [row[metric] for row in rows if about.items() <= row.items()]


def spread(rows: list[dict], metric: str, **about: object) -> str:
    found = of(rows, metric, **about)
    if not found:
        return "-"
    return (
        f"{statistics.fmean(found):.3f} ({min(found):.3f} to {max(found):.3f})" if len(found) > 1 else f"{found[0]:.3f}"
    )


def draw(rows: list[dict], metric: str, file: Path) -> None:
    """Draw every seed as a point and the mean as a bar, a panel for each share and phase."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 * len(KEEPS))
    for phase in (panels[: len(KEEPS)], panels[len(KEEPS) :]):
        for axes in phase[1:]:
            axes.sharey(phase[0])
    for axes, (kind, keep) in zip(
        panels, [(kind, keep) for kind in ("as it is", "tuned") for keep in KEEPS], strict=True
    ):
        choices = (*(BOUNDS if kind == "as it is" else ()), *CHOICES)
        for i, choice in enumerate(choices):
            found = of(rows, metric, kind=kind, choice=choice, keep=keep)
            axes.plot([i] * len(found), found, "o", color="#1f6feb" if choice == "predicted" else "#999", alpha=0.8)
        dense = of(rows, metric, kind=kind, choice="dense")
        if dense:
            axes.axhline(statistics.fmean(dense), color="#2a2", lw=1, label="dense")
        axes.set_xticks(range(len(choices)), choices, rotation=60, ha="right", fontsize=8)
        axes.set_title(f"keep {keep}, {'fine-tuned' if kind == 'tuned' else 'dense weights'}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    panels[0].set_ylabel(f"{metric} ({'lower' if metric == 'rmse' else 'higher'} is better)")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=130)


def main() -> None:
    """Parse the command line, run what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("depth", "segmentation"), default="depth")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=float, default=1.0, help="factor of all training steps")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/selection_quality"))
    parser.add_argument("--report", action="store_true", help="train nothing, show what is there")
    args = parser.parse_args()
    record = Record(args.out)
    if not args.report:
        for stage in STEPS:
            STEPS[stage] = max(10, round(args.steps * STEPS[stage]))
        run(args.task, args.seeds, record)
    report(record, args.task)


if __name__ == "__main__":
    main()
