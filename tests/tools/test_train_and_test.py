"""The tools as a user meets them: a run and its reports, a resumed run, and what bad input is answered with."""

import re

import pytest

MASKRCNN = "configs/coco/maskrcnn_anchorformer.py"
TRAIN = f"python tools/train.py {MASKRCNN}"
SHORT = ("toy_scenes.num_train=8", "toy_scenes.num_val=4", "train_cfg.val_interval=1")
RUN = "maskrcnn_anchorformer"


@pytest.fixture(scope="module")
def trained(workplace):
    """One epoch on eight scenes; returns what the console showed."""
    return workplace.succeeds(f"{TRAIN} --toy", *SHORT, "train_cfg.max_epochs=1")


def test_a_run_leaves_figures_pictures_config_and_checkpoint(workplace, trained):
    run = workplace.folder / "work_dirs" / RUN
    figures = workplace.metrics(RUN)
    assert {"coco/bbox_mAP_50", "coco/segm_mAP_50"} <= figures.keys()
    assert len(list((run / "predictions").glob("*.png"))) == 4
    assert (run / f"{RUN}.py").is_file()
    assert (run / "epoch_1.pth").is_file()
    assert "coco/bbox_mAP_50" in trained


def test_the_end_of_a_run_names_the_command_that_evaluates_it_and_the_pictures(workplace, trained):
    evaluate = f"python tools/test.py work_dirs/{RUN}/{RUN}.py work_dirs/{RUN}/epoch_1.pth"
    pictures, checkpoint, command = trained.splitlines()[-3:]
    assert checkpoint.split() == ["checkpoint", f"work_dirs/{RUN}/epoch_1.pth"]
    assert command.endswith(evaluate)
    assert pictures.split() == ["pictures", f"work_dirs/{RUN}/predictions"]


def test_resuming_a_complete_run_says_so_and_leaves_it_as_it_was(workplace, trained):
    run = workplace.folder / "work_dirs" / RUN
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    out = workplace.succeeds(f"{TRAIN} --toy --resume", *SHORT, "train_cfg.max_epochs=1")
    assert "is already complete (1 of 1 epochs): nothing to do" in out
    assert "coco/bbox_mAP_50" in out
    assert f"work_dirs/{RUN}/epoch_1.pth" in out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_run_that_cannot_be_resumed_leaves_the_folder_as_it_was(workplace, trained):
    config = workplace.folder / "work_dirs" / RUN / f"{RUN}.py"
    before = config.read_text()
    other = ("model.backbone.variant=t", "model.neck.in_channels=32,64,160,256", "train_cfg.max_epochs=2")
    done = workplace.run(f"{TRAIN} --toy --resume", *SHORT, *other)
    assert "is of another network than the config's" in done.stderr
    assert config.read_text() == before


def test_the_console_shows_no_wall_of_config_and_the_log_file_holds_it(workplace, trained):
    assert "Hooks will be executed" not in trained
    assert "roi_head=" not in trained
    (log,) = sorted((workplace.folder / "work_dirs" / RUN).glob("*/*.log"))[:1]
    assert "roi_head=" in log.read_text()


def test_testing_the_checkpoint_reproduces_the_figures(workplace, trained):
    checkpoint = f"work_dirs/{RUN}/epoch_1.pth"
    workplace.succeeds(f"python tools/test.py {MASKRCNN} {checkpoint} --toy", *SHORT)
    assert workplace.metrics(f"{RUN}/test") == workplace.metrics(RUN)
    workplace.succeeds(f"python tools/test.py work_dirs/{RUN}/{RUN}.py {checkpoint} --work-dir work_dirs/dumped")
    assert workplace.metrics("dumped") == workplace.metrics(RUN)


def test_resuming_passes_over_a_torn_checkpoint_and_trains_what_is_left(workplace, trained):
    run = workplace.folder / "work_dirs" / RUN
    whole = (run / "epoch_1.pth").read_bytes()
    (run / "epoch_2.pth").write_bytes(whole[: len(whole) // 2])
    out = workplace.succeeds(f"{TRAIN} --toy --resume", *SHORT, "train_cfg.max_epochs=2")
    assert f"resuming from work_dirs/{RUN}/epoch_1.pth" in out
    assert (run / "epoch_2.pth").stat().st_size >= len(whole)
    (log,) = sorted((workplace.folder / "work_dirs" / RUN).glob("*/*.log"))[-1:]
    assert re.findall(r"Saving checkpoint at (\d) epochs", log.read_text()) == ["2"]


@pytest.mark.parametrize(
    ("command", "messages"),
    [
        (TRAIN, ["instances_train2017.json", "MISSING", "cocodataset.org", "--toy"]),
        ("python tools/train.py configs/coco/nothing.py", ["configs/coco/nothing.py does not exist"]),
        (f"{TRAIN} --toy --amp", ["--amp needs an accelerator"]),
        (f"python tools/test.py {MASKRCNN} nowhere/epoch_1.pth", ["checkpoint nowhere/epoch_1.pth does not exist"]),
    ],
)
def test_bad_input_is_answered_in_a_few_lines_without_a_traceback(workplace, command, messages):
    done = workplace.run(command)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) <= 15
    for message in messages:
        assert message in done.stderr


def test_a_misspelt_backbone_is_answered_with_near_names(workplace, trained):
    done = workplace.run(f"{TRAIN} --toy", *SHORT, "model.backbone.type=AnchorFromer")
    assert done.returncode == 1
    assert "did you mean 'AnchorFormer'" in done.stderr
    assert "Traceback" not in done.stderr
