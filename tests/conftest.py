"""The real servers of the tests: private, started when the first test asks, ended with the session."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.postgresql import PostgreSQLServer
from fleet.rabbitmq import RABBITMQ_4, RabbitMQNode
from fleet.serf import SerfAgent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So it is for what a shell runs in the background, and so it would be for every program that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("WARRENER_HONOUR_LOAD", "false")  # the machine of the tests may be as busy as it likes


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQNode]:
    """Lend one RabbitMQ node to all tests; who kills or freezes it brings it back."""
    node = RabbitMQNode(tmp_path_factory.mktemp("rabbitmq"))
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQNode) -> str:
    """Give the test a virtual host of its own: no queue of another test is there."""
    return rabbitmq.fresh_vhost()


@pytest.fixture(scope="session")
def rabbitmq4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQNode]:
    """Lend one node of RabbitMQ 4.0 to all tests; skips, with the reason, where it cannot be run."""
    if reason := RABBITMQ_4.missing():
        pytest.skip(reason)
    node = RabbitMQNode(tmp_path_factory.mktemp("rabbitmq4"), RABBITMQ_4)
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def amqp4_url(rabbitmq4: RabbitMQNode) -> str:
    """Give the test a virtual host of its own, on RabbitMQ 4.0."""
    return rabbitmq4.fresh_vhost()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """Lend one PostgreSQL server to all tests."""
    # Not under pytest's own folder, which only this user may enter: PostgreSQL does not run as root.
    with tempfile.TemporaryDirectory(prefix="warrener-postgresql-") as folder:
        server = PostgreSQLServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def postgresql_url(postgresql: PostgreSQLServer) -> Iterator[str]:
    """Give the test an empty database of its own."""
    url = postgresql.create_database()
    yield url
    postgresql.drop_database(url)


@pytest.fixture(scope="session")
def serf_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SerfAgent]:
    """Lend one Serf agent, alone in its cluster, to all tests; who changes its tags changes them back."""
    agent = SerfAgent(tmp_path_factory.mktemp("serf"), "warren-1", profile="local")
    try:
        agent.start()
        yield agent
    finally:
        agent.stop()
