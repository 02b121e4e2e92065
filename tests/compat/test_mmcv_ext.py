"""Which extension `import mmcv._ext` gives, and what the stand-in says of what it lacks."""

import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
from pathlib import Path

import pytest
import torch

import effvit_mm.compat
from effvit_mm.compat import mmcv_ext
from effvit_mm.compat.ops import OPERATIONS, MissingOpError


@pytest.fixture
def extension_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which `mmcv._ext` is looked for; it has not been imported yet."""
    mmcv = importlib.import_module("mmcv")
    monkeypatch.setattr(mmcv, "__path__", [str(tmp_path)])
    # Set first, so that the entry is put back afterwards whether there was one or not.
    monkeypatch.setitem(sys.modules, mmcv_ext.EXTENSION, None)
    del sys.modules[mmcv_ext.EXTENSION]
    monkeypatch.setattr(mmcv, "_ext", None, raising=False)
    importlib.invalidate_caches()
    return tmp_path


def test_a_compiled_extension_that_imports_wins(extension_folder):
    (extension_folder / "_ext.py").write_text("nms = 'compiled'\n")
    extension = importlib.import_module("mmcv._ext")
    assert extension.nms == "compiled"
    assert extension.__spec__.origin == extension.__file__ == str(extension_folder / "_ext.py")
    assert isinstance(extension.__spec__.loader, importlib.machinery.SourceFileLoader)
    assert not mmcv_ext.status().active


def test_without_a_compiled_extension_the_stand_in_is_imported(extension_folder):
    extension = importlib.import_module("mmcv._ext")
    assert extension.nms.__module__ == "effvit_mm.compat.ops.nms"
    assert mmcv_ext.status().active
    assert "without it" in mmcv_ext.status().why


def test_an_extension_that_raises_import_error_gives_way_and_the_reason_is_reported(extension_folder):
    (extension_folder / "_ext.py").write_text("raise ImportError('undefined symbol: _ZN2at4_ops')\n")
    extension = importlib.import_module("mmcv._ext")
    assert extension.nms.__module__ == "effvit_mm.compat.ops.nms"
    assert sys.modules["mmcv._ext"] is extension
    assert "undefined symbol: _ZN2at4_ops" in mmcv_ext.status().why


def test_a_torn_shared_library_gives_way_and_its_path_is_reported(extension_folder):
    torn = extension_folder / f"_ext{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    torn.write_bytes(b"not a shared library")
    assert importlib.import_module("mmcv._ext").nms.__module__ == "effvit_mm.compat.ops.nms"
    assert str(torn) in mmcv_ext.status().why


def test_a_folder_of_that_name_is_no_extension(extension_folder):
    (extension_folder / "_ext").mkdir()
    assert importlib.import_module("mmcv._ext").nms.__module__ == "effvit_mm.compat.ops.nms"


def test_an_extension_that_fails_otherwise_is_not_hidden(extension_folder):
    (extension_folder / "_ext.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("mmcv._ext")


def test_an_extension_already_imported_stays(monkeypatch):
    present = type(sys)("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", present)
    mmcv_ext.activate()
    assert importlib.import_module("mmcv._ext") is present


def test_a_blocked_extension_is_reported_and_not_replaced(monkeypatch):
    monkeypatch.setitem(sys.modules, "mmcv._ext", None)
    status = mmcv_ext.status()
    assert not status.active
    assert "mmcv._ext" in status.why


def test_looking_for_the_extension_finds_it_without_loading_it(extension_folder):
    (extension_folder / "_ext.py").write_text("1 / 0\n")
    assert importlib.util.find_spec("mmcv._ext").origin == str(extension_folder / "_ext.py")


def test_a_torchvision_that_does_not_import_is_named_with_the_remedy(extension_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "effvit_mm.compat.ops", None)
    monkeypatch.delattr(effvit_mm.compat, "ops", raising=False)
    with pytest.raises(ImportError, match="Install torch and torchvision together"):
        importlib.import_module("mmcv._ext")


def test_a_name_lost_by_an_earlier_failed_import_is_given_back(monkeypatch):
    transformer = importlib.import_module("mmcv.cnn.bricks.transformer")
    attention = transformer.MultiScaleDeformableAttention
    monkeypatch.delattr(transformer, "MultiScaleDeformableAttention")
    mmcv_ext.activate()
    assert transformer.MultiScaleDeformableAttention is attention


def test_an_unknown_operation_exists_and_raises_its_name_the_reason_and_the_remedy_when_called():
    stand_in = mmcv_ext.build_stand_in("mmcv was installed without it.")
    operation = stand_in.psamask_forward
    with pytest.raises(MissingOpError) as raised:
        operation(torch.zeros(1, 4), iou_threshold=0.5)
    message = str(raised.value)
    assert raised.value.op == "psamask_forward"
    for part in ("`psamask_forward`", "`mmcv._ext`", "installed without it", "--no-build-isolation"):
        assert part in message


@pytest.mark.parametrize("name", ["__path__", "__file__", "__wrapped__", "_private"])
def test_introspection_of_the_stand_in_finds_no_invented_names(name):
    assert not hasattr(mmcv_ext.build_stand_in(""), name)


@pytest.mark.parametrize("name", [operation.__name__ for operation in OPERATIONS])
def test_every_operation_takes_the_arguments_that_mmcvs_binding_names(name):
    bindings = Path(importlib.import_module("mmcv.ops").__file__).parent / "csrc/pytorch/pybind.cpp"
    if not bindings.exists():
        pytest.skip("this mmcv ships without its sources")
    source = bindings.read_text()
    start = source.index(f'm.def("{name}",')
    definition = source[start : source.index(");", start)]
    bound = [part.split('"')[1] for part in definition.split("py::arg(")[1:]]
    assert list(inspect.signature(getattr(mmcv_ext.build_stand_in(""), name)).parameters) == bound
