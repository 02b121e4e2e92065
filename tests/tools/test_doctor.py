"""The doctor as a user meets it: on this machine, and where nothing is installed at all."""

import json
import subprocess
import sys
import venv

from cases import ROOT

DOCTOR = str(ROOT / "tools/doctor.py")


def run_doctor(python, folder, *options):
    return subprocess.run(
        [str(python), DOCTOR, *options], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def test_here_it_ends_with_status_0_and_names_the_active_shims(tmp_path):
    done = run_doctor(sys.executable, tmp_path, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    content = json.loads(done.stdout)
    assert content["runs"] is True
    shims = {finding["name"]: finding["found"] for finding in content["findings"] if finding["area"] == "shims"}
    assert shims["float32 coordinates"].startswith("active: ")
    assert shims["torchvision for mmcv._ext"].startswith(("active: ", "not active: the compiled extension is in use"))
    versions = {finding["name"]: finding["found"] for finding in content["findings"] if finding["area"] == "versions"}
    assert {"torch", "torchvision", "timm", "mmcv", "mmdet", "mmseg", "mmengine", "numpy", "cv2"} <= versions.keys()
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_is_installed_it_says_so_in_plain_text_with_one_command(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare/bin/python"
    done = run_doctor(python, tmp_path)
    assert done.returncode == 1
    assert done.stderr == ""
    assert "wrong    versions  torch                not installed" in done.stdout
    command = f"{python} -m ensurepip && {python} -m pip install -e {ROOT}"
    assert done.stdout.count(" -m pip ") == done.stdout.count(command) == 1
