"""What a client makes of the gateway's answers."""

from __future__ import annotations

import inspect

import httpx
import pytest

from warrener import asking
from warrener.asking import Address, Ask
from warrener.async_client import AsyncClient, AsyncRun
from warrener.client import Client, Run
from warrener.errors import (
    Conflict,
    GatewayUnavailable,
    InvalidWorkflow,
    NotFound,
    Overloaded,
    Refused,
    WarrenerError,
)
from warrener.views import RunAsked, RunDetail

AT = Address("/run/gateway.sock", "http://warrener", "/run/gateway.sock", "")
WORKFLOW = {"workflow": "w", "tasks": {"t": {"job": {"argv": ["true"]}}}}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound), (409, Conflict), (422, InvalidWorkflow), (401, Refused), (413, Refused),
        (503, GatewayUnavailable), (500, GatewayUnavailable),
    ],
)  # fmt: skip
def test_every_status_is_an_error_with_the_gateways_own_sentence(status: int, error: type[WarrenerError]) -> None:
    with pytest.raises(error, match="because of this"):
        asking.check(httpx.Response(status, json={"problems": ["because of this"]}), AT)


def test_all_problems_of_a_workflow_arrive() -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        asking.check(httpx.Response(422, json={"problems": ["one", "two"]}), AT)
    assert caught.value.problems == ("one", "two")


def test_an_answer_of_something_else_is_not_taken_for_the_gateways() -> None:
    with pytest.raises(GatewayUnavailable, match="not the gateway's"):
        asking.check(httpx.Response(502, text="<html>"), AT)
    with pytest.raises(GatewayUnavailable, match="not a gateway's"):
        asking.read(RunDetail, {"hello": 1})


def test_a_missing_gateway_is_told_with_what_to_do() -> None:
    error = asking.unavailable(AT, httpx.ConnectError("[Errno 2] No such file or directory"))
    assert "is `warrener up` running?" in str(error)
    assert "there is no such socket" in str(error)


def test_a_gateway_that_is_not_there_at_all_is_not_waited_for() -> None:
    gone, broke = GatewayUnavailable("a"), GatewayUnavailable("b")
    gone.__cause__, broke.__cause__ = httpx.ConnectError("refused"), httpx.ReadError("reset")
    assert not asking.worth_repeating(gone)
    assert asking.worth_repeating(broke)


def test_a_submission_has_its_key_before_the_first_try() -> None:
    ask = asking.submission(WORKFLOW, owner="ada", runs=[RunAsked()])
    assert ask.safe
    assert len(ask.body["key"]) == 20
    assert asking.submission(WORKFLOW, owner="ada", runs=[RunAsked()]).body["key"] != ask.body["key"]
    batch = asking.submission(WORKFLOW, owner="ada", runs=[RunAsked(key="a"), RunAsked()])
    assert [bool(run["key"]) for run in batch.body["runs"]] == [True, True]


def test_what_is_not_safe_to_repeat_is_not_repeated() -> None:
    assert asking.delays(Ask("POST", "/parked/1/replay", safe=False)) == []
    assert len(asking.delays(Ask("GET", "/runs"))) == asking.TRIES - 1


def test_a_name_in_a_path_leads_nowhere_else() -> None:
    assert asking.path_of("runs", "../x?y", "tasks", "a/b") == "/runs/..%2Fx%3Fy/tasks/a%2Fb"


def test_a_wrong_priority_is_named() -> None:
    with pytest.raises(InvalidWorkflow, match="priority"):
        asking.one_run({}, None, 11, None)


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARRENER_GATEWAY", "http://127.0.0.1:8080/")
    monkeypatch.setenv("WARRENER_TOKEN", "secret")
    at = asking.address(None, None)
    assert (at.base_url, at.socket, at.headers) == ("http://127.0.0.1:8080", None, {"Authorization": "Bearer secret"})
    assert asking.address("unix:/tmp/x.sock", "").socket == "/tmp/x.sock"
    with pytest.raises(Refused, match="no address of a gateway"):
        asking.address("gateway:80", None)


@pytest.mark.parametrize(("sync", "on_loop"), [(Client, AsyncClient), (Run, AsyncRun)])
def test_both_clients_have_the_same_methods(sync: type, on_loop: type) -> None:
    def public(one: type) -> dict[str, list[str]]:
        methods = {name: method for name, method in vars(one).items() if name[0] != "_"}
        return {name: list(inspect.signature(method).parameters) for name, method in methods.items()}

    assert public(sync) == public(on_loop)


# ── a gateway that takes no more for now ────────────────────────────────────────────────────────────────────────


def too_many(retry_after: str | None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(429, json={"problems": ["hands full"]}, headers=headers)


@pytest.mark.parametrize(("given", "expected_s"), [("7", 7.0), (None, 2.0), ("Sat, 21 Nov 2026 13:00:00 GMT", 2.0)])
def test_a_429_says_when_to_come_again(given: str | None, expected_s: float) -> None:
    with pytest.raises(Overloaded, match="hands full") as caught:
        asking.check(too_many(given), AT)
    assert caught.value.retry_after_s == expected_s


def test_what_was_refused_for_now_is_repeated_ever_more_slowly_and_never_too_early() -> None:
    for ask in (Ask("GET", "/runs"), Ask("POST", "/parked/1/replay", safe=False)):
        tries = asking.Tries(ask, patience_s=1000)
        pauses = [tries.pause_s(Overloaded("full", retry_after_s=2)) for _ in range(12)]
        assert all(pause is not None and 2 <= pause <= 45 for pause in pauses)
        assert pauses[-1] >= 30


def test_clients_that_were_refused_together_do_not_come_again_together() -> None:
    error = Overloaded("full", retry_after_s=2)
    assert len({asking.Tries(Ask("GET", "/runs"), patience_s=100).pause_s(error) for _ in range(50)}) > 40


def test_patience_ends() -> None:
    assert asking.Tries(Ask("GET", "/runs"), patience_s=1).pause_s(Overloaded("full", retry_after_s=2)) is None
