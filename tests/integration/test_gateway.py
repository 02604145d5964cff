"""The gateway as it is: uvicorn on a socket, SQLite in a file, the in-process broker."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

from warrener.async_client import AsyncClient
from warrener.broker import Delivery
from warrener.brokers import open_broker
from warrener.errors import (
    Conflict,
    GatewayUnavailable,
    InvalidSettings,
    InvalidWorkflow,
    NotFound,
    Overloaded,
    Refused,
    TaskFailed,
    WarrenerError,
)
from warrener.ids import shard_of
from warrener.messages import Event, Events, Heartbeat, Kind, Wake, decode, encode
from warrener.settings import Settings
from warrener.store import Changes, ParkedMessage, RunRow, Store, Transaction
from warrener.stores import open_store
from warrener.topology import EVENTS, control
from warrener.views import RunAsked
from warrener_services.gateway.__main__ import run

WORKFLOW = {
    "workflow": "plots",
    "params": {"day": "monday"},
    "tasks": {"plot": {"job": {"argv": ["plot", "{{ params.day }}"]}}},
}
TOKEN = "a-token-for-this-test-only"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@asynccontextmanager
async def running(settings: Settings, *, healthy: bool = True) -> AsyncIterator[AsyncClient]:
    """Run a gateway in this loop, and lend a client of it."""
    async with asyncio.TaskGroup() as tasks:
        program = tasks.create_task(run(settings))
        try:
            async with AsyncClient(settings.listen_url, token=settings.token) as client, asyncio.timeout(10):
                await until_there(client, healthy=healthy)
                yield client
        finally:
            program.cancel()


async def until_there(client: AsyncClient, *, healthy: bool) -> None:
    while True:
        try:
            if (await client.health()).store or not healthy:
                return
        except GatewayUnavailable:
            pass
        await asyncio.sleep(0.01)


def settings_at(folder: Path, **given: Any) -> Settings:
    return Settings.read(state=folder, broker=f"memory://{folder.name}", shards=16, **given)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_at(tmp_path)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with running(settings) as client:
        yield client


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """The gateway's own database, as a scheduler sees it."""
    store = open_store(settings.store_url)
    yield store
    await store.close()


@pytest.fixture
async def raw(settings: Settings, client: AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    async with raw_client(settings) as http:
        yield http


def raw_client(settings: Settings) -> httpx.AsyncClient:
    path = settings.listen_url.removeprefix("unix:")
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path), base_url="http://gateway")


async def load(store: Store, run_id: str) -> RunRow:
    found = await store.read(lambda tx: tx.runs.find(run_id))
    return found[0]


async def set_state(store: Store, run_id: str, state: str) -> None:
    def write(tx: Transaction) -> None:
        row = tx.runs.find(run_id)[0]
        row.state = state
        tx.write(Changes(runs=[row]))

    await store.transact(write)


# ── submitting ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_accepted_run_is_committed_when_the_answer_comes(client: AsyncClient, store: Store) -> None:
    submitted = await client.submit(WORKFLOW, {"day": "sunday"}, key="k", owner="ada", priority=7)
    row = await load(store, submitted.id)
    assert (row.owner, row.key, row.state, row.priority) == ("ada", "k", "accepted", 7)
    assert row.params == '{"day":"sunday"}'
    accepted = await store.read(lambda tx: tx.runs.accepted(range(16), 10))
    assert [run.id for run, _ in accepted] == [submitted.id]


async def test_the_same_key_gives_the_same_run(client: AsyncClient) -> None:
    first = await client.submit(WORKFLOW, key="k", owner="ada")
    again = await client.submit(WORKFLOW, key="k", owner="ada")
    other = await client.submit(WORKFLOW, key="k", owner="grace")
    assert (first.new, again.new, other.new) == (True, False, True)
    assert first.id == again.id != other.id


async def test_the_same_key_at_the_same_time_gives_one_run(client: AsyncClient, store: Store) -> None:
    runs = await asyncio.gather(*(client.submit(WORKFLOW, key="k", owner="ada") for _ in range(20)))
    assert len({run.id for run in runs}) == 1
    assert sum(run.new for run in runs) == 1
    assert len(await store.read(lambda tx: tx.runs.accepted(range(16), 10))) == 1


