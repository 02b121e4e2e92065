"""Where a package is installed, asked without `pkg_resources`."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import pytest

from effvit_mm.compat import package_lookup


def make_distribution(folder: Path, name: str, module: str | None) -> None:
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    if module is not None:
        (info / "top_level.txt").write_text(f"{module}\n")
        (folder / module).mkdir()
        (folder / module / "__init__.py").touch()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, and a current folder that holds an empty one of the same name."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_distribution_is_found_under_its_name_and_its_module_is_the_path(site):
    make_distribution(site, "made-up-segmentation", "made_up_seg")
    assert package_lookup.is_installed("made-up-segmentation")
    assert package_lookup.get_installed_path("made-up-segmentation") == str(site / "made_up_seg")
    assert package_lookup.package2module("made-up-segmentation") == "made_up_seg"


def test_a_module_without_a_distribution_is_found(site):
    (site / "made_up_module.py").touch()
    assert package_lookup.is_installed("made_up_module")
    assert package_lookup.get_installed_path("made_up_module") == str(site)


def test_a_folder_without_code_is_no_package(site):
    (site / "made_up_folder").mkdir()
    assert not package_lookup.is_installed("made_up_folder")
    with pytest.raises(PackageNotFoundError, match="made_up_folder"):
        package_lookup.get_installed_path("made_up_folder")


def test_a_distribution_that_does_not_name_its_module_says_so(site):
    make_distribution(site, "made-up-silence", None)
    with pytest.raises(ValueError, match=r"made-up-silence.*top_level\.txt"):
        package_lookup.get_installed_path("made-up-silence")


ASKS = """
def is_installed(name):
    import pkg_resources
    return pkg_resources
def get_installed_path(name): ...
def package2module(name): ...
"""


def package_utils(monkeypatch, code: str) -> ModuleType:
    """A module that stands where MMEngine's would."""
    module = ModuleType("mmengine.made_up_utils")
    exec(code, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_functions_that_ask_pkg_resources_are_replaced_also_where_they_were_imported_before(monkeypatch):
    module = package_utils(monkeypatch, ASKS)
    importer = ModuleType("mmengine.made_up_config")
    importer.is_installed = module.is_installed
    monkeypatch.setitem(sys.modules, importer.__name__, importer)
    package_lookup._cure(module)
    assert module.is_installed is importer.is_installed is package_lookup.is_installed
    assert module.get_installed_path is package_lookup.get_installed_path
    assert not hasattr(importer, "get_installed_path")


def test_functions_that_do_not_are_left_alone(monkeypatch):
    module = package_utils(monkeypatch, ASKS.replace("pkg_resources", "importlib"))
    stock = module.is_installed
    package_lookup._cure(module)
    assert module.is_installed is stock


def test_a_config_inherits_where_mmengine_was_imported_first(tmp_path):
    (tmp_path / "leaf.py").write_text("_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']\n")
    code = "from mmengine.config import Config; import effvit_mm.compat as c; c.activate(); Config.fromfile('leaf.py')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
