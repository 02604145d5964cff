"""Which addresses staging may connect to."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from warrener.errors import Cause, TaskFailed
from warrener.transfers.addresses import checked, is_public

PRIVATE = [
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1",
    "100.127.255.254", "192.0.0.8", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::",
    "fe80::1", "fc00::1", "fd00:ec2::254", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:1::1", "2001:db8::1", "ff02::1", "fec0::1", "::127.0.0.1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:2800:21f::1", "2a00:1450::1",
    "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


async def loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.mark.parametrize("entry", ["data.example", "data.example:81"])
async def test_an_allowed_host_may_be_private(entry: str) -> None:
    assert await checked("data.example", 81, frozenset({entry}), loopback) == ["127.0.0.1"]


async def test_an_allowance_holds_for_its_port_only() -> None:
    with pytest.raises(TaskFailed) as failed:
        await checked("data.example", 80, frozenset({"data.example:81"}), loopback)
    assert failed.value.cause is Cause.REFUSED


async def test_a_host_that_cannot_be_found_is_worth_a_retry() -> None:
    with pytest.raises(TaskFailed, match=r"no\.invalid cannot be found") as failed:
        await checked("no.invalid", 80, frozenset())
    assert failed.value.cause is Cause.STAGE