async def test_two_gateways_agree_on_a_key(client: AsyncClient, settings: Settings, tmp_path: Path) -> None:
    other = settings_at(tmp_path, listen=f"unix:{tmp_path / 'other.sock'}")
    async with running(other) as second:
        both = [client, second] * 10
        runs = await asyncio.gather(*(one.submit(WORKFLOW, key="k", owner="ada") for one in both))
    assert len({run.id for run in runs}) == 1


async def test_a_batch_is_accepted_whole_or_not_at_all(client: AsyncClient) -> None:
    asked = [RunAsked(key=f"k{n}", params={"day": f"{n}"}) for n in range(5)]
    runs = await client.submit_many(WORKFLOW, [*asked, asked[0]], owner="ada")
    assert [run.new for run in runs] == [True] * 5 + [False]
    assert runs[0].id == runs[-1].id
    with pytest.raises(InvalidWorkflow, match=r"runs\[1\]: params.day: expected text"):
        await client.submit_many(WORKFLOW, [RunAsked(key="x"), RunAsked(key="y", params={"day": 1})], owner="ada")
    assert len((await client.runs()).runs) == 5


async def test_every_problem_of_a_workflow_is_named(client: AsyncClient) -> None:
    wrong = {"workflow": "plots", "tasks": {"a": {"need": []}, "b": {"job": {"argv": "x"}}}}
    with pytest.raises(InvalidWorkflow) as caught:
        await client.submit(wrong, owner="ada")
    assert any("unknown field 'need'; did you mean 'needs'?" in problem for problem in caught.value.problems)
    assert any("tasks.b.job.argv" in problem for problem in caught.value.problems)


