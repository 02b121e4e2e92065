"""What a training step takes beside other work, by how torch's threads wait for each other.

    python tests/benchmarks/threads.py --neighbours 0 1 2

Each window is a process of its own; a neighbour is a process that keeps a core busy. Run it where nothing else runs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.progress import track
from rich.table import Table

SETTINGS = {
    "default (spins)": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}


def time_steps(seconds: float) -> None:
    """Train for some seconds, and print the median of a step's."""
    import torch

    from effvit_mm import create_backbone

    network = create_backbone("anchorformer_t").train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images, times = torch.randn(2, 3, 128, 160), []
    begin = time.perf_counter()
    while time.perf_counter() < begin + seconds or len(times) < 3:
        start = time.perf_counter()
        optimizer.zero_grad()
        sum(fmap.square().mean() for fmap in network(images)).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    print(statistics.median(times[1:]))


def window(setting: dict[str, str], neighbours: int, seconds: float) -> float:
    """Measure one setting beside some neighbours."""
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbours)]
    try:
        command = [sys.executable, __file__, "--steps-for", str(seconds)]
        return float(subprocess.run(command, env={**unset, **setting}, check=True, capture_output=True).stdout)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2], help="busy processes")
    parser.add_argument("--windows", type=int, default=2, help="of each setting")
    parser.add_argument("--seconds", type=float, default=7.0, help="of a window")
    parser.add_argument("--steps-for", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps_for:
        time_steps(args.steps_for)
        return
    table = Table("setting", *(f"{number} neighbours" for number in args.neighbours))
    for name, setting in track(SETTINGS.items(), "settings", disable=not sys.stdout.isatty()):
        times = [[window(setting, number, args.seconds) for _ in range(args.windows)] for number in args.neighbours]
        table.add_row(name, *(" / ".join(f"{value:.3f}" for value in cell) for cell in times))
    Console().print(table)


if __name__ == "__main__":
    main()
