"""Tiny models of every task, and pictures to predict."""

import os

import cv2
import numpy as np
import pytest
from tiny_models import write_model

from effvit_mm.inference import Predictor

TASKS = ("detection", "segmentation", "depth", "classification")


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A folder that configs' relative paths start from."""
    return tmp_path_factory.mktemp("predicting")


@pytest.fixture(scope="session")
def models(workplace):
    """Config and checkpoint by task, written on first use."""

    class Models(dict):
        def __missing__(self, task):
            self[task] = write_model(workplace / task, task)
            return self[task]

    return Models()


@pytest.fixture(scope="session")
def predictors(models):
    """Predictors by task, built on first use."""

    class Predictors(dict):
        def __missing__(self, task):
            self[task] = Predictor(*models[task], device="cpu")
            return self[task]

    return Predictors()


@pytest.fixture(params=TASKS)
def task(request):
    return request.param


@pytest.fixture
def inside(workplace):
    """Run a test from the workplace."""
    before = os.getcwd()
    os.chdir(workplace)
    yield workplace
    os.chdir(before)


@pytest.fixture(scope="session")
def picture():
    """A picture of 96 x 128 pixels without symmetry, blue first."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (128, 96), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def pictures(tmp_path, picture):
    """A folder of three pictures, one of another size."""
    folder = tmp_path / "pictures"
    (folder / "inner").mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), picture)
    cv2.imwrite(str(folder / "b.png"), picture[:64, ::-1])
    cv2.imwrite(str(folder / "inner/c.png"), picture[::-1])
    return folder
