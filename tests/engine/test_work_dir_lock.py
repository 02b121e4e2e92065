"""A folder is held by one run, and by none that has ended."""

import os
import subprocess
import sys

import pytest

from effvit_mm.engine import work_dir_lock
from effvit_mm.engine.work_dir_lock import own_folder
from effvit_mm.errors import BadInputError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="record locks are POSIX's")
HOLD = """
import sys
from pathlib import Path
from effvit_mm.engine.work_dir_lock import own_folder
with own_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds ``run``."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_held_folder_is_refused_with_its_holder_and_is_free_once_that_is_killed(tmp_path, holder):
    with pytest.raises(BadInputError, match=rf"process {holder.pid} on .*--work-dir"), own_folder(tmp_path / "run"):
        pass
    holder.kill()
    holder.wait()
    with own_folder(tmp_path / "run"):
        assert f"process {os.getpid()} " in (tmp_path / "run/.lock").read_text()


def test_a_folder_that_was_not_there_and_stays_empty_is_taken_away(tmp_path):
    with pytest.raises(KeyError), own_folder(tmp_path / "a/b"):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with own_folder(tmp_path / "a/b"):
        (tmp_path / "a/b/log").touch()
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["log"]


def test_where_there_are_no_locks_a_run_goes_on_with_a_word(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(work_dir_lock, "fcntl", None)
    with own_folder(tmp_path / "run"):
        assert "no locks on this system" in capsys.readouterr().out
