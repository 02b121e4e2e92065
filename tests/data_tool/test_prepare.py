"""NYU Depth V2 is arranged whole or not at all, out of its two sources, and what is there is not touched."""

import shutil
import sys
import types
import zipfile

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from effvit_mm.data_tool.nyu import prepare_nyu
from effvit_mm.depth import DepthListDataset, read_depth, write_depth
from effvit_mm.errors import BadInputError

TRAIN = ("kitchen_0028b/rgb_00045", "kitchen_0028b/rgb_00046", "office_0003/rgb_00002")
TEST = ("bathroom/rgb_00045",)


def line_of(name, slash=""):
    return f"{slash}{name}.jpg {slash}{depth_of(name)}.png 518.8579\n"


def depth_of(name):
    return name.replace("rgb", "sync_depth")


def write_downloads(root):
    """A training archive with more than is listed, unpacked test pictures, and lists under BTS's names."""
    for folder, names in (("sync", (*TRAIN, "attic_0001/rgb_00001")), ("bts/official_splits/test", TEST)):
        for name in names:
            file = root / folder / f"{name}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), np.zeros((6, 8, 3), np.uint8))
            write_depth(root / folder / f"{depth_of(name)}.png", np.full((6, 8), 2.5))
    with zipfile.ZipFile(root / "sync.zip", "w") as archive:
        for file in sorted((root / "sync").rglob("*.*")):
            archive.write(file, file.relative_to(root))
            file.unlink()
    lists = root / "bts/train_test_inputs"
    lists.mkdir(parents=True)
    (lists / "nyudepthv2_train_files_with_gt.txt").write_text("".join(line_of(name, "/") for name in TRAIN))
    (lists / "nyudepthv2_test_files_with_gt.txt").write_text("".join(line_of(name) for name in TEST))
    return root


def pairs(root, split, folder):
    prefix = dict(img_path=folder, depth_map_path=folder)
    return len(DepthListDataset(data_root=str(root), ann_file=f"nyu_{split}.txt", data_prefix=prefix))


def test_listed_pairs_are_taken_out_of_archives_and_folders(tmp_path):
    source = write_downloads(tmp_path / "downloads")
    root = prepare_nyu(source, tmp_path / "new/nyu")
    assert pairs(root, "train", "sync") == 3
    assert pairs(root, "test", "official_splits/test") == 1
    assert not (root / "sync/attic_0001").exists()
    assert (source / f"bts/official_splits/test/{TEST[0]}.jpg").is_file()


def test_one_list_alone_can_be_arranged_and_the_other_added(tmp_path):
    source, root = write_downloads(tmp_path / "downloads"), tmp_path / "nyu"
    prepare_nyu(source, root, only="test")
    assert sorted(path.name for path in root.iterdir()) == ["nyu_test.txt", "official_splits"]
    (root / "mine.txt").write_text("mine")
    prepare_nyu(source, root, only="train")
    assert sorted(path.name for path in root.iterdir()) == [
        "mine.txt",
        "nyu_test.txt",
        "nyu_train.txt",
        "official_splits",
        "sync",
    ]
    assert (pairs(root, "train", "sync"), pairs(root, "test", "official_splits/test")) == (3, 1)


@pytest.mark.parametrize("there", ["nyu_train.txt", "sync"])
def test_a_list_or_folder_that_is_there_is_not_added_to(tmp_path, there):
    root = tmp_path / "nyu"
    root.mkdir()
    (root / there).write_text("mine")
    with pytest.raises(BadInputError, match=f"nyu/{there} exists already and is not changed"):
        prepare_nyu(write_downloads(tmp_path / "downloads"), root, only="train")
    assert [path.name for path in root.iterdir()] == [there]
    assert (root / there).read_text() == "mine"


def pack(source, folder):
    """Put what a folder holds into an archive beside it, under the name that GitHub gives."""
    with zipfile.ZipFile(source / f"{folder}-master.zip", "w") as archive:
        for file in sorted((source / folder).rglob("*.*")):
            archive.write(file, f"{folder}-master/{file.relative_to(source / folder)}")
    shutil.rmtree(source / folder)


