"""The snippets of docs/inference.md run as they are printed."""

import re

import cv2
from cases import ROOT
from mmengine.config import Config
from tiny_models import write_model

PAGE = (ROOT / "docs/inference.md").read_text(encoding="utf-8")


def test_the_snippets_predict_draw_stream_and_write(tmp_path, monkeypatch, picture, capsys):
    monkeypatch.chdir(tmp_path)
    config, checkpoint = write_model(tmp_path / "work_dirs/maskrcnn_anchorformer", "detection")
    cfg = Config.fromfile(config)
    # Drawing takes its time for each object.
    cfg.model.test_cfg.rcnn.max_per_img = 3
    cfg.dump(config)
    checkpoint.rename(checkpoint.with_name("epoch_6.pth"))
    (tmp_path / "pictures").mkdir()
    for name in ("kitchen.jpg", "street.jpg", "pictures/a.jpg"):
        cv2.imwrite(name, picture)
    (tmp_path / "pictures/torn.jpg").write_text("no picture")
    names = {}
    for snippet in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S):
        exec(snippet, names)
    assert len(names["results"]) == 2
    assert cv2.imread("drawn.png") is not None
    found, torn, *_ = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"a\.jpg [0-3]", found)
    assert "torn.jpg picture pictures/torn.jpg: torn or no picture" in torn
    assert len(names["failures"]) == 1
    assert (tmp_path / "predicted/results.json").is_file()
