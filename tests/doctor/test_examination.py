"""What the doctor finds in environments that are broken on purpose, and the command it gives for each."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from effvit_mm.doctor import Finding, Status, examine, packages, show, would_run
from effvit_mm.doctor.inside import GROUPS
from effvit_mm.doctor.machine import examine_machine
from effvit_mm.doctor.packages import Installed, list_installed
from effvit_mm.doctor.presentation import summarize
from effvit_mm.doctor.probing import Outcome, run_steps
from effvit_mm.doctor.remedies import Remedies, mend_failure

FACTS = {
    "torch": {"version": "2.15.0", "cuda": None, "threads": 2},
    "torchvision.ops.nms": {"devices": ["cpu"]},
    "accelerator": {"kind": None, "names": []},
    "effvit_mm": {"version": "0.1.0", "file": str(Path(__file__).parents[2] / "effvit_mm/__init__.py")},
    "forward": {"shapes": [[1, 32, 16, 24]], "ms": 3.2},
    "shims": {"shims": [["torchvision for mmcv._ext", True, "mmcv was installed without it."]]},
}
FORK = {
    "torch": "2.15.0", "torchvision": "0.29.2", "timm": "1.0.31", "numpy": "2.2.6", "opencv-python": "4.12.0.88",
    "pycocotools": "2.0.11", "rich": "15.0.0", "effvit-mm": "0.1.0", "onedl-mmengine": "0.10.12",
    "onedl-mmcv": "2.3.6", "onedl-mmdetection": "3.5.1", "onedl-mmsegmentation": "1.4.2", "pip": "26.1",
}  # fmt: skip


def environment(*without: str, **versions: str) -> dict[str, list[Installed]]:
    """The distributions of a good environment, without some and with others."""
    extra = {name.replace("_", "-"): version for name, version in versions.items()}
    return {name: [Installed(name, version)] for name, version in {**FORK, **extra}.items() if name not in without}


def outcomes(**failures: Outcome):
    """Groups of steps of which all succeed but these (`.` in a step's name is written `_`)."""

    def run(group: str) -> dict[str, Outcome]:
        found = {}
        for step, _, needs in GROUPS[group]:
            if needs in found and found[needs].trouble:
                break
            found[step] = failures.get(step.replace(".", "_")) or Outcome(facts=FACTS.get(step, {}))
        return found

    return run


def findings_of(name: str, found: list[Finding], *statuses: Status) -> list[Finding]:
    return [finding for finding in found if finding.name == name and finding.status in (statuses or tuple(Status))]


@pytest.fixture(autouse=True)
def nothing_but_distributions(monkeypatch):
    """What these tests call missing is installed here: it must not be found as a folder without a distribution."""
    monkeypatch.setattr(packages, "folder_of", lambda module: "")


@pytest.fixture
def fake_module(tmp_path, monkeypatch):
    """Put a module in front of an installed one, for this process and for those it starts."""

    def put(name: str, code: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return put


def test_a_good_environment_runs_and_needs_nothing():
    found = examine(installed=environment(), run=outcomes())
    assert would_run(found)
    assert [finding for finding in found if finding.mend] == []
    (shim,) = [finding for finding in found if finding.area == "shims"]
    assert shim.found == "active: mmcv was installed without it."


def test_a_second_distribution_of_one_name_is_found_in_the_path_and_one_is_kept(tmp_path, monkeypatch):
    info = tmp_path / "mmcv_lite-2.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mmcv-lite\nVersion: 2.1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [entry.version for entry in list_installed()["mmcv-lite"]] == ["2.1.0"]

    found = examine(installed=environment(mmcv_lite="2.1.0"), run=outcomes())
    assert would_run(found)
    (mmcv,) = findings_of("mmcv", found, Status.WARNING)
    assert "2.3.6 from onedl-mmcv, 2.1.0 from mmcv-lite" in mmcv.found
    uninstall, install = mmcv.mend.split(" && ")
    assert uninstall.endswith("pip uninstall -y onedl-mmcv mmcv-lite")
    assert install.endswith("pip install --no-deps onedl-mmcv==2.3.6")


def test_a_failure_beside_two_distributions_is_mended_by_keeping_one():
    broken = Outcome(trouble="ImportError: cannot import name 'nms' from 'mmcv.ops'")
    found = examine(installed=environment(mmdet="3.3.0"), run=outcomes(mmdet=broken))
    (warning,) = findings_of("mmdet", found, Status.WARNING)
    (wrong,) = findings_of("mmdet", found, Status.WRONG)
    assert warning.mend == wrong.mend
    assert "uninstall" in wrong.mend


def test_two_distributions_of_opencv_are_a_note():
    found = examine(installed=environment(opencv_python_headless="4.12.0.88"), run=outcomes())
    assert [finding.status for finding in findings_of("cv2", found)] == [Status.NOTE, Status.OK]
    assert would_run(found)


def test_one_distribution_in_two_folders_is_reported():
    installed = environment()
    installed["timm"] = [Installed("timm", "0.9.2", "/home/me/.local"), Installed("timm", "1.0.31", "/env")]
    (timm,) = findings_of("timm", examine(installed=installed, run=outcomes()), Status.WARNING)
    assert timm.found == "0.9.2 in /home/me/.local hides 1.0.31 in /env"


def test_what_torchvision_asks_of_torch_is_read_from_its_metadata():
    installed = environment(torch="2.15.0+cpu")
    installed["torchvision"] = [Installed("torchvision", "0.19.1", "", ("numpy", "torch==2.4.1"))]
    (torch,) = findings_of("torch", examine(installed=installed, run=outcomes()), Status.WARNING)
    assert torch.found == "torchvision 0.19.1 asks for torch==2.4.1, not 2.15.0+cpu"
    assert torch.mend.endswith("torch==2.15.0 torchvision --index-url https://download.pytorch.org/whl/cpu")


def test_a_library_older_than_the_toolkit_asks_for_is_reported_and_extras_are_not():
    installed = environment(timm="0.6.5")
    needs = ("timm>=1.0.9", "onedl-mmcv>=2.3.2", "pytest>=99; extra == 'test'")
    installed["effvit-mm"] = [Installed("effvit-mm", "0.1.0", "", needs)]
    found = examine(installed=installed, run=outcomes())
    assert [finding.name for finding in found if finding.status is Status.WARNING] == ["timm"]
    assert findings_of("timm", found, Status.WARNING)[0].mend.endswith("pip install --upgrade 'timm>=1.0.9'")


@pytest.mark.parametrize(
    ("installed", "command"),
    [
        (environment("onedl-mmdetection"), "pip install onedl-mmdetection"),
        ({"effvit-mm": [Installed("effvit-mm", "0")], "mmengine": [Installed("mmengine", "1")]}, "pip install mmdet"),
        ({}, f"pip install -e {Path(__file__).parents[2]}"),
    ],
    ids=["fork", "upstream", "nothing"],
)
def test_a_missing_mmdet_is_installed_from_where_the_rest_came(installed, command):
    missing = Outcome(trouble="ModuleNotFoundError: No module named 'mmdet'", missing="mmdet")
    found = examine(installed=installed, run=outcomes(mmdet=missing))
    assert not would_run(found)
    mends = {finding.mend for finding in findings_of("mmdet", found, Status.WRONG)}
    assert len(mends) == 1
    assert mends.pop().endswith(command)


def test_a_checkout_on_the_path_counts_as_installed(monkeypatch):
    monkeypatch.setattr(packages, "folder_of", lambda module: f"/checkout/{module}/__init__.py")
    found = examine(installed=environment("onedl-mmdetection"), run=outcomes())
    assert would_run(found)
    assert "/checkout/mmdet/__init__.py" in findings_of("mmdet", found, Status.NOTE)[0].found


def test_without_mmseg_detection_still_runs():
    missing = Outcome(trouble="ModuleNotFoundError: No module named 'mmseg'", missing="mmseg")
    found = examine(installed=environment("onedl-mmsegmentation"), run=outcomes(mmseg=missing))
    assert would_run(found)
    assert {finding.status for finding in findings_of("mmseg", found)} == {Status.WARNING}


def test_a_missing_torchvision_is_wrong_and_the_toolkit_is_not_tried():
    missing = Outcome(trouble="ModuleNotFoundError: No module named 'torchvision'", missing="torchvision")
    found = examine(installed=environment("torchvision"), run=outcomes(torchvision=missing))
    assert not would_run(found)
    assert findings_of("torchvision", found)[0].mend.endswith("pip install torch==2.15.0 torchvision")
    assert [finding.found for finding in findings_of("effvit_mm", found, Status.WRONG)] == [
        "not tried: torchvision must work first"
    ]


def test_a_failure_that_repeats_is_mended_once():
    broken = Outcome(trouble="ImportError: libGL.so.1: cannot open shared object file: No such file or directory")
    found = examine(installed=environment(), run=outcomes(cv2=broken, effvit_mm=broken))
    (first,) = findings_of("cv2", found, Status.WRONG)
    (second,) = findings_of("effvit_mm", found, Status.WRONG)
    assert first.mend
    assert (second.found, second.mend) == ("fails as cv2 does", "")


@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0"])
@pytest.mark.parametrize("tools", [("apt-get",), ("sudo", "apt-get"), ()])
@pytest.mark.parametrize("user", [0, 1000])
def test_a_system_library_of_opencv_is_installed_where_allowed_and_else_done_without(monkeypatch, library, tools, user):
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in tools else None)
    mend = mend_failure("cv2", f"ImportError: {library}: cannot open shared object file", "", Remedies(environment()))
    if "apt-get" in tools and (user == 0 or "sudo" in tools):
        sudo = "" if user == 0 else "sudo "
        assert mend == f"{sudo}apt-get update && {sudo}apt-get install -y libgl1 libglib2.0-0"
    else:
        assert "pip uninstall -y opencv-python && " in mend
        assert mend.endswith("opencv-python-headless")


@pytest.mark.parametrize(
    ("step", "message", "missing", "command"),
    [
        ("torchvision", "RuntimeError: operator torchvision::nms does not exist", "", "torch==2.15.0 torchvision"),
        ("torch", "ImportError: libcudnn.so.9: cannot open shared object", "", "--force-reinstall torch torchvision"),
        ("pycocotools", "ValueError: numpy.dtype size changed", "", "--no-cache-dir pycocotools==2.0.11"),
        ("mmdet", "ModuleNotFoundError: No module named 'mmcv.ops'", "mmcv.ops", "--no-cache-dir onedl-mmcv==2.3.6"),
        ("cv2", "AttributeError: module 'cv2' has no attribute 'imencode'", "", "opencv-python-headless"),
        ("effvit_mm", "ModuleNotFoundError: No module named 'yaml'", "yaml", "pip install pyyaml"),
    ],
)  # fmt: skip
def test_an_error_has_its_command(step, message, missing, command):
    assert mend_failure(step, message, missing, Remedies(environment())).endswith(command)


def test_a_torch_without_cuda_beside_an_nvidia_driver_is_a_warning(monkeypatch):
    monkeypatch.setattr("effvit_mm.doctor.examination.nvidia_driver", lambda: "NVIDIA T4, 525.60")
    (accelerator,) = findings_of("accelerator", examine(installed=environment(), run=outcomes()))
    assert accelerator.status is Status.WARNING
    assert "NVIDIA T4, 525.60: not used" in accelerator.found


@pytest.mark.parametrize(("free", "status"), [(10 * 2**30, Status.OK), (2**30, Status.WARNING), (4096, Status.WRONG)])
def test_a_full_disk_is_found_before_a_run_writes_to_it(monkeypatch, tmp_path, free, status):
    usage = namedtuple("usage", "total used free")(100 * 2**30, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    (disk,) = findings_of("disk", list(examine_machine(tmp_path / "not/yet/made")))
    assert disk.status is status
    assert ("--work-dir" in disk.mend) == (status is not Status.OK)


def test_little_shared_memory_is_a_warning(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")(64 * 2**20, 0, 2**40)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    found = findings_of("shared memory", list(examine_machine(tmp_path)))
    assert all("--shm-size" in finding.mend for finding in found)


# What follows runs in processes of its own, with modules that fail in place of the real ones.


def test_a_torchvision_that_raises_is_reported_and_the_accelerator_is_still_tried(fake_module):
    fake_module("torchvision", "raise RuntimeError('operator torchvision::nms does not exist\\nand more')")
    found = run_steps("torch")
    assert found["torchvision"].trouble == "RuntimeError: operator torchvision::nms does not exist"
    assert found.keys() == {"torch", "torchvision", "accelerator"}


def test_an_opencv_without_libgl_is_reported(fake_module):
    fake_module("cv2", "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')")
    trouble = run_steps("opencv")["cv2"].trouble
    assert trouble == "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"


def test_a_missing_module_is_named(fake_module):
    fake_module("cv2", "import a_module_that_nobody_has")
    assert run_steps("opencv")["cv2"].missing == "a_module_that_nobody_has"


def test_a_library_that_kills_the_process_is_named_with_the_signal(fake_module):
    fake_module("cv2", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert "killed by SIGSEGV" in run_steps("opencv")["cv2"].trouble


def test_a_library_that_leaves_or_hangs_is_named(fake_module):
    fake_module("cv2", "import sys, time; print('noise'); sys.stdout.flush(); time.sleep(60)")
    assert run_steps("opencv", timeout=1)["cv2"].trouble == "no answer within 1 seconds"
    fake_module("torch", "raise SystemExit('no licence')")
    assert run_steps("torch")["torch"].trouble == "SystemExit: no licence"


def test_the_table_keeps_brackets_and_the_summary_gives_a_command_once(capsys):
    found = [
        Finding("versions", "mmcv", Status.WARNING, "odd [red]", "mend it"),
        Finding("it runs", "mmdet", Status.WRONG, "broken", "mend it"),
    ]
    show(found)
    assert "[red]" in capsys.readouterr().out
    text = summarize(found)
    assert text.startswith("wrong: mmdet, mmcv: broken\n    mend it\n")
    assert text.count("mend it") == 1
    assert "does not run here" in text


def test_json_says_whether_it_runs(capsys):
    show([Finding("versions", "mmcv", Status.WARNING, "odd", "mend it")], as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["runs"] is True
    assert content["findings"] == [
        {"area": "versions", "name": "mmcv", "status": "warning", "found": "odd", "mend": "mend it"}
    ]