def test_lists_are_read_out_of_archives(tmp_path):
    source = write_downloads(tmp_path / "downloads")
    pack(source, "bts")
    root = prepare_nyu(source, tmp_path / "nyu")
    assert (pairs(root, "train", "sync"), pairs(root, "test", "official_splits/test")) == (3, 1)


def test_an_unpacked_list_goes_before_one_in_an_archive(tmp_path):
    source = write_downloads(tmp_path / "downloads")
    pack(source, "bts")
    (source / "nyu_train.txt").write_text(line_of(TRAIN[0], "/"))
    assert pairs(prepare_nyu(source, tmp_path / "nyu"), "train", "sync") == 1


@pytest.mark.parametrize("path", ["../../rgb_00001", "sync/../rgb_00001"])
def test_a_list_that_leads_out_of_its_folder_is_refused(tmp_path, path):
    source = write_downloads(tmp_path / "downloads")
    (source / "nyu_train.txt").write_text(f"{path}.jpg {path}.png 518.8579\n")
    with pytest.raises(BadInputError, match=r"line 1 is .*expected 'picture depth focal'"):
        prepare_nyu(source, tmp_path / "nyu")


def test_a_torn_archive_is_named_beside_what_is_missing(tmp_path):
    source = write_downloads(tmp_path / "downloads")
    content = (source / "sync.zip").read_bytes()
    (source / "sync.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInputError, match=r"6 of the 6 train files.*sync.zip cannot be opened as a zip"):
        prepare_nyu(source, tmp_path / "nyu")


def test_pictures_under_hostile_names_are_refused(tmp_path):
    source = write_downloads(tmp_path / "downloads")
    with zipfile.ZipFile(source / "sync.zip", "w") as archive:
        for name in TRAIN:
            archive.writestr(f"../{name}.jpg", b"")
            archive.writestr(f"../{depth_of(name)}.png", b"")
    with pytest.raises(BadInputError, match=r"sync.zip holds '\.\./kitchen_0028b"):
        prepare_nyu(source, tmp_path / "nyu")
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "sync.zip").unlink(), r"6 of the 6 train files .*kitchen_0028b/rgb_00045.jpg.*sync.zip"),
        (
            lambda root: (root / "bts/train_test_inputs/nyudepthv2_train_files_with_gt.txt").unlink(),
            "no list of the train pictures.*train_test_inputs",
        ),
        (lambda root: (root / f"bts/official_splits/test/{TEST[0]}.jpg").unlink(), r"1 of the 2 test.*splits.mat"),
    ],
    ids=["archive", "list", "picture"],
)
def test_what_is_missing_is_named_with_its_source_and_nothing_is_left(tmp_path, damage, message):
    source = write_downloads(tmp_path / "downloads")
    damage(source)
    with pytest.raises(BadInputError, match=message):
        prepare_nyu(source, tmp_path / "nyu")
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path):
    (tmp_path / "nyu").mkdir()
    (tmp_path / "nyu/mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="exists already"):
        prepare_nyu(write_downloads(tmp_path / "downloads"), tmp_path / "nyu")
    assert (tmp_path / "nyu/mine.txt").read_text() == "mine"


def labelled_arrays():
    """Three labelled pictures as MATLAB stores them, columns first."""
    rng = np.random.default_rng(0)
    images = rng.integers(100, 255, (3, 3, 640, 480), dtype=np.uint8)
    depths = rng.uniform(1, 5, (3, 640, 480)).astype(np.float32)
    return images, depths, ("attic", "bathroom", "bathroom")


def check_written_test_pictures(source, tmp_path):
    """Prepare pictures 1 and 3 of the labelled ones, counted from 1."""
    savemat(source / "splits.mat", dict(trainNdxs=np.array([[2]]), testNdxs=np.array([[1], [3]])))
    root = prepare_nyu(source, tmp_path / "nyu", only="test")
    assert (root / "nyu_test.txt").read_text() == line_of("attic/rgb_00000") + line_of("bathroom/rgb_00002")
    images, depths, _ = labelled_arrays()
    folder = root / "official_splits/test/bathroom"
    assert np.array_equal(read_depth(folder / "sync_depth_00002.png"), np.floor(depths[2].T * 1000) / np.float32(1000))
    picture = cv2.imread(str(folder / "rgb_00002.jpg"))[..., ::-1]
    assert picture.shape == (480, 640, 3)
    assert picture[:6].max() < 60  # the black frame
    inside = picture[20:460, 20:620].reshape(440, 600, 3).mean((0, 1))
    assert np.allclose(inside, images[2].T[20:460, 20:620].mean((0, 1)), atol=2)


class StandIn(dict):
    """Stands in for h5py's file: arrays by name, and by reference."""

    def __init__(self, *_):
        images, depths, scenes = labelled_arrays()
        references = {f"#{i}": np.array([[ord(letter)] for letter in name]) for i, name in enumerate(scenes)}
        super().__init__(images=images, rawDepths=depths, sceneTypes=np.array([list(references)]), **references)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """A folder with the labelled file, h5py stood in for, and the official split."""
    source = tmp_path / "downloads"
    source.mkdir()
    (source / "nyu_depth_v2_labeled.mat").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=StandIn))
    savemat(source / "splits.mat", dict(trainNdxs=np.array([[2]]), testNdxs=np.array([[1], [3]])))
    return source


