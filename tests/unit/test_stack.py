"""The stack's files say what they must, for both generations of Compose; its secrets fit; its faults have a seed."""

from __future__ import annotations

import re
import tomllib
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from stacks.faults import Fault, FaultKind, faults
from stacks.sealed import make_secrets
from stacks.trial import Outcome, Plan, _complaints, table
from warrener.settings import Settings
from warrener.signing import make_keys

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = {name: service for name, service in SERVICES.items() if "profiles" not in service}
DOCKERFILE = (ROOT / "services/Dockerfile").read_text()
WORKERS = [name for name in SERVICES if name.startswith(("env-setup", "data-staging", "job-submission"))]


def test_there_is_every_program_and_two_of_those_that_work_and_decide() -> None:
    served = [service["command"][1] for service in SERVICES.values() if service.get("command", [""])[0] == "serve"]
    assert sorted(served) == sorted(
        ["scheduler", "env_setup", "data_staging", "job_submission"] * 2 + ["gateway", "gossip"]
    )


@pytest.mark.parametrize("name", LASTING)
def test_every_service_is_watched_limited_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["hostname"] == name
    if service["image"].startswith("warrener"):
        assert service["read_only"] is True


def test_images_have_versions_and_ours_has_that_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {service["image"] for service in SERVICES.values()}
    assert images == {f"warrener-stack:{version}", "rabbitmq:4-management", "postgres:17"}


def test_every_variable_is_a_setting() -> None:
    known = {f"WARRENER_{name.upper()}{suffix}" for name in Settings.model_fields for suffix in ("", "_FILE")}
    used = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert {name for name in used if name.startswith("WARRENER_")} <= known
    assert set(re.findall(r"WARRENER_\w+(?==)", DOCKERFILE)) <= known


def test_no_secret_stands_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"://[^/\s]*:[^/\s]*@", text)
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASS|TOKEN|KEY|BROKER|STORE", name):
                assert value.startswith("/run/secrets"), name


def test_the_secrets_are_those_that_are_made(tmp_path: Path) -> None:
    make_secrets(tmp_path / "stack")
    wanted = {Path(secret["file"]) for secret in COMPOSE["secrets"].values()}
    assert {path.name for path in wanted} == {path.name for path in (tmp_path / "stack").iterdir()}
    assert {path.parent for path in wanted} == {Path(".warrener/stack")}
    for service in SERVICES.values():
        for secret in service.get("secrets", ()):
            assert (secret["source"] if isinstance(secret, dict) else secret) in COMPOSE["secrets"]


def test_only_the_gateway_is_published_and_only_on_the_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:${STACK_PORT:-8080}:8080"]}
    more = yaml.safe_load((ROOT / "scripts/stacks/ports.yml").read_text())["services"]
    assert all(port.startswith("127.0.0.1:") for service in more.values() for port in service["ports"])


@pytest.mark.parametrize("name", WORKERS)
def test_workers_reach_no_database_and_hold_no_key_that_signs(name: str) -> None:
    worker = SERVICES[name]
    assert "records" not in worker["networks"]
    assert set(worker["secrets"]) == {"broker", "orders.pub", "gossip.key"}
    assert any(volume.endswith(":/site") for volume in worker["volumes"])


def test_workers_have_names_of_their_own() -> None:
    names = [SERVICES[name]["environment"]["WARRENER_WORKER"] for name in WORKERS]
    assert len(set(names)) == len(WORKERS)


def test_both_generations_of_compose_know_every_word() -> None:
    assert not {"version", "name", "include"} & COMPOSE.keys()  # one warns of the first, the other refuses the rest
    conditions = {
        condition["condition"] for service in SERVICES.values() for condition in service.get("depends_on", {}).values()
    }
    assert conditions <= {"service_started", "service_healthy", "service_completed_successfully"}
    for service in SERVICES.values():
        assert not {"deploy", "develop", "pull_policy"} & service.keys()
        for wanted in service.get("depends_on", {}).values():
            assert wanted.keys() == {"condition"}
        assert "start_interval" not in service["healthcheck"]


