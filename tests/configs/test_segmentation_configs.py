"""What is asked of segmenters alone: stock parts, slide mode, averaged versions of a picture, decay of parameters."""

import re

import cv2
import numpy as np
import pytest
import torch
from cases import LEAVES, ROOT
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from tiny_masks import write_masks

from effvit_mm import create_backbone
from effvit_mm.engine.data_check import check_data
from effvit_mm.engine.model_check import check_model
from effvit_mm.engine.run import enable_tta, load_config
from effvit_mm.errors import BadInputError

# Said by mmseg's losses and MMEngine's containers, whatever they are given here.
UPSTREAM_WARNINGS = ("Default ``avg_non_ignore`` is False:UserWarning", "The shape of value will convert:UserWarning")
pytestmark = [pytest.mark.filterwarnings(f"ignore:{warning}") for warning in UPSTREAM_WARNINGS]

SEGMENTERS = [leaf for leaf in LEAVES if leaf.stem.startswith(("semfpn", "upernet"))]
TOY = ROOT / "configs/_base_/toy"
SIZE = (65, 97)
OWN_DATA, PAINTED, CAMVID = re.findall(r"```python\n(.*?)```", (ROOT / "docs/segmentation.md").read_text(), flags=re.S)

segmenters = pytest.mark.parametrize("leaf", SEGMENTERS, ids=lambda leaf: f"{leaf.parent.name}/{leaf.stem}")


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def small(leaf, **model):
    """The model of a leaf with five classes, light heads and the given changes."""
    cfg = load_config(leaf)
    toy = Config.fromfile(TOY / f"{leaf.stem.split('_')[0]}.py")
    cfg.merge_from_dict(dict(model=toy.model.to_dict()))
    cfg.merge_from_dict(dict(model=model))
    return cfg


def build(spec):
    torch.manual_seed(0)
    return revert_sync_batchnorm(MODELS.build(spec)).eval()


def sample(size=SIZE):
    from mmseg.structures import SegDataSample

    return SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, flip=False, img_path="room.png"))


def predict(model, picture):
    with torch.no_grad():
        (done,) = model.test_step(dict(inputs=[picture], data_samples=[sample(tuple(picture.shape[1:]))]))
    return done.seg_logits.data


@segmenters
def test_everything_but_backbone_channels_and_classes_is_stock(leaf, tmp_path):
    stock = {"semfpn": "fpn_r50", "upernet": "upernet_swin"}[leaf.stem.split("_")[0]]
    (tmp_path / "stock.py").write_text(f"_base_ = 'mmseg::_base_/models/{stock}.py'")
    theirs = Config.fromfile(tmp_path / "stock.py").model
    ours = load_config(leaf).model
    for part in ("type", "test_cfg", "train_cfg"):
        assert ours[part] == theirs[part]
    for name in ("neck", "decode_head", "auxiliary_head"):
        changed = {key for key in ours.get(name, ()) if key != "_scope_" and ours[name][key] != theirs[name].get(key)}
        light = {"out_channels", "channels"} if leaf.parent.name == "camvid" else set()
        assert changed <= {"in_channels", "num_classes"} | light


@segmenters
def test_sliding_windows_predict_a_picture_of_any_size(leaf):
    windows = dict(mode="slide", crop_size=(48, 64), stride=(32, 40), _delete_=True)
    model = build(small(leaf, test_cfg=windows).model)
    picture = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    assert predict(model, picture).shape == (5, *SIZE)


def test_sliding_windows_average_where_they_overlap():
    model = build(small(SEGMENTERS[0], test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(64, 32))).model)
    picture = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    slid = predict(model, picture)
    model.test_cfg.mode = "whole"
    left, right = predict(model, picture[..., :64]), predict(model, picture[..., 32:])
    torch.testing.assert_close(slid[..., 40], (left[..., 40] + right[..., 8]) / 2)
    torch.testing.assert_close(slid[..., 10], left[..., 10])


@pytest.mark.parametrize("leaf", [ROOT / f"configs/ade20k/{name}_anchorformer.py" for name in ("semfpn", "upernet")])
def test_scales_and_mirrored_pictures_average_to_one_prediction(leaf):
    cfg = small(leaf)
    enable_tta(cfg)
    model = build(cfg.model)
    assert cfg.test_dataloader.dataset.pipeline[-1].type == "TestTimeAug"
    picture = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    mirrored = sample()
    mirrored.set_metainfo(dict(flip=True, flip_direction="horizontal"))
    with torch.no_grad():
        (done,) = model.test_step(
            dict(inputs=[[picture], [picture.flip(-1)]], data_samples=[[sample()], [mirrored]]),
        )
        plain, turned = predict(model.module, picture), predict(model.module, picture.flip(-1)).flip(-1)
    expected = (plain.softmax(0) + turned.softmax(0)).argmax(0)
    assert torch.equal(done.pred_sem_seg.data[0], expected)


def test_a_config_without_versions_of_a_picture_is_told():
    with pytest.raises(BadInputError, match="--tta needs tta_model and tta_pipeline in the config"):
        enable_tta(load_config(ROOT / "configs/coco/maskrcnn_anchorformer.py"))


def test_norms_anchors_and_temperatures_do_not_decay_under_upernet():
    cfg = load_config(ROOT / "configs/ade20k/upernet_anchorformer.py")
    backbone = create_backbone("anchorformer_t")
    optimizer = build_optim_wrapper(backbone, cfg.optim_wrapper).optimizer
    decays = {id(group["params"][0]): group["weight_decay"] for group in optimizer.param_groups}
    for name, parameter in backbone.named_parameters():
        exempt = "norm" in name or name.endswith(("anchors", "log_temperature"))
        assert decays[id(parameter)] == (0.0 if exempt else 0.01), name


@pytest.mark.parametrize(("method", "iterations"), [("semfpn", 80000), ("upernet", 160000)])
def test_the_learning_rate_ends_with_the_run(method, iterations):
    cfg = load_config(ROOT / f"configs/ade20k/{method}_anchorformer.py")
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == iterations
    assert cfg.auto_scale_lr.base_batch_size == 16


def load_example(text, folder):
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "semfpn_mine.py").write_text(text)
    return load_config(folder / "semfpn_mine.py", data_root=folder / "data")


def test_the_example_of_the_document_fits_its_data_and_model(tmp_path):
    cfg = load_example(OWN_DATA, tmp_path)
    write_masks(tmp_path / "data")
    check_data(cfg, ("train", "val", "test"))
    check_model(cfg)


def test_the_camvid_example_reads_the_folders_and_values_it_names(tmp_path):
    cfg = load_example(CAMVID, tmp_path)
    write_masks(tmp_path / "data")
    for split, name in (("training", "train"), ("validation", "val")):
        (tmp_path / f"data/annotations/{split}").rename(tmp_path / f"data/{name}annot")
        (tmp_path / f"data/images/{split}").rename(tmp_path / f"data/{name}")
        for picture in (tmp_path / f"data/{name}").iterdir():
            picture.rename(picture.with_suffix(".png"))
            mask = tmp_path / f"data/{name}annot/{picture.stem}.png"
            labels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
            labels[0] = 11
            cv2.imwrite(str(mask), labels)
    check_data(cfg, ("train", "val", "test"))


def test_the_snippet_of_the_document_turns_colours_into_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    painted = np.array([[(128, 64, 128), (220, 20, 60), (0, 0, 1)]], np.uint8)
    cv2.imwrite("painted.png", painted[..., ::-1])
    exec(PAINTED, {})
    assert cv2.imread("mask.png", cv2.IMREAD_UNCHANGED).tolist() == [[0, 1, 255]]
