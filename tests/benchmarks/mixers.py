"""All token mixers in one pyramid at equal multiply-adds: cost, latency, peak memory, growth of a layer, and learning.

    python tests/benchmarks/mixers.py --parts                        # widths, parameters and multiply-adds only
    OMP_NUM_THREADS=2 python tests/benchmarks/mixers.py
    python tests/benchmarks/mixers.py --device cuda --dtype bfloat16
    OMP_NUM_THREADS=1 python tests/benchmarks/mixers.py --parts toy cifar --cifar cifar10.zip
    python tests/benchmarks/mixers.py --parts latency toy --mixers 'window|window|anchor|self' focal@0.8  # a hybrid

Every figure is a row of OUT/rows.jsonl, written as it is found; a call skips what has a row, so it can be stopped and
repeated, and parts may come from several calls. The tables, OUT/mixers.md and OUT/mixers.png are those of all rows of
the device and data type.

``matched_widths.py`` says how the multiply-adds are made equal. Latency is the ratio to the reference, whose calls take
turns with the mixer's. Memory is that of a process of its own on a CPU (``effvit_mm.analysis.memory``), of the
allocator on a GPU. A layer has 64 channels in 2 heads; its memory is the peak of what the forward allocates. What would
take too long is not run, and its row says so. Toy scenes and CIFAR-10 are learned from scratch, by one recipe for all.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from learning_tasks import Task
from matched_learning import learned, tasks
from matched_widths import (
    REFERENCE,
    WIDTHS,
    Widths,
    layer_of,
    ledger_of,
    matched_widths,
    options_of,
    reference_macs,
)
from mixer_report import LEARNED, Found, scatter, tables_of, write_markdown
from mixer_rows import GRIDS, PICTURES, Row, Rows
from rich.console import Console
from rich.progress import Progress
from single_layer import calls_on, measured_growth

from effvit_mm.analysis.latency import DTYPES, Setting, make_step, measure
from effvit_mm.analysis.memory import peak_on_cpu, peak_on_gpu
from effvit_mm.analysis.provenance import provenance
from effvit_mm.analysis.subjects import load_subject
from effvit_mm.backbones import list_mixers

LONG = 5.0


class Bench:
    """Makes rows on one device, in one data type.

    Args:
        args: The command line.
        widths: Widths of each mixer's pyramid.
    """

    def __init__(self, args: argparse.Namespace, widths: dict[str, Widths]) -> None:
        self.args, self.widths = args, widths

    def model(self, name: str) -> str:
        """A mixer's pyramid, as ``tools/benchmark.py`` takes it, too."""
        options = options_of(name, self.widths[name])
        return f"pyramid_t({', '.join(f'{key}={value!r}' for key, value in options.items())})"

    def setting(self, pictures: str, calls: tuple[int, int]) -> Setting:
        """The conditions for pictures such as ``1x512x512``."""
        batch, *shape = map(int, pictures.split("x"))
        warmup, repeats = calls
        options = dict(dtype=self.args.dtype, device=self.args.device, warmup=warmup, repeats=repeats)
        return Setting((shape[0], shape[1]), batch, **options)

    def step(self, name: str, setting: Setting) -> Callable[[], None]:
        """One forward pass of a mixer's pyramid."""
        return make_step(load_subject(self.model(name), setting.shape, batch=setting.batch), setting)

    def latency(self, name: str, pictures: str) -> Row:
        """Time over that of the reference: median and quartiles over rounds."""
        setting = self.setting(pictures, (1, 1))
        macs = {some: ledger_of(some, self.widths[some], setting.shape).macs for some in (REFERENCE, name)}
        steps = {REFERENCE: self.step(REFERENCE, setting)}
        (expected,) = measure(steps, setting)[REFERENCE]
        expected *= macs[name] / macs[REFERENCE]
        if expected > self.args.most_seconds:
            most = f"{self.args.most_seconds:.0f} s is the most"
            return {"stopped": f"a call would take about {expected:.0f} s, and {most}", "macs": macs[name]}
        setting = self.setting(pictures, (1, min(3, self.args.repeats)) if expected > LONG else (3, self.args.repeats))
        steps[name] = steps[REFERENCE] if name == REFERENCE else self.step(name, setting)
        times = measure(steps, setting)
        ratios = [ours / theirs for ours, theirs in zip(times[name], times[REFERENCE], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        return {
            "ratio": statistics.median(ratios),
            "quartiles": [quartiles[0], quartiles[2]],
            "median_ms": 1e3 * statistics.median(times[name]),
            "reference_ms": 1e3 * statistics.median(times[REFERENCE]),
            "rounds": len(ratios),
            "macs": macs[name],
        }

    def memory(self, name: str, pictures: str) -> Row:
        """Peak memory of a forward pass."""
        setting = self.setting(pictures, (0, 1))
        if not setting.device.startswith("cuda"):
            return {"megabytes": peak_on_cpu(self.model(name), setting, threads=torch.get_num_threads())}
        step = self.step(name, setting)
        step()
        return {"megabytes": peak_on_gpu(step, setting)}

    def layer(self, name: str, grids: str) -> Row:
        """How time and memory of one layer grow with the number of tokens."""
        calls = calls_on(layer_of(name), tuple(map(int, grids.split())), self.args.device, DTYPES[self.args.dtype])
        return measured_growth(
            calls,
            self.args.device,
            repeats=self.args.repeats,
            most_seconds=self.args.most_seconds,
            most_gigabytes=self.args.most_gigabytes,
        )

    def score(self, name: str, seed: str, task: Task, progress: Progress) -> Row:
        """Learn a task from scratch at the matched widths."""
        options = options_of(name, self.widths[name])
        return learned(task, name, options, int(seed), self.args.epochs, progress)


def cost(name: str) -> Row:
    """What can be counted: the widths that match, parameters, multiply-adds."""
    matched = matched_widths(name)
    widths = matched or WIDTHS
    ledger = ledger_of(name, widths)
    return {
        **options_of(name, widths),
        "parameters": ledger.params,
        "macs": ledger.macs,
        "ratio": ledger.macs / reference_macs(),
        "matched": matched is not None,
    }


def run(rows: Rows, args: argparse.Namespace) -> None:
    """Make the rows that are not there yet, all mixers of one part before the next."""
    with Progress(console=Console(stderr=True)) as progress:
        costs = {}
        for name in progress.track(list(dict.fromkeys([REFERENCE, *args.mixers])), description="cost"):
            costs[name] = rows.get(partial(cost, name), part="cost", mixer=name)
            how = "" if costs[name]["matched"] else ": no match; the reference's widths"
            progress.console.print(f"{name}: {costs[name]['channels']}, {costs[name]['ratio']:.3f}{how}")
        bench = Bench(args, {name: tuple(row["channels"]) for name, row in costs.items()})
        jobs: dict[str, tuple[Callable[[str, str], Row], Sequence[str]]] = {
            "latency": (bench.latency, args.pictures),
            "memory": (bench.memory, args.pictures),
            "layer": (bench.layer, [" ".join(map(str, args.grids))]),
        }
        for part, task in tasks(args.toy_root or args.out / "toy_scenes", args.cifar).items():
            jobs[part] = (partial(bench.score, task=task, progress=progress), [str(seed) for seed in args.seeds])
        where = provenance("measured", device=args.device, dtype=args.dtype)
        for part in args.parts:
            make, conditions = jobs[part]
            todo = [(name, on) for on in conditions for name in args.mixers]
            for name, on in progress.track(todo, description=part):
                row = rows.get(partial(make, name, on), part=part, mixer=name, on=on, **where)
                if "stopped" in row:
                    progress.console.print(f"{part} of {name} on {on}: {row['stopped']}")


def main() -> None:
    """Run what is missing, and show all there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixers", nargs="+", default=list_mixers(), help="as matched_widths.mixers_of takes them")
    parts = ("latency", "memory", "layer", *LEARNED)
    parser.add_argument("--parts", nargs="*", default=parts[:3], choices=parts, help="beside the cost")
    parser.add_argument("--pictures", nargs="+", default=PICTURES, help="batch x height x width")
    parser.add_argument("--grids", nargs="+", type=int, default=GRIDS, help="sides of a layer's grids, in tokens")
    parser.add_argument("--repeats", type=int, default=10, help="measured rounds; 3 where a call takes over 5 s")
    parser.add_argument("--most-seconds", type=float, default=60.0, help="longest call that is made")
    parser.add_argument("--most-gigabytes", type=float, default=8.0, help="largest layer that is run")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of what is learned")
    parser.add_argument("--epochs", type=int, help="of what is learned (default: the task's); others want another OUT")
    parser.add_argument("--toy-root", type=Path, help="toy scenes of the default size (default: rendered into OUT)")
    parser.add_argument("--cifar", type=Path, help="archive of train/<class>/*.jpg and test/<class>/*.jpg")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/mixers"))
    args = parser.parse_args()
    if {*LEARNED} & {*args.parts} and (args.device, args.dtype) != ("cpu", "float32"):
        parser.error("networks learn on a CPU in float32; leave --device and --dtype to another call")
    if "cifar" in args.parts and not (args.cifar and args.cifar.is_file()):
        parser.error(f"the part cifar reads an archive of pictures, and --cifar is {args.cifar}")
    rows = Rows(args.out / "rows.jsonl")
    run(rows, args)
    found = Found(rows.of_device(args.device, args.dtype))
    Console(width=200).print(*tables_of(found), sep="\n")
    write_markdown(found, args.out / "mixers.md")
    print(scatter(found, args.out / "mixers.png"))


if __name__ == "__main__":
    main()
