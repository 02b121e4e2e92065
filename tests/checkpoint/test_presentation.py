"""Converted weights are written whole or not at all, and in the place of nothing else."""

import errno
import io
import json
import os
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from effvit_mm.checkpoint import ConversionReport, ConvertedWeights
from effvit_mm.checkpoint.presentation import print_report, write_converted
from effvit_mm.errors import BadInputError, NotSavedError


def weights(*, source=None, **overrides):
    one = torch.arange(6.0)
    content = ConvertedWeights(a=one, b=one, c=one[3:])
    content.overrides, content.report, content.source = overrides, ConversionReport(), source
    return content


def write(content, destination, **options):
    return write_converted(content, destination, name="lit_ti", task="backbone", **options)


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_weights_that_share_memory_are_written_to_safetensors(tmp_path):
    write(weights(), tmp_path / "lit.safetensors")
    assert load_file(tmp_path / "lit.safetensors")["c"].tolist() == [3, 4, 5]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, suffix):
    destination = tmp_path / f"lit{suffix}"
    write(weights(num_classes=7), destination)
    before = content_of(tmp_path)

    def write_some(path, content):
        with path.open("wb") as stream:
            stream.write(content[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(NotSavedError, match=r"the disk is full. Make room"):
        write(weights(num_classes=9), destination, overwrite=True)
    assert content_of(tmp_path) == before


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, r"Permission denied.*\. Get the right to write there or give another destination"),
        (errno.EROFS, r"Read-only.*\. Get the right to write there or"),
        (errno.EIO, r"\. Remove the cause or"),
    ],
)
def test_room_is_asked_for_where_it_is_what_lacks(tmp_path, monkeypatch, number, remedy):
    def refuse(path, content):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(NotSavedError, match=remedy):
        write(weights(num_classes=7), tmp_path / "new/lit.pth")


def test_an_interrupt_leaves_nothing_half_written(tmp_path, monkeypatch):
    def interrupted(path, content):
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(weights(), tmp_path / "lit.pth")
    assert content_of(tmp_path) == {}


@pytest.mark.parametrize("way", ["lit.pth", "nowhere/../lit.pth", "link.pth"])
def test_the_source_is_never_replaced(tmp_path, way):
    source = tmp_path / "lit.pth"
    source.write_text("released")
    (tmp_path / "link.pth").symlink_to(source)
    with pytest.raises(BadInputError, match="is the file the weights come from"):
        write(weights(source=source), tmp_path / way, overwrite=True)
    assert source.read_text() == "released"


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "lit.pth").mkdir()
    with pytest.raises(BadInputError, match=r"lit.pth exists and is no file; give the path of a file"):
        write(weights(), tmp_path / "lit.pth", overwrite=True)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(NotSavedError, match=r"taken.*give another destination"):
        write(weights(), tmp_path / "taken/below/lit.pth")


def test_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(NotSavedError, match="give another destination"):
        write(weights(), tmp_path / f"{'a' * 300}.pth")


def test_somebody_elses_file_beside_the_weights_is_not_taken_for_a_note(tmp_path):
    (tmp_path / "lit.json").write_text('{"mine": 1}')
    with pytest.raises(BadInputError, match=r"lit.json must take the arguments .* give another name"):
        write(weights(num_classes=7), tmp_path / "lit.pth", overwrite=True)
    write(weights(), tmp_path / "lit.pth")
    assert json.loads((tmp_path / "lit.json").read_text()) == {"mine": 1}


def test_a_note_of_weights_that_were_there_goes_with_them(tmp_path):
    write(weights(num_classes=7), tmp_path / "lit.pth")
    write(weights(), tmp_path / "lit.pth", overwrite=True)
    assert list(content_of(tmp_path)) == ["lit.pth"]


def test_a_report_shows_names_as_they_are_and_on_one_line():
    stream = io.StringIO()
    print_report(ConversionReport(unexpected={"[/red]": "odd", "a\nb\x1b[31m\ud800": "odd"}), Console(file=stream))
    shown = stream.getvalue()
    assert "[/red]" in shown
    assert r"a\nb\x1b[31m\ud800" in shown
