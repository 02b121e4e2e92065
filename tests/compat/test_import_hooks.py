"""Callbacks after an import."""

import importlib
import inspect
import itertools
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from effvit_mm.compat.import_hooks import after_import, is_installed

_counter = itertools.count()


@pytest.fixture
def module_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that can be imported and has not been; a new name each time, as callbacks are never forgotten."""
    name = f"hooked_{next(_counter)}"
    (tmp_path / f"{name}.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def calls() -> list[ModuleType]:
    return []


def test_the_callback_waits_for_the_import_and_meets_the_executed_module(module_name, calls):
    after_import(module_name, lambda module: calls.append(module.value))
    assert calls == []
    importlib.import_module(module_name)
    assert calls == [1]


def test_a_module_that_is_already_imported_is_called_back_at_once(module_name, calls):
    module = importlib.import_module(module_name)
    after_import(module_name, calls.append)
    assert calls == [module]


def test_the_same_callback_twice_is_called_once(module_name, calls):
    append = calls.append
    after_import(module_name, append)
    after_import(module_name, append)
    importlib.import_module(module_name)
    after_import(module_name, append)
    assert len(calls) == 1


def test_a_reload_is_called_back_again(module_name, calls):
    after_import(module_name, calls.append)
    importlib.reload(importlib.import_module(module_name))
    assert len(calls) == 2


def test_the_module_keeps_its_own_loader_and_source(module_name, calls):
    after_import(module_name, calls.append)
    module = importlib.import_module(module_name)
    assert type(module.__loader__) is type(module.__spec__.loader) is SourceFileLoader
    assert inspect.getsource(module) == "value = 1\n"


def test_a_module_that_does_not_exist_is_still_not_found(calls):
    after_import("no_such_module_anywhere", calls.append)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        importlib.import_module("no_such_module_anywhere")
    assert not is_installed("no_such_module_anywhere")
