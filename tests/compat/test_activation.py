"""What a process sees of the shims."""

import importlib
import subprocess
import sys

import pytest

import effvit_mm.compat


def run_python(*arguments: str) -> str:
    """Run Python and give what it wrote to stdout and stderr together."""
    result = subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_activating_is_silent_and_imports_no_library():
    code = (
        "import sys, effvit_mm.compat; effvit_mm.compat.activate(); effvit_mm.compat.activate()\n"
        "loaded = {'torchvision', 'cv2', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    # torch 2.4 makes a temporary folder at import and leaves it to the end of the process.
    assert run_python("-W", "error", "-W", "ignore::ResourceWarning", "-c", code) == ""


def test_the_libraries_are_imported_in_silence():
    code = "import effvit_mm, mmdet.apis, mmdet.models, mmdet.evaluation, mmseg.apis, mmseg.models, mmseg.datasets"
    assert run_python("-c", code) == ""


def test_activating_again_changes_nothing():
    before = list(sys.meta_path)
    effvit_mm.compat.activate()
    assert sys.meta_path == before


def test_every_shim_reports_a_name_of_its_own_and_a_reason():
    report = effvit_mm.compat.report()
    assert len({shim.name for shim in report}) == len(report) == len(effvit_mm.compat._SHIMS)
    assert all(shim.why for shim in report)


@pytest.mark.parametrize("message", ["Could not import OneDL", "Could not import OneDL. Skipping OneDL datasets."])
def test_an_untrue_message_is_not_printed(message, capsys):
    importlib.import_module("mmengine.logging").print_log(message)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("message", ["Could not import", {"a": "dict"}])
def test_any_other_message_is_printed(message, capsys):
    importlib.import_module("mmengine.logging").print_log(message)
    assert capsys.readouterr().out == f"{message}\n"


# pytest sets the filters anew for each test, that of the shim included.
@pytest.mark.filterwarnings("ignore:faster_coco_eval is not installed:UserWarning")
def test_the_metric_whose_package_is_missing_says_so_when_it_is_used():
    if importlib.util.find_spec("faster_coco_eval") is not None:
        pytest.skip("faster_coco_eval is installed")
    name = "mmdet.evaluation.metrics.faster_coco_metric"
    if importlib.util.find_spec(name) is None:
        pytest.skip("this mmdet has no such metric")
    module = importlib.import_module(name)
    with pytest.raises(ImportError, match="faster-coco-eval"):
        module.COCO("annotations.json")


def test_an_untrue_message_is_not_printed_where_mmengine_was_imported_first():
    code = (
        "from mmengine.fileio import file_client; import effvit_mm.compat\n"
        "effvit_mm.compat.activate()\n"
        "file_client.print_log('Could not import OneDL')\n"
    )
    assert run_python("-c", code) == ""
