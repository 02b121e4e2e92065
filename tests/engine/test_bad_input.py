"""Bad input ends in one message that names the place, what was found and a remedy; here through the whole tools."""

import subprocess
import sys

from cases import ROOT

CAMPAIGN = ROOT / "tests/mutation_campaign.py"
END_TO_END = (
    *("picture_header_flipped", "picture_grey", "json_truncated", "crowd_as_run_lengths", "type_misspelt"),
    *("number_as_text", "config_train_cfg_max_epochs", "checkpoint_of_other_shapes", "checkpoint_truncated"),
    *("checkpoint_of_another_optimizer", "config_model_data_preprocessor"),
)


def test_damaged_runs_work_or_end_in_a_clear_message_and_leave_everything_whole():
    command = [sys.executable, CAMPAIGN, "--case", *END_TO_END]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" in done.stdout  # the column of the table, which is empty
