"""Tools let threads wait shortly, unless the user has set how."""

import os
import subprocess
import sys

import pytest
from cases import ROOT

SHOW = "import os, openmp; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("of_user", "shown"),
    [
        ({}, "1000"),
        ({"OMP_NUM_THREADS": "2"}, "None"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "A"}, "None"),
    ],
)
def test_the_users_settings_stay(of_user, shown):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
    out = subprocess.check_output(
        [sys.executable, "-c", SHOW], cwd=ROOT / "tools", env={**environment, "PYTHONPATH": "", **of_user}, text=True
    )
    assert out.strip() == shown


@pytest.mark.parametrize("tool", ["train", "test", "infer", "benchmark", "anchors"])
def test_threads_are_set_before_torch_is_loaded(tool):
    text = (ROOT / f"tools/{tool}.py").read_text()
    assert text.index("import openmp") < text.index("import effvit_mm")
