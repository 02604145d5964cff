"""What a job finds when it starts."""

from __future__ import annotations

import pytest

from warrener.errors import Cause, TaskFailed
from warrener.messages import Kind, Order
from warrener_services.job_submission.launch import clean_surroundings, make_job, read_section, write_files

BASE = {"PATH": "/usr/bin", "LANG": "C.UTF-8"}
BUILT = {"path": "/site/envs/abc", "python": "/site/envs/abc/bin/python", "site_packages": "/x", "digest": "abc"}


def order(**body):
    body = {"argv": ["true"], **body}
    return Order(
        run="0123456789abcdef",
        n=1,
        attempt=2,
        task_name="fit",
        workflow="w",
        task_kind=Kind.JOB,
        body=body,
        timeout_s=9,
    )


def job_of(tmp_path, **body):
    of = order(**body)
    return make_job(of, read_section(of), tmp_path, BASE, tmp_path)


def test_a_job_knows_its_run_task_and_attempt(tmp_path):
    job = job_of(tmp_path, env={"A": "b"})
    assert job.env == BASE | {
        "A": "b",
        "WARRENER_RUN": "0123456789abcdef",
        "WARRENER_TASK": "fit",
        "WARRENER_ATTEMPT": "2",
    }
    assert job.timeout_s == 9


def test_an_environment_comes_first_on_the_path(tmp_path):
    job = job_of(tmp_path, environment=BUILT, env={"PATH": "/mine"})
    assert job.env["PATH"] == "/site/envs/abc/bin:/mine"
    assert job.env["VIRTUAL_ENV"] == "/site/envs/abc"


def test_secrets_are_apart_from_the_rest(tmp_path):
    (tmp_path / "db").touch(0o600)
    (tmp_path / "db").write_text("canary")
    job = job_of(tmp_path, env={"PASSWORD": "secret://db"})
    assert job.secrets == {"PASSWORD": "canary"}
    assert "PASSWORD" not in job.env


def test_a_secret_does_not_replace_what_warrener_says(tmp_path):
    (tmp_path / "db").touch(0o600)
    (tmp_path / "db").write_text("canary")
    job = job_of(tmp_path, env={"WARRENER_RUN": "secret://db"})
    assert job.env["WARRENER_RUN"] == "0123456789abcdef"
    assert job.secrets == {}


def test_a_program_gives_its_jobs_nothing_that_may_be_secret(monkeypatch):
    monkeypatch.setenv("WARRENER_BROKER", "amqp://user:canary@host")
    assert clean_surroundings().keys() <= {"PATH", "HOME", "LANG", "TMPDIR"}


def test_a_wrong_section_is_refused_with_its_place():
    with pytest.raises(TaskFailed, match="task fit: nonsense") as failed:
        read_section(order(nonsense=1))
    assert failed.value.cause is Cause.REFUSED


class TestFiles:
    def test_are_written_below_the_runs_folder(self, tmp_path):
        write_files(tmp_path / "run", {"a.txt": "ä", "b/c/./d.py": "print()"})
        assert (tmp_path / "run/a.txt").read_text() == "ä"
        assert (tmp_path / "run/b/c/d.py").read_text() == "print()"

    def test_replace_what_was_there(self, tmp_path):
        write_files(tmp_path, {"a": "1"})
        write_files(tmp_path, {"a": "2"})
        assert [path.name for path in tmp_path.iterdir()] == ["a"]
        assert (tmp_path / "a").read_text() == "2"

    @pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "", ".", "a/.."])
    def test_stay_below_it(self, tmp_path, name):
        with pytest.raises(TaskFailed) as failed:
            write_files(tmp_path / "run", {name: "x"})
        assert failed.value.cause is Cause.REFUSED
        assert list((tmp_path / "run").rglob("*x")) == []

    def test_do_not_follow_links_out_of_it(self, tmp_path):
        (tmp_path / "outside").mkdir()
        (tmp_path / "run").mkdir()
        (tmp_path / "run/way").symlink_to(tmp_path / "outside")
        with pytest.raises(TaskFailed):
            write_files(tmp_path / "run", {"way/x": "x"})
        assert list((tmp_path / "outside").iterdir()) == []

    def test_replace_a_link_and_not_what_it_shows(self, tmp_path):
        (tmp_path / "outside").write_text("keep")
        (tmp_path / "run").mkdir()
        (tmp_path / "run/x").symlink_to(tmp_path / "outside")
        write_files(tmp_path / "run", {"x": "new"})
        assert (tmp_path / "outside").read_text() == "keep"
        assert (tmp_path / "run/x").read_text() == "new"
