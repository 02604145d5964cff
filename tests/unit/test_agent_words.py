"""What Serf's log lines mean."""

from __future__ import annotations

import pytest

from warrener.gossips.agent_words import Trouble, joined_by, told_by


@pytest.mark.parametrize(
    ("line", "trouble", "part"),
    [
        (
            "* Failed to join 127.0.0.1: No installed keys could decrypt the message",
            Trouble.KEY,
            "the member at 127.0.0.1 gossips with another key than this host: the file of WARRENER_GOSSIP_KEY",
        ),
        (
            "* Failed to join 127.0.0.1: Remote state is encrypted and encryption is not configured",
            Trouble.KEY,
            "another key",
        ),
        (
            (
                "2026/11/21 [ERR] memberlist: failed to receive: No installed keys could decrypt the message "
                "from=10.1.2.3:52808"
            ),
            Trouble.STRANGER,
            "an agent at 10.1.2.3 gossips with another key",
        ),
        (
            (
                "[ERR] memberlist: failed to receive: Encryption is configured but remote state is not encrypted "
                "from=127.0.0.1:52818"
            ),
            Trouble.STRANGER,
            "an agent at 127.0.0.1 gossips without encryption",
        ),
        (
            "* Failed to join 127.0.0.1: dial tcp 127.0.0.1:27999: connect: connection refused",
            Trouble.SEED,
            "the seed 127.0.0.1:27999 does not answer (connection refused)",
        ),
        (
            "* Failed to join 10.0.0.9: dial tcp 10.0.0.9:7946: i/o timeout",
            Trouble.SEED,
            "the seed 10.0.0.9:7946 does not answer (i/o timeout)",
        ),
        (
            "* Failed to resolve meadow:7946: lookup meadow on 10.0.0.1:53: no such host",
            Trouble.SEED,
            "the seed meadow:7946 has no address",
        ),
        (
            (
                '==> Failed to start the Serf agent: Error creating Serf: Failed to start TCP listener on "::1" port '
                "27001: listen tcp 127.0.0.1:27001: bind: address already in use"
            ),
            Trouble.PORT,
            "another program listens on 127.0.0.1:27001",
        ),
        (
            "==> Error starting RPC listener: listen tcp 127.0.0.1:27101: bind: address already in use",
            Trouble.PORT,
            "another program listens on 127.0.0.1:27101",
        ),
        (
            "==> Failed to start the Serf agent: listen tcp 10.99.99.99:27009: bind: cannot assign requested address",
            Trouble.ADDRESS,
            "10.99.99.99:27009 is no address of this host: correct WARRENER_AGENT",
        ),
        (
            (
                "[ERR] serf: Node name conflicts with another node at 127.0.0.1:27006. Names must be unique! "
                "(Resolution enabled: true)"
            ),
            Trouble.NAME,
            "the member at 127.0.0.1:27006 has this one's name",
        ),
        ("[WARN] serf: minority in name conflict resolution, quitting [0 / 0]", Trouble.NAME, "the pool keeps"),
        ("[WARN] memberlist: Refuting a suspect message (from: hare)", Trouble.SLOW, "the member hare did not hear"),
        (
            "==> Failed to start the Serf agent: Error creating Serf: key size must be 16, 24 or 32 bytes",
            Trouble.OTHER,
            "Serf says: Error creating Serf: key size",
        ),
    ],
)
def test_a_line_becomes_a_sentence(line: str, trouble: Trouble, part: str) -> None:
    told = told_by(f"    {line}")
    assert told is not None
    assert told.trouble is trouble
    assert part in told.sentence


@pytest.mark.parametrize(
    "line",
    [
        "==> Starting Serf agent...",
        "2026/11/21 15:49:18 [WARN] agent: Join failed: 1 error occurred:",
        "2026/11/21 15:49:14 [INFO] serf: EventMemberJoin: a 127.0.0.1",
    ],
)
def test_what_is_no_trouble_is_passed_over(line: str) -> None:
    assert told_by(line) is None


def test_joining_is_heard() -> None:
    assert joined_by("2026/11/21 15:49:14 [INFO] agent: joined: 2 nodes") == 2
    assert joined_by("[INFO] agent: joining: [127.0.0.1:27001] replay: false") is None