async def test_yaml_text_is_taken_and_its_problems_have_lines(raw: httpx.AsyncClient) -> None:
    text = "workflow: hello\ntasks:\n  a:\n    job: {argv: [echo]}\n"
    assert (await raw.post("/runs", json={"workflow": text})).status_code == 202
    answer = await raw.post("/runs", json={"workflow": text.replace("argv", "arg")})
    assert answer.status_code == 422
    assert "workflow:4" in answer.json()["problems"][0]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "the body is no JSON"),
        (b"", "the body is missing"),
        (b"[]", "expected a JSON object"),
        (b'{"workflow": {}, "parms": {}}', "parms: there is no such field; did you mean 'params'?"),
        (b'{"key": "k"}', "workflow: this field is missing"),
        (b'{"workflow": {}, "owner": "Ada Lovelace"}', "owner: "),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_in_words(
    raw: httpx.AsyncClient, body: bytes, sentence: str
) -> None:
    answer = await raw.post("/runs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert sentence in answer.json()["problems"][0]


async def test_owners_of_shards_are_woken(client: AsyncClient, settings: Settings) -> None:
    broker = open_broker(settings.broker, name="scheduler")
    try:
        subscription = await broker.subscribe([control("scheduler", "wake")], prefetch=10)
        submitted = await client.submit(WORKFLOW, owner="ada")
        assert await _woken(await subscription.take(1)) == [shard_of(submitted.id)]
        await client.cancel(submitted.id)
        assert await _woken(await subscription.take(1)) == [shard_of(submitted.id)]
    finally:
        await broker.close()


async def _woken(deliveries: Any) -> list[int]:
    delivery: Delivery = deliveries[0]
    return decode(delivery.kind, delivery.body, Wake).shards


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_run_is_found_by_the_beginning_of_its_id(client: AsyncClient) -> None:
    submitted = await client.submit(WORKFLOW, {"day": "d"}, owner="ada")
    found = await client.status(submitted.id[:15].upper())
    assert (found.id, found.state, found.params, found.tasks) == (submitted.id, "accepted", {"day": "d"}, [])


async def test_a_beginning_that_several_runs_share_is_refused(client: AsyncClient) -> None:
    one, two = [await client.submit(WORKFLOW, owner="ada") for _ in range(2)]
    with pytest.raises(Conflict, match=f"several runs begin with {one.id[:4]}: .*{two.id}"):
        await client.status(one.id[:4])


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("zzzz", NotFound, "there is no run zzzz"),
        ("abc", Conflict, "too short"),
        ("UPPER!", NotFound, "no id of a run"),
        ("%", NotFound, "no id of a run"),
        ("x" * 100, NotFound, "no id of a run"),
    ],
)
async def test_what_is_no_run_is_told(
    client: AsyncClient, name: str, error: type[WarrenerError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await client.status(name)


async def test_runs_are_listed_newest_first_in_pages(client: AsyncClient) -> None:
    runs = [await client.submit(WORKFLOW, owner="ada") for _ in range(5)]
    first = await client.runs(owner="ada", limit=3)
    rest = await client.runs(owner="ada", limit=3, before=first.next)
    listed = [run.id for run in [*first.runs, *rest.runs]]
    assert listed == sorted((run.id for run in runs), reverse=True)
    assert rest.next is None
    assert (await client.runs(owner="grace")).runs == []


async def test_an_unknown_filter_is_refused(raw: httpx.AsyncClient) -> None:
    answer = await raw.get("/runs", params={"stat": "failed"})
    assert answer.status_code == 422
    assert answer.json()["problems"] == ["stat: there is no such field; did you mean 'state'?"]


async def test_a_long_poll_ends_when_the_run_changes(client: AsyncClient, settings: Settings, store: Store) -> None:
    submitted = await client.submit(WORKFLOW, owner="ada")
    seen = (await client.status(submitted.id)).seen
    waiting = asyncio.create_task(client.status(submitted.id, wait_s=30, seen=seen))
    await set_state(store, submitted.id, "failed")
    await _tell(settings, submitted.id)
    async with asyncio.timeout(5):
        assert (await waiting).state == "failed"


async def _tell(settings: Settings, run_id: str) -> None:
    from warrener.broker import Message

    broker = open_broker(settings.broker, name="scheduler")
    event = Event(run=run_id, owner="ada", state="failed", at=NOW)
    body = encode(Events(events=[event]))
    await broker.publish(Message(EVENTS, "runs", Events.KIND, body, "m1", mandatory=False))
    await broker.close()


async def test_a_long_poll_ends_without_news_when_its_time_is_over(client: AsyncClient) -> None:
    submitted = await client.submit(WORKFLOW, owner="ada")
    seen = (await client.status(submitted.id)).seen
    assert (await client.status(submitted.id, wait_s=0.1, seen=seen)).seen == seen
    async with asyncio.timeout(1):
        assert (await client.status(submitted.id, wait_s=30, seen="something older")).seen == seen


async def test_waiting_for_a_run_ends_with_it_or_with_the_time(client: AsyncClient, store: Store) -> None:
    submitted = await client.submit(WORKFLOW, owner="ada")
    with pytest.raises(TimeoutError, match="still accepted; it goes on"):
        await submitted.wait(0.1)
    await set_state(store, submitted.id, "cancelled")
    assert (await submitted.wait(5)).state == "cancelled"
    with pytest.raises(TaskFailed, match="was cancelled"):
        await submitted.result(5)
    await set_state(store, submitted.id, "succeeded")
    assert await submitted.result(timedelta(seconds=5)) == {}


async def test_a_stop_ends_long_polls(settings: Settings) -> None:
    async with AsyncClient(settings.listen_url) as patient:
        async with running(settings) as client:
            submitted = await client.submit(WORKFLOW, owner="ada")
            seen = (await patient.status(submitted.id)).seen
            waiting = asyncio.create_task(patient.status(submitted.id, wait_s=30, seen=seen))
            await client.health()
        async with asyncio.timeout(5):
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(result, GatewayUnavailable) or result.seen == seen


async def test_why_says_what_a_run_waits_for(client: AsyncClient) -> None:
    submitted = await client.submit(WORKFLOW, owner="ada")
    assert "no scheduler has taken it up" in (await client.why(submitted.id)).why
    with pytest.raises(NotFound, match="no tasks yet"):
        await client.why_task(submitted.id, "plot")


async def test_workers_are_known_by_their_heartbeats(client: AsyncClient, settings: Settings) -> None:
    from warrener.broker import Message
    from warrener.topology import CONTROL

    broker = open_broker(settings.broker, name="worker")
    beat = Heartbeat(
        worker="job-a", boot="b", seq=1, task_kind=Kind.JOB, site="local", host="a", slots=4, free=3
    )  # fmt: skip
    async with asyncio.timeout(5):
        while not (found := await client.workers()):
            body = encode(beat)
            await broker.publish(Message(CONTROL, "heartbeat", Heartbeat.KIND, body, "m", mandatory=False))
    await broker.close()
    assert [(worker.name, worker.kind, worker.free, worker.state) for worker in found] == [("job-a", "job", 3, "up")]


async def test_the_contract_is_described(raw: httpx.AsyncClient) -> None:
    described = (await raw.get("/openapi.json")).json()
    assert described["info"]["title"] == "Warrener"
    assert {"/runs", "/runs/{run}", "/runs/{run}/tasks/{name}/logs", "/parked/{number}/replay"} <= set(
        described["paths"]
    )
    assert (await raw.get("/schema")).json()["properties"]["tasks"]


# ── steering ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_cancel_becomes_an_intent(client: AsyncClient, store: Store) -> None:
    submitted = await client.submit(WORKFLOW, owner="ada")
    await submitted.cancel()
    intents = await store.read(lambda tx: tx.notes.intents(range(16), 10))
    assert [(intent.run, intent.what) for intent in intents] == [(submitted.id, "cancel")]


@pytest.mark.parametrize(
    ("state", "what", "sentence"),
    [
        ("succeeded", "cancel", "has already succeeded"),
        ("cancelled", "cancel", "has already been cancelled"),
        ("succeeded", "retry", "submit it again under another key"),
        ("running", "retry", "only a failed or cancelled run"),
    ],
)
async def test_what_a_runs_state_does_not_allow_is_refused(
    client: AsyncClient, store: Store, state: str, what: str, sentence: str
) -> None:
    submitted = await client.submit(WORKFLOW, owner="ada")
    await set_state(store, submitted.id, state)
    with pytest.raises(Conflict, match=sentence):
        await getattr(submitted, what)()
    assert not await store.read(lambda tx: tx.notes.intents(range(16), 10))


async def test_a_parked_message_can_be_replayed_once(client: AsyncClient, settings: Settings, store: Store) -> None:
    broker = open_broker(settings.broker, name="scheduler")
    subscription = await broker.subscribe([control("scheduler", "wake")], prefetch=10)
    message = ParkedMessage(
        0, "m1", "three strikes", "warrener.control", "wake", "wake/1", b'{"shards":[3]}', {"signature": "s"}, NOW
    )
    await store.transact(lambda tx: tx.write(Changes(parked=[message])))
    (parked,) = await client.parked()
    shown = await client.parked_message(parked.id)
    assert (shown.reason, shown.body, shown.headers) == (
        "three strikes",
        '{"shards":[3]}',
        {"signature": "(not shown)"},
    )
    await client.replay(parked.id)
    (delivery,) = await subscription.take(1)
    assert (delivery.kind, delivery.body, delivery.headers) == ("wake/1", message.body, {"signature": "s"})
    assert delivery.message_id != "m1"
    assert await client.parked() == []
    with pytest.raises(NotFound, match="no parked message"):
        await client.replay(parked.id)
    await broker.close()


async def test_a_parked_message_that_nobody_takes_stays(client: AsyncClient, store: Store) -> None:
    message = ParkedMessage(0, "m1", "why", "warrener.orders", "call.gone", "orders/1", b"{}", {}, NOW)
    await store.transact(lambda tx: tx.write(Changes(parked=[message])))
    (parked,) = await client.parked()
    with pytest.raises(GatewayUnavailable):
        await client.replay(parked.id)
    assert await client.drop(parked.id) == parked
    assert await client.parked() == []


# ── outages ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_submitting_and_looking_work_without_the_broker(tmp_path: Path) -> None:
    settings = Settings.read(state=tmp_path, broker="amqp://nobody@127.0.0.1:1/")
    async with running(settings) as client:
        submitted = await client.submit(WORKFLOW, owner="ada")
        assert (await client.status(submitted.id)).state == "accepted"
        await submitted.cancel()
        health = await client.health()
        assert health.broker is False
        assert "no connection to the broker at 127.0.0.1:1" in health.broker_trouble


async def test_without_the_store_it_answers_that_it_waits(tmp_path: Path) -> None:
    settings = settings_at(tmp_path, store="postgresql://nobody@127.0.0.1:1/none")
    async with running(settings, healthy=False), raw_client(settings) as raw:
        answer = await raw.post("/runs", json={"workflow": WORKFLOW})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "not reached its database yet" in answer.json()["problems"][0]
        assert (await raw.get("/health")).status_code == 503


# ── more than it takes ──────────────────────────────────────────────────────────────────────────────────────────────


async def take_up(store: Store) -> int:
    """Do what a scheduler does with accepted runs."""

    def write(tx: Transaction) -> int:
        rows = [run for run, _ in tx.runs.accepted(range(16), 100)]
        for row in rows:
            row.state = "running"
        tx.write(Changes(runs=rows))
        return len(rows)

    return await store.transact(write)


async def test_beyond_the_backlog_submissions_are_refused_with_when_to_come_again(tmp_path: Path) -> None:
    settings = settings_at(tmp_path, backlog=3)
    async with running(settings) as client, raw_client(settings) as raw:
        for number in range(3):
            await client.submit(WORKFLOW, key=f"k{number}", owner="ada")
        answer = await raw.post("/runs", json={"workflow": WORKFLOW})
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "5")
        assert "3 accepted runs wait for a scheduler" in answer.json()["problems"][0]
        async with AsyncClient(settings.listen_url, patience_s=1) as hasty:
            with pytest.raises(Overloaded, match="WARRENER_BACKLOG"):
                await hasty.submit(WORKFLOW, owner="ada")
        assert len((await client.runs()).runs) == 3


async def test_a_script_that_submits_in_a_loop_slows_down_to_what_is_taken_up(tmp_path: Path, store: Store) -> None:
    settings = settings_at(tmp_path, backlog=5)
    told: list[float] = []
    async with (
        running(settings),
        AsyncClient(settings.listen_url, on_busy=lambda _, pause_s: told.append(pause_s)) as client,
        asyncio.TaskGroup() as tasks,
    ):

        async def schedule_when_full() -> None:
            while not told:
                await asyncio.sleep(0.01)
            while await take_up(store):
                await asyncio.sleep(1)

        tasks.create_task(schedule_when_full())
        runs = [await client.submit(WORKFLOW, key=f"k{number}", owner="ada") for number in range(7)]
    assert len({run.id for run in runs}) == 7
    assert told
    assert 5 <= told[0] <= 7.5


@pytest.mark.usefixtures("client")
async def test_what_is_one_too_many_at_a_time_is_refused_and_all_are_accepted_in_the_end(settings: Settings) -> None:
    busy = 0

    def count(_error: Overloaded, _pause_s: float) -> None:
        nonlocal busy
        busy += 1

    async with AsyncExitStack() as clients:
        # A client has 100 connections; the gateway takes 64 submissions at a time.
        two = [await clients.enter_async_context(AsyncClient(settings.listen_url, on_busy=count)) for _ in range(2)]
        async with asyncio.timeout(60):
            runs = await asyncio.gather(*(two[n % 2].submit(WORKFLOW, key=f"k{n}", owner="ada") for n in range(400)))
    assert len({run.id for run in runs}) == 400
    assert busy


@pytest.mark.usefixtures("client")
async def test_a_body_that_does_not_arrive_is_given_up(settings: Settings) -> None:
    with mock.patch("warrener_services.gateway.guard.BODY_TIMEOUT_S", 0.2):
        reader, writer = await asyncio.open_unix_connection(settings.listen_url.removeprefix("unix:"))
        writer.write(b"POST /runs HTTP/1.1\r\nHost: gateway\r\nContent-Length: 1000\r\n\r\n{")
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        writer.close()


# ── the guard and the socket ────────────────────────────────────────────────────────────────────────────────────


async def test_the_socket_is_its_owners_alone_and_goes_with_the_gateway(settings: Settings) -> None:
    path = settings.state / "gateway.sock"
    async with running(settings):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_second_gateway_on_the_socket_is_refused(settings: Settings, client: AsyncClient) -> None:
    with pytest.raises(InvalidSettings, match="another gateway already listens"):
        await run(settings)
    assert (await client.health()).store


async def test_the_socket_of_a_dead_gateway_is_replaced(settings: Settings) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(settings.state / "gateway.sock"))
    async with running(settings) as client:
        assert (await client.health()).store


