"""A run killed at any moment and resumed is the run that was left alone."""

import subprocess
import sys

import pytest
import torch
from cases import ROOT
from torch.utils.data import DataLoader

from effvit_mm.engine.seeding import PlacedIndex, place_samples, seed_iteration, start_at

CAMPAIGN = ROOT / "tests/kill_campaign.py"


@pytest.mark.parametrize(("loop", "workers"), [("epoch", 0), ("epoch", 2), ("iter", 0), ("iter", 2)])
def test_runs_killed_at_random_moments_end_like_the_one_left_alone(loop, workers):
    command = [sys.executable, CAMPAIGN, "--kills", "4", "--loop", loop, "--workers", str(workers), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every loss, metric and weight the same" in done.stdout


class Noise:
    """Samples that are pure noise."""

    name = "noise"

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index, torch.rand(()).item()


def loaded(seed=0, *, workers=0, iteration=0, num_to_skip=0, rank=0):
    loader = place_samples(DataLoader(Noise(7), batch_size=3, num_workers=workers), seed=seed, rank=rank)
    start_at(loader, iteration, num_to_skip=num_to_skip)
    return [tuple(map(tuple, (indices.tolist(), values.tolist()))) for indices, values in loader]


def test_a_sample_depends_on_its_place_and_not_on_the_workers():
    assert loaded() == loaded(workers=2)
    assert loaded() == loaded()


def test_other_seeds_ranks_and_iterations_draw_other_samples():
    draws = [loaded(), loaded(seed=1), loaded(rank=1), loaded(iteration=5)]
    values = [value for draw in draws for _, batch in draw for value in batch]
    assert len(set(values)) == len(values)


def test_skipped_batches_are_not_loaded_and_the_rest_is_what_it_would_have_been():
    assert loaded(iteration=2, num_to_skip=2) == loaded()[2:]
    touched = []

    class Watched(Noise):
        def __getitem__(self, index):
            touched.append(index)
            return super().__getitem__(index)

    loader = place_samples(DataLoader(Watched(7), batch_size=3), seed=0, rank=0)
    start_at(loader, 2, num_to_skip=2)
    list(loader)
    assert touched == [6]


def test_a_placed_loader_still_shows_the_data_set_and_its_batch_size():
    loader = place_samples(DataLoader(Noise(7), batch_size=3), seed=0, rank=0)
    assert loader.dataset.name == "noise"
    assert loader.batch_size == 3
    assert len(loader) == 3
    assert place_samples(loader, seed=0, rank=0).batch_sampler is loader.batch_sampler


def test_starting_workers_draws_nothing_from_the_process():
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    iter(place_samples(DataLoader(Noise(7), batch_size=3), seed=0, rank=0))
    assert torch.rand(()) == expected


def test_a_placed_index_is_an_index():
    index = PlacedIndex(5, (0, 0, 1, 2))
    assert [10, 11, 12, 13, 14, 15][index] == 15
    assert index == 5


def test_iterations_are_seeded_in_every_library():
    import random

    import numpy as np

    draws = []
    for iteration in (3, 4, 3):
        seed_iteration(0, 0, iteration)
        draws.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert draws[0] == draws[2]
    assert not set(draws[0]) & set(draws[1])