def test_the_image_is_built_once_and_before_it_is_needed() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["mail"]
    for name, service in LASTING.items():
        if service["image"].startswith("warrener") and name != "mail":
            assert "mail" in service["depends_on"], name


def test_the_image_needs_no_buildkit_and_is_pinned() -> None:
    assert not re.search(r"^# *syntax=|RUN +--|COPY +--(?!from=)|<<", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r"^USER \d+:\d+$", DOCKERFILE, re.MULTILINE)
    assert not re.search(r":latest|FROM (?!\$\{BASE\})", DOCKERFILE)


def test_the_engine_is_given_no_secret_to_build_with() -> None:
    first, *others = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert first == "*"
    assert not any("warrener" in line for line in others)


def test_secrets_fit_one_another_and_stay(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    assert "broker" in make_secrets(folder)
    kept = {path.name: path.read_text() for path in folder.iterdir()}
    assert urlsplit(kept["broker"].strip()).password in kept["broker.conf"]
    assert urlsplit(kept["store"].strip()).password == kept["database-password"].strip()
    assert make_secrets(folder) == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == kept


def test_what_is_missing_is_made_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    make_secrets(folder)
    kept = {path.name: path.read_text() for path in folder.iterdir()}
    for name in ("store", "submit.key"):
        (folder / name).unlink()
    assert make_secrets(folder) == ["store", "submit.key"]
    now = {path.name: path.read_text() for path in folder.iterdir()}
    assert {name for name in now if now[name] != kept[name]} == {"store", "database-password", "submit.key"}
    assert urlsplit(now["store"].strip()).password == now["database-password"].strip()


def test_the_folder_of_secrets_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    make_secrets(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}


def test_every_key_of_a_deployment_is_among_the_secrets(tmp_path: Path) -> None:
    make_keys(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= COMPOSE["secrets"].keys()


def test_the_same_seed_gives_the_same_faults_and_each_kind_meets_each_service() -> None:
    def first(seed: int) -> list[Fault]:
        return list(islice(faults(["a", "b", "c"], Random(seed), short=False), 9))

    assert first(1) == first(1) != first(2)
    assert {(fault.kind, fault.service) for fault in first(1)} == {(kind, name) for kind in FaultKind for name in "abc"}


PLAN = Plan(runs=3, rate=1, most_faults=1, timeout_s=1, seed=1, short=True)
CLIENT = {"accepted": 3, "succeeded": 2, "failed": 1, "cancelled": 0, "lost": 0, "doubled": 0}
STORED = {
    "runs": 3, "unfinished": 0, "succeeded": 2, "failed": 1, "cancelled": 0, "tasks": 12, "again": 1, "strays": 0,
    "parked": 0,
}  # fmt: skip


def test_accounts_that_agree_are_complained_of_by_nobody() -> None:
    outcome = Outcome([Fault(FaultKind.KILL, "broker", 1, 1)], dict(CLIENT), dict(STORED))
    assert _complaints(PLAN, outcome, 0) == []
    assert re.search(r"^  broker +1$", table(outcome), re.MULTILINE)
    assert re.search(r"^  stuck +0 +0$", table(outcome), re.MULTILINE)


@pytest.mark.parametrize(
    ("client", "stored", "code", "sentence"),
    [
        ({}, {}, 1, "the client's own account"),
        ({"accepted": 2}, {}, 0, "2 of 3 runs were accepted"),
        ({}, {"runs": 4}, 0, "the database has 4 runs"),
        ({}, {"unfinished": 1}, 0, "1 runs are stuck"),
        ({}, {"parked": 2}, 0, "2 messages were parked"),
        ({"succeeded": 3}, {}, 0, "3 succeeded runs, the database 2"),
    ],
)
def test_every_sum_that_does_not_meet_is_named(
    client: dict[str, float], stored: dict[str, int], code: int, sentence: str
) -> None:
    outcome = Outcome([], CLIENT | client, STORED | stored)
    assert any(sentence in said for said in _complaints(PLAN, outcome, code))


def test_a_client_without_an_account_is_a_complaint() -> None:
    assert _complaints(PLAN, Outcome([], {}, dict(STORED)), 1) == ["the client gave no account (exit code 1)"]
