"""Does a learned selection of tokens choose well? A small ToSA against baselines that learn no choice.

    OMP_NUM_THREADS=1 python tests/benchmarks/selection_quality.py              # depth, 3 seeds
    python tests/benchmarks/selection_quality.py --task segmentation
    python tests/benchmarks/selection_quality.py --task segmentation --layers 2
    python tests/benchmarks/selection_quality.py --task nyu --nyu data/nyu      # photographs; scores on the way, too
    python tests/benchmarks/selection_quality.py --report                       # table and plot of what is there

The network is small on purpose: four layers, two of them selective, which it cannot do without. With eight layers, the
selective ones could be left out altogether and nothing but a point of mIoU was lost, so that no choice could show. How
much there is to lose is a row of its own: one token kept, which is next to no second layers.

For each seed a network is trained dense, then its selectors alone, or the scorers that stand in their place (at a share
of 0.5). Every way of choosing is evaluated twice: on the dense weights as they are (what is lost by the choice alone)
and after the same fine-tuning with that choice. Three more ways bound the first of these: by the true map of the second
layer, which the selectors predict; by its reverse; and, with the labels known, by what the layer does to each token's
part of the loss. How well the choices agree with the true map, and what it costs to read them off a few query rows, is
measured on the dense weights, the rows on larger pictures. Every row is written as soon as it is known; started again,
the script goes on behind the last one.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from selection_bounds import by_labels, by_maps, largest, pairs_of
from selection_picture import draw_choices
from selection_report import BOUNDS, CHOICES, KEEPS, LABELS, ONE_TOKEN, PROBES, report
from selection_tasks import NETWORK, STEPS, Network, evaluate, fit, pictures_of, staged
from torch import Tensor

from effvit_mm.backbones import ToSADeiT
from effvit_mm.backbones.tosa import Stage
from effvit_mm.layers.kept_tokens import num_kept
from effvit_mm.layers.token_selection import Importance


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
    return ((largest(one, keep) * largest(other, keep)).sum(-1) / count).mean().item()


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


def run(task: str, title: str, seeds: int, record: Record, nyu: Path | None) -> None:
    """Train and evaluate all that is not there yet; rows and weights bear a title."""
    train, test, large = pictures_of(task, nyu)
    for seed in range(seeds):
        about = dict(task=title, seed=seed)

        def trained(stage: Stage, weights: dict[str, Tensor] | None, seed: int = seed, **options: object) -> Network:
            torch.manual_seed(seed)
            network = Network(task, stage=stage) if weights is None else staged(task, weights, stage, **options)
            fit(network, train, stage, seed)
            return network

        dense = record.weights(f"{title}_dense_{seed}", lambda: trained("dense", None))
        taught = record.weights(f"{title}_selector_{seed}", lambda dense=dense: trained("selector", dense))
        scorers = record.weights(
            f"{title}_scorer_{seed}", lambda dense=dense: trained("selector", dense, importance="scored")
        )
        start = {choice: scorers if choice == "scored" else taught for choice in CHOICES}

        def tuned(
            start: dict = start, seed: int = seed, importance: Importance = "predicted", **options: object
        ) -> dict:
            torch.manual_seed(seed)
            network = staged(task, start[importance], "joint", importance=importance, **options)
            # Toy scenes are many, and evaluated at the end alone.
            watch = (lambda: evaluate(network, test)["rmse"]) if task == "nyu" else None
            curve = fit(network, train, "joint", seed, watch)
            return {**evaluate(network, test), **({"curve": curve} if curve else {})}

        for name, weights in (("untrained", dense), ("trained", taught)):
            network = staged(task, weights, "joint")
            record.add(lambda n=network: agreement(n.backbone, test.pictures), kind="agreement", choice=name, **about)
            for probes in PROBES:
                record.add(
                    lambda n=network, p=probes: rows_price(n.backbone, large, p),
                    kind="rows",
                    choice=name,
                    probes=probes,
                    **about,
                )
        for choice in ("own", "class_token", "random"):
            network = staged(task, taught, "joint", importance=choice)
            record.add(lambda n=network: agreement(n.backbone, test.pictures), kind="agreement", choice=choice, **about)
        record.add(
            lambda w=taught: evaluate(staged(task, w, "dense"), test),
            kind="as it is",
            choice="dense",
            keep=1.0,
            **about,
        )
        record.add(lambda t=tuned: t(keep=1.0), kind="tuned", choice="dense", keep=1.0, **about)
        least = dict(importance="random", keep=ONE_TOKEN)
        record.add(lambda t=tuned, o=least: t(**o), kind="tuned", choice="one token", keep=ONE_TOKEN, **about)
        for keep in KEEPS:
            for bound in BOUNDS:
                network = staged(task, taught, "joint")
                record.add(
                    lambda n=network, k=keep, b=bound: evaluate(n, test, by_maps(n, k, b)),
                    kind="as it is",
                    choice=bound,
                    keep=keep,
                    **about,
                )
            network = staged(task, taught, "joint")
            record.add(
                lambda n=network, k=keep: evaluate(n, test, by_labels(n, k, test.truth)),
                kind="as it is",
                choice=LABELS,
                keep=keep,
                **about,
            )
            for choice in CHOICES:
                options = dict(importance=choice, keep=keep)
                record.add(
                    lambda w=start[choice], o=options: evaluate(staged(task, w, "joint", **o), test),
                    kind="as it is",
                    choice=choice,
                    keep=keep,
                    **about,
                )
                record.add(lambda t=tuned, o=options: t(**o), kind="tuned", choice=choice, keep=keep, **about)


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


def main() -> None:
    """Parse the command line, run what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("depth", "segmentation", "nyu"), default="depth")
    parser.add_argument("--nyu", type=Path, metavar="FOLDER", help="NYU Depth V2 in BTS's layout, for --task nyu")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=NETWORK["depth"], help="of the network")
    parser.add_argument("--steps", type=float, default=1.0, help="factor of all training steps")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/selection_quality"))
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw what choices keep, of the weights of seed 0")
    parser.add_argument("--report", action="store_true", help="train nothing, show what is there")
    args = parser.parse_args()
    record = Record(args.out)
    title = args.task if args.layers == NETWORK["depth"] else f"{args.task}_{args.layers}_layers"
    NETWORK["depth"] = args.layers
    if not args.report:
        for stage in STEPS:
            STEPS[stage] = max(10, round(args.steps * STEPS[stage]))
        run(args.task, title, args.seeds, record, args.nyu)
    report(record.rows, title, args.out)
    if args.picture:
        draw_choices(args.task, args.out, title, pictures_of(args.task, args.nyu)[1], args.picture)


if __name__ == "__main__":
    main()
