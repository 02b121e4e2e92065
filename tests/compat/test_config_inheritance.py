"""External scopes in `_base_`."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from effvit_mm.compat import config_inheritance

BASES = {
    "mmdet": "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmseg": "mmseg::_base_/models/upernet_swin.py",
    "mmpretrain": "mmpretrain::_base_/models/resnet50.py",
}


@pytest.mark.parametrize("scope", BASES)
def test_a_config_inherits_from_the_scope(scope: str, tmp_path: Path):
    if not config_inheritance.is_installed(scope):
        pytest.skip(f"{scope} is not installed")
    config = tmp_path / "leaf.py"
    config.write_text(f"_base_ = [{BASES[scope]!r}]\n")
    assert "backbone" in Config.fromfile(config).model


def test_a_distribution_that_is_not_installed_is_replaced_by_the_module():
    table = SimpleNamespace(MODULE2PACKAGE={"mmseg": "a-distribution-that-nobody-installed"})
    config_inheritance._cure(table)
    assert table.MODULE2PACKAGE == {"mmseg": "mmseg"}


def test_a_distribution_that_is_installed_stays():
    table = SimpleNamespace(MODULE2PACKAGE={"mmseg": "torch"})
    config_inheritance._cure(table)
    assert table.MODULE2PACKAGE == {"mmseg": "torch"}
