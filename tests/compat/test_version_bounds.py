"""A package that refuses mmcv for being newer than itself is imported all the same, and no other refusal is hidden."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from effvit_mm.compat import version_bounds
from effvit_mm.compat.import_hooks import after_import

# As mmdet 3.3.0 has it.
CHECK = """
import mmcv
seen = mmcv.__version__
accepted = (2, 0) <= tuple(int(part) for part in seen.split(".")[:2]) < (2, 2)
assert accepted, f"MMCV=={seen} is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0."
"""


@pytest.fixture
def import_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Import a package that stands where mmdet would, beside an mmcv of the given version."""

    def imported(code: str, mmcv_version: str) -> ModuleType:
        mmcv = ModuleType("mmcv")
        mmcv.__version__ = mmcv_version
        monkeypatch.setitem(sys.modules, "mmcv", mmcv)
        (tmp_path / "standing_for_mmdet.py").write_text(code)
        return importlib.import_module("standing_for_mmdet")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(version_bounds, "_PACKAGES", ("standing_for_mmdet",))
    monkeypatch.setattr(version_bounds, "_refused", {})
    yield imported
    sys.modules.pop("standing_for_mmdet", None)


@pytest.mark.parametrize("version", ["2.2.0", "2.3.6", "3.0.0"])
def test_a_newer_mmcv_is_accepted_keeps_its_version_and_is_reported(import_package, version):
    assert import_package(CHECK, version).seen == "2.1.0"
    assert sys.modules["mmcv"].__version__ == version
    assert version_bounds.status().active
    assert f"standing_for_mmdet refuses mmcv {version}" in version_bounds.status().why


def test_an_accepted_mmcv_is_shown_as_it_is(import_package):
    assert import_package(CHECK, "2.1.0").seen == "2.1.0"
    assert not version_bounds.status().active


def test_an_mmcv_that_is_too_old_is_still_refused(import_package):
    with pytest.raises(AssertionError, match=r"MMCV==1\.7\.2 is used but incompatible"):
        import_package(CHECK, "1.7.2")


@pytest.mark.parametrize("code", ["assert False, 'MMEngine==2.0.0 is used but incompatible.'", "assert False"])
def test_another_assertion_is_still_raised(import_package, code):
    with pytest.raises(AssertionError):
        import_package(code, "2.2.0")
    assert not version_bounds.status().active


def test_the_package_keeps_its_own_loader_and_meets_the_callbacks_that_wait_for_it(import_package):
    called = []
    after_import("standing_for_mmdet", called.append)
    module = import_package(CHECK, "2.2.0")
    assert called == [module]
    assert inspect.getsource(module) == CHECK


def test_where_nothing_is_refused_nothing_is_changed():
    code = (
        "import effvit_mm.compat, mmcv\n"
        "effvit_mm.compat.activate(); version = mmcv.__version__\n"
        "import mmdet\n"
        "assert mmcv.__version__ == version\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