async def test_a_file_in_the_sockets_place_is_left_alone(settings: Settings) -> None:
    (settings.state / "gateway.sock").write_text("precious")
    with pytest.raises(InvalidSettings, match="is no socket"):
        await run(settings)
    assert (settings.state / "gateway.sock").read_text() == "precious"


@pytest.mark.parametrize(
    ("listen", "token", "sentence"),
    [
        ("http://127.0.0.1:8000", "", "needs a token"),
        ("http://0.0.0.0:8000", TOKEN, "reachable from outside"),
        ("https://127.0.0.1:8000", TOKEN, "speaks no TLS"),
        ("http://127.0.0.1", TOKEN, "no address to listen on"),
        ("tcp:80", TOKEN, "no address to listen on"),
        ("unix:relative.sock", "", "no absolute path"),
        (f"unix:/tmp/{'x' * 120}", "", "longer than 107 bytes"),
    ],
)
async def test_an_unsafe_address_is_refused(tmp_path: Path, listen: str, token: str, sentence: str) -> None:
    with pytest.raises(InvalidSettings, match=sentence):
        await run(settings_at(tmp_path, listen=listen, token=token))


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free: int = probe.getsockname()[1]
        return free


async def test_on_tcp_everything_but_health_wants_the_token(tmp_path: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    async with running(settings_at(tmp_path, listen=url, token=TOKEN)) as client:
        assert (await client.runs()).runs == []
        async with httpx.AsyncClient(base_url=url) as raw:
            assert (await raw.get("/health")).status_code == 200
            for path in ("/runs", "/openapi.json", "/health/", "/x/health", "/runs/health", "/HEALTH", "/nothing"):
                answer = await raw.get(path)
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), path
                assert "WARRENER_TOKEN" in answer.json()["problems"][0]
            assert (await raw.post("/health")).status_code == 401
            for wrong in (TOKEN, f"bearer {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Basic x"):
                assert (await raw.get("/runs", headers={"Authorization": wrong})).status_code == 401, wrong


