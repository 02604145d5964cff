"""What the end of a job means."""

from __future__ import annotations

import os

import pytest

from warrener.errors import Cause, TaskFailed
from warrener.messages import MAX_OUTPUT_BYTES
from warrener.target import Ended
from warrener_services.job_submission.outcome import output_of
from warrener_services.job_submission.redaction import Redaction

NOTHING_SECRET = Redaction([])


def outcome(folder, ended=None, last_lines=""):
    return output_of(ended or Ended(0, 1.0), folder, last_lines, NOTHING_SECRET, timeout_s=5.0)


def failure(folder, ended=None, last_lines=""):
    with pytest.raises(TaskFailed) as failed:
        outcome(folder, ended, last_lines)
    return failed.value


def test_without_an_output_it_is_the_exit_code(tmp_path):
    assert outcome(tmp_path) == {"exit_code": 0}


def test_the_output_is_what_the_command_wrote(tmp_path):
    (tmp_path / "output.json").write_text('{"rows": [1, 2.5, null, "ü"]}')
    assert outcome(tmp_path) == {"rows": [1, 2.5, None, "ü"]}


@pytest.mark.parametrize(
    ("ended", "cause", "words"),
    [
        (Ended(3, 1.0), Cause.EXIT, "exit code 3"),
        (Ended(-11, 1.0), Cause.EXIT, "killed by SIGSEGV"),
        (Ended(-40, 1.0), Cause.EXIT, "killed by signal 40"),
        (Ended(0, 1.0, stopped="timeout"), Cause.TIMEOUT, "timeout of 5 s"),
        (Ended(-15, 1.0, stopped="lease"), Cause.LOST, "its lease ran out"),
        (Ended(-15, 1.0, stopped="cancelled"), Cause.CANCELLED, "stopped: cancelled"),
        (Ended(127, 0.0, error="the command x cannot be started"), Cause.ERROR, "the command x cannot"),
    ],
)
def test_a_failure_says_why_and_ends_with_what_was_printed(tmp_path, ended, cause, words):
    failed = failure(tmp_path, ended, "Traceback: boom")
    assert failed.cause is cause
    assert failed.exit_code == ended.exit_code
    assert words in str(failed)
    assert str(failed).endswith("\nTraceback: boom")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b"\xff\xfe\xff", "is not JSON"),
        (b'"\\ud800"', "is not JSON that can be kept"),
        (b'["a\\u0000"]', "NUL"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[" * 20_000, "is not JSON that can be kept"),
        (b'"' + b"x" * MAX_OUTPUT_BYTES + b'"', "is larger than 65536 bytes"),
        (b"", "line 1, column 1"),
    ],
)
def test_a_bad_output_is_an_error_that_says_where(tmp_path, raw, words):
    (tmp_path / "output.json").write_bytes(raw)
    failed = failure(tmp_path)
    assert failed.cause is Cause.ERROR
    assert words in str(failed)


def test_an_output_that_is_no_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "output.json")
    assert "it is not a file" in str(failure(tmp_path))
    (tmp_path / "output.json").unlink()
    (tmp_path / "output.json").mkdir()
    assert "it is not a file" in str(failure(tmp_path))


def test_an_output_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "output.json").symlink_to("/etc/hostname")
    assert "cannot be read" in str(failure(tmp_path))