def test_the_labelled_training_pictures_are_taken_when_asked_for(labelled, tmp_path):
    root = prepare_nyu(labelled, tmp_path / "nyu", labelled_train=True)
    assert (root / "nyu_train.txt").read_text() == line_of("bathroom/rgb_00001")
    assert (pairs(root, "train", "sync"), pairs(root, "test", "official_splits/test")) == (1, 2)


def test_without_being_asked_they_are_not_and_the_message_says_what_there_is(labelled, tmp_path):
    with pytest.raises(BadInputError, match=r"no list of the train.*--only test.*795 .*--labelled-train"):
        prepare_nyu(labelled, tmp_path / "nyu")
    assert not (tmp_path / "nyu").exists()


def test_test_pictures_alone_have_no_labelled_training_pictures(labelled, tmp_path):
    with pytest.raises(BadInputError, match="no meaning beside --only test"):
        prepare_nyu(labelled, tmp_path / "nyu", only="test", labelled_train=True)


def test_the_official_split_is_read_out_of_an_archive(labelled, tmp_path):
    (labelled / "bts").mkdir()
    (labelled / "splits.mat").rename(labelled / "bts/splits.mat")
    pack(labelled, "bts")
    assert pairs(prepare_nyu(labelled, tmp_path / "nyu", only="test"), "test", "official_splits/test") == 2


def test_a_split_that_is_none_is_refused(labelled, tmp_path):
    (labelled / "splits.mat").write_bytes(b"no matrix")
    with pytest.raises(BadInputError, match=r"splits.mat holds no testNdxs"):
        prepare_nyu(labelled, tmp_path / "nyu", only="test")


def test_the_official_test_pictures_come_out_of_the_labelled_file(tmp_path, monkeypatch):
    source = tmp_path / "downloads"
    source.mkdir()
    (source / "nyu_depth_v2_labeled.mat").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=StandIn))
    check_written_test_pictures(source, tmp_path)


def test_they_come_out_of_hdf5_itself(tmp_path):
    h5py = pytest.importorskip("h5py")
    source = tmp_path / "downloads"
    source.mkdir()
    images, depths, scenes = labelled_arrays()
    with h5py.File(source / "nyu_depth_v2_labeled.mat", "w") as content:
        content["images"], content["rawDepths"] = images, depths
        names = content.create_dataset("sceneTypes", (1, 3), h5py.ref_dtype)
        for i, scene in enumerate(scenes):
            letters = content.create_dataset(f"#refs#/{i}", data=np.array([[ord(c)] for c in scene], np.uint16))
            names[0, i] = letters.ref
    check_written_test_pictures(source, tmp_path)


def test_without_h5py_the_command_that_installs_it_is_told(tmp_path, monkeypatch):
    for name in ("nyu_depth_v2_labeled.mat", "splits.mat"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(BadInputError, match=r"needs h5py.*pip install -e '\.\[nyu\]\'"):
        prepare_nyu(tmp_path, tmp_path / "nyu", only="test")
