"""Whatever travels comes back as it was, and whatever cannot be read says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import Desk, Hand, call, job
from warrener.errors import InvalidMessage
from warrener.messages import KINDS, Body, Claims, Kind, LogChunk, Logs, Order, Orders, Submit, decode, encode
from warrener_services.scheduler.release import write_orders
from warrener_services.scheduler.tick import Tick

RUN_IDS = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=16, max_size=16)
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(timezones=st.just(UTC))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(TEXTS, JSON, max_size=3)


def part(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    attempt = {"run": RUN_IDS, "n": st.integers(0, 2**31 - 1), "attempt": st.integers(1, 2**31 - 1)}
    return st.fixed_dictionaries({**attempt, **more})


TOKENS = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
NUMBERS = st.integers(0, 2**40)
SENDER = {"worker": NAMES, "boot": st.from_regex(r"[0-9a-z]{1,32}", fullmatch=True)}
KEYS = st.from_regex(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,20}", fullmatch=True)
REQUESTS = st.fixed_dictionaries(
    {"key": KEYS, "params": BODIES, "priority": st.none() | st.integers(0, 9), "logical_time": st.none() | MOMENTS}
)
ORDERS = part(
    task_name=TEXTS, workflow=TEXTS, task_kind=st.sampled_from(["env", "stage", "job", "call"]), body=BODIES,
    priority=st.integers(0, 9), timeout_s=st.none() | st.floats(0, 1e6), weight=st.integers(1, 9),
    on_lost=st.sampled_from(["retry", "hold", "fail"]), token=st.none() | TOKENS,
)  # fmt: skip
REPORTS = part(
    token=TOKENS, outcome=st.sampled_from(["succeeded", "failed", "cancelled"]), message=TEXTS, output=JSON,
    cause=st.none() | st.sampled_from(["exit", "lost"]), exit_code=st.none() | st.integers(-9, 255),
    seconds=st.floats(0, 1e9),
)  # fmt: skip


def some(item: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[list[Any]]:
    return st.lists(item, min_size=least, max_size=3)


COUNTS = st.integers(0, 2**31 - 1)
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "submit/1": {"owner": NAMES, "workflow": BODIES, "runs": some(REQUESTS)},
    "accepted/1": {
        "results": some(st.fixed_dictionaries({"key": TEXTS, "run": st.none() | RUN_IDS, "new": st.booleans()}), 0)
    },
    "cancel/1": {"owner": NAMES, "runs": some(RUN_IDS)},
    "orders/1": {
        "issued_at": MOMENTS, "orders": some(ORDERS), "claim": st.booleans(), "home": st.none() | st.integers(0, 1023),
    },
    "answers/1": {
        "boot": SENDER["boot"], "grants": some(part(token=TOKENS, seq=NUMBERS), 0),
        "refusals": some(part(reason=TEXTS, seq=NUMBERS), 0), "receipts": some(part(applied=st.booleans()), 0),
        "stops": some(part(reason=st.sampled_from(["cancelled", "not yours"])), 0),
        "extensions": some(st.fixed_dictionaries({"seq": NUMBERS, "attempts": some(part(), 0)}), 0),
    },
    "rollcall/1": {},
    "claims/1": {**SENDER, "site": NAMES, "seq": NUMBERS, "claims": some(part(token=st.none() | TOKENS))},
    "reports/1": {**SENDER, "reports": some(REPORTS)},
    "logs/1": {
        **SENDER,
        "chunks": some(
            part(token=TOKENS, stream=st.sampled_from(["stdout", "stderr"]), offset=st.integers(0, 9), text=TEXTS)
        ),
    },
    "heartbeat/1": {
        **SENDER, "seq": NUMBERS, "task_kind": st.just("call"), "apps": some(NAMES, 0), "site": NAMES, "host": TEXTS,
        "member": st.none() | TEXTS, "slots": st.integers(0, 99), "free": st.integers(0, 99),
        "load": st.floats(0, 99), "state": st.sampled_from(["up", "draining"]), "attempts": some(part(token=TOKENS), 0),
    },
    "wake/1": {"shards": some(st.integers(0, 1023), 0)},
    "demand/1": {
        "scheduler": NAMES, "used": st.dictionaries(NAMES, COUNTS),
        "lanes": st.dictionaries(
            TEXTS,
            st.fixed_dictionaries(
                {"in_flight": COUNTS, "ready": COUNTS, "queued": COUNTS, "sites": st.dictionaries(NAMES, COUNTS)}
            ),
        ),
        "slots": st.dictionaries(TEXTS, COUNTS),
    },
    "elastic/1": {
        "who": TEXTS, "host": TEXTS, "pool": NAMES, "turn": TEXTS, "acting": st.booleans(), "lanes": some(TEXTS, 0),
        "minimum": COUNTS, "maximum": COUNTS, "wanted": COUNTS, "running": COUNTS, "why": TEXTS,
        "action_at": st.none() | MOMENTS,
    },
    "members/1": {
        "members": some(
            st.fixed_dictionaries(
                {"name": TEXTS, "status": st.sampled_from(["alive", "failed"]), "tags": st.dictionaries(TEXTS, TEXTS)}
            ),
            0,
        ),
        "full": st.booleans(),
    },
    "events/1": {
        "events": some(
            st.fixed_dictionaries(
                {"run": RUN_IDS, "owner": TEXTS, "state": TEXTS, "at": MOMENTS, "n": st.none() | NUMBERS}
            )
        )
    },
    "alert/1": {
        "alert_kind": NAMES, "subject": TEXTS.filter(bool), "text": TEXTS, "site": TEXTS, "owner": TEXTS,
        "severity": st.none() | st.sampled_from(["critical", "info"]), "over": st.booleans(), "at": MOMENTS,
    },
}  # fmt: skip


def bodies(kind: str) -> st.SearchStrategy[Body]:
    return st.fixed_dictionaries(FIELDS[kind]).map(KINDS[kind].model_validate)


def test_every_kind_is_tried() -> None:
    assert FIELDS.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_a_body_comes_back_as_it_was(kind: str) -> None:
    @given(bodies(kind), st.text("xyz", min_size=3, max_size=5))
    def comes_back(body: Body, unknown: str) -> None:
        raw = encode(body)
        assert decode(kind, raw, type(body)) == body
        assert json.loads(raw)["kind"] == kind
        newer = {**json.loads(raw), unknown: {"more": 1}}
        assert decode(kind, json.dumps(newer).encode(), type(body)) == body

    comes_back()


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_refused_or_read(kind: str, raw: bytes) -> None:
    try:
        body = decode(kind, raw, *KINDS.values())
    except InvalidMessage as error:
        assert f"a malformed {kind} message: " in str(error)  # noqa: PT017 - it may be read as well
    else:
        assert kind == body.KIND


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"owner":' * 50_000, b'"\\ud800"', b'{"owner":"\\ud800"}', b"1e999"])
def test_malice_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode("submit/1", raw, Submit)


def test_a_newer_version_says_what_to_do() -> None:
    with pytest.raises(InvalidMessage, match=r"^a submit/2 message: this program reads submit/1; upgrade it"):
        decode("submit/2", b"{}", Submit, Claims)


@pytest.mark.parametrize(("kind", "named"), [("what/1", "what/1"), ("", r"\(none\)"), ("orders/1", "orders/1")])
def test_a_kind_that_does_not_belong_here_says_what_does(kind: str, named: str) -> None:
    with pytest.raises(InvalidMessage, match=rf"kind {named} does not belong here; expected claims/1, submit/1"):
        decode(kind, b"{}", Submit, Claims)


def test_the_kind_of_the_body_counts() -> None:
    with pytest.raises(InvalidMessage, match="kind"):
        decode("logs/1", b'{"kind":"claims/1"}', Logs)


@pytest.mark.parametrize("field", ["n", "attempt", "offset"])
def test_numbers_that_no_column_takes_are_refused(field: str) -> None:
    chunk = {"run": "0" * 16, "n": 0, "attempt": 1, "token": "0" * 32, "stream": "stdout", "offset": 0, "text": ""}
    LogChunk.model_validate(chunk)
    raw = json.dumps({"kind": "logs/1", "worker": "w", "boot": "b", "chunks": [{**chunk, field: 2**31}]}).encode()
    with pytest.raises(InvalidMessage, match=rf"chunks\.0\.{field}: "):
        decode("logs/1", raw, Logs)


@pytest.mark.parametrize("key", ["", "a\0b", "line\nbreak", "x" * 201])
def test_a_key_is_short_and_on_one_line(key: str) -> None:
    raw = json.dumps({"kind": "submit/1", "owner": "me", "workflow": {}, "runs": [{"key": key}]}).encode()
    with pytest.raises(InvalidMessage, match=r"runs\.0\.key: "):
        decode("submit/1", raw, Submit)


def test_orders_written_by_hand_are_the_same(desk: Desk) -> None:
    desk.submit({
        "plain": call(args={"quote": '"☃\\', "list": [1, None, 2.5]}),
        "full": job(timeout="90s", lease="2m", on_lost="hold", priority=9, weight=3, retry=2),
    })  # fmt: skip
    desk.hire(Hand("call-a"), Hand("job-a", Kind.JOB))
    rows = list(desk.engine.book.in_flight.values())

    def write(tx: Any) -> tuple[Orders, Orders]:
        tick = Tick(desk.engine.book, desk.rules, tx, desk.now)
        read = [decode("orders/1", write_orders(tick, rows, claim=claim), Orders) for claim in (True, False)]
        return read[0], read[1]

    claimed, direct = desk.do(write)
    tokens = [desk.rules.keys.claims.direct_token(row.attempt_ref, row.lane.removeprefix("call.")) for row in rows]
    expected = [
        Order(
            run=row.run, n=row.n, attempt=1, task_name=row.name, workflow="w", task_kind=row.kind,
            body=json.loads(row.section), priority=row.priority, weight=row.weight,
            timeout_s=90.0 if row.name == "full" else None, lease_s=120.0 if row.name == "full" else 30.0,
            on_lost="hold" if row.name == "full" else "retry",
        )
        for row in rows
    ]  # fmt: skip
    home = min(desk.engine.book.epochs)
    assert claimed == Orders(issued_at=desk.now, orders=expected, claim=True, home=home)
    proved = [one.model_copy(update={"token": token}) for one, token in zip(expected, tokens, strict=True)]
    assert direct == Orders(issued_at=desk.now, orders=proved, claim=False, home=home)
    assert decode("orders/1", encode(direct), Orders) == direct
    assert isinstance(claimed.issued_at, datetime)