async def test_other_addresses_are_for_trusted_networks_only(tmp_path: Path, port: int) -> None:
    settings = settings_at(
        tmp_path, listen=f"http://0.0.0.0:{port}", gateway=f"http://127.0.0.1:{port}", token=TOKEN, trust_network=True
    )
    async with running(settings), httpx.AsyncClient(base_url=settings.gateway_url) as raw:
        assert (await raw.get("/health")).status_code == 200
        assert (await raw.get("/runs")).status_code == 401


async def test_a_large_body_is_refused_however_it_is_sent(raw: httpx.AsyncClient) -> None:
    large = b" " * (1024 * 1024 + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    for content in (large, chunks()):
        answer = await raw.post("/runs", content=content)
        assert answer.status_code == 413
        assert "larger than 1024 KiB" in answer.json()["problems"][0]


async def test_browsers_are_told_to_take_nothing_for_a_page(raw: httpx.AsyncClient) -> None:
    for path in ("/runs", "/nothing", "/health"):
        headers = (await raw.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "server" not in headers


async def test_what_can_change_while_programs_run_is_configured(client: AsyncClient) -> None:
    assert await client.configuration() == []
    assert (await client.configure("log", "debug")).version == 1
    (set_,) = await client.configuration()
    assert (set_.name, set_.value, set_.version) == ("log", "debug", 1)
    assert (await client.configure("log", None)).version == 2
    assert await client.configuration() == []
    for name, value, part in (
        ("log", "loud", "none of debug, info, warning, error"),
        ("lease", "60s", "read once, when a program starts: set WARRENER_LEASE"),
        ("burrow", "deep", "there is no setting"),
    ):
        with pytest.raises(Refused, match=part):
            await client.configure(name, value)


async def test_members_are_none_without_gossip(client: AsyncClient) -> None:
    assert await client.members() == []
