"""What a run writes to has to be installed before it begins."""

import pytest
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from effvit_mm.engine import preflight
from effvit_mm.errors import BadInputError


@pytest.mark.parametrize("name", preflight.PACKAGES)
def test_a_backend_whose_package_is_missing_is_named_with_the_command(monkeypatch, name):
    assert VISBACKENDS.get(name) is not None
    package = preflight.PACKAGES[name][1]
    backends = [dict(type="LocalVisBackend"), dict(type=name)]
    cfg = Config(dict(visualizer=dict(type="Visualizer", vis_backends=backends)))
    monkeypatch.setattr(preflight, "find_spec", lambda module: None)
    with pytest.raises(BadInputError, match=rf"visualizer.vis_backends.1 is {name}.*pip install {package},"):
        preflight.check_packages(cfg)
    monkeypatch.setattr(preflight, "find_spec", lambda module: module)
    preflight.check_packages(cfg)


def test_a_run_without_other_backends_needs_nothing(monkeypatch):
    monkeypatch.setattr(preflight, "find_spec", lambda module: None)
    for visualizer in (None, dict(type="Visualizer"), dict(vis_backends=[dict(type="LocalVisBackend")])):
        preflight.check_packages(Config(dict(visualizer=visualizer)))
