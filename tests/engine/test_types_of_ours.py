"""Every type of ours that a config can name is answered with the module that registers it."""

import json
import subprocess
import sys

import pytest
from cases import ROOT, needs_mmpretrain

from effvit_mm.engine.types_of_ours import REGISTERED_BY, how_to_register

# In a process of its own: what is registered here depends on the tests that ran before.
SCRIPT = """
import importlib, inspect, json, pkgutil, sys
import effvit_mm, effvit_mm.registry as ours
from mmengine.registry import Registry

def names():
    registries = [value for value in vars(ours).values() if isinstance(value, Registry)]
    of_ours = [value for value in registries if value.parent is None and value.scope == "mmengine"]
    return {
        name
        for registry in of_ours
        for name, cls in registry.module_dict.items()
        if inspect.isclass(cls) and cls.__module__.startswith("effvit_mm.")
        and not cls.__module__.startswith(("effvit_mm.backbones.", "effvit_mm.compat."))
    }

found, before = {}, names()
for module in json.loads(sys.argv[1]):
    importlib.import_module(module)
    found[module], before = sorted(names() - before), names()
for module in pkgutil.walk_packages(effvit_mm.__path__, "effvit_mm."):
    importlib.import_module(module.name)
print(json.dumps([found, sorted(names() - before)]))
"""


@needs_mmpretrain
def test_the_table_names_what_each_module_registers_and_leaves_none_out():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(list(REGISTERED_BY))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    found, left_out = json.loads(done.stdout.splitlines()[-1])
    assert found == {module: sorted(names) for module, names in REGISTERED_BY.items()}
    assert left_out == []


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("RunReportHook", "imports=['effvit_mm', 'effvit_mm.engine', ...]"),
        ("ContextBridge", "imports=['effvit_mm', 'effvit_mm.engine', 'effvit_mm.necks', ...]"),
        ("ContextBrige", "did you mean 'ContextBridge'"),
    ],
)
def test_a_type_of_ours_gets_its_module_and_any_other_near_names(kind, said):
    assert said in how_to_register(kind, ["ContextBridge", "FPN"])
