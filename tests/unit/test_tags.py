"""What a worker's tag says, and that it stays small."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener import tags
from warrener.gossips.static import MAX_TAGS_BYTES
from warrener.ids import new_boot_id
from warrener.messages import Attributes, Kind
from warrener.tags import WorkerTag

BOOT = new_boot_id(datetime(2026, 11, 21, tzinfo=UTC), Random(1))
TAG = WorkerTag(Kind.JOB, "up", BOOT, 3, 4, site="local", load=0.5, digest=Attributes(cores=2).digest)


def test_what_is_written_is_read() -> None:
    assert tags.read(tags.write(TAG)) == TAG


def test_a_short_tag_leaves_out_what_others_can_do_without() -> None:
    assert tags.read(tags.write(TAG, short=True)) == WorkerTag(Kind.JOB, "up", BOOT, 3, 4)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("state", ["up", "draining", "leaving"])
def test_every_kind_and_state_has_a_letter_of_its_own(kind: Kind, state: str) -> None:
    read = tags.read(tags.write(WorkerTag(kind, state, BOOT, 0, 1)))
    assert read is not None
    assert (read.kind, read.state) == (kind, state)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "ju a b c d e",
        "xu local b 1/2 0.5 d",
        "ju local b 1/2 heavy d",
        "ju local b -1/2 0.5 d",
        "up 3/4",
        "ju - b ²/4 - -",
        "ju - b 1/④ - -",
        "ju local b 1/2 nan d",
        "ju local b 1/2 inf d",
    ],
)
def test_what_others_wrote_is_passed_over(text: str) -> None:
    assert tags.read(text) is None


@given(free=st.characters(categories=["N"]), slots=st.characters(categories=["N"]))
def test_whatever_others_take_for_a_number_breaks_nothing(free: str, slots: str) -> None:
    tags.read(f"ju - b {free}/{slots} - -")


def test_seven_workers_beside_one_agent_fit_and_ten_short_ones() -> None:
    def size(workers: int, *, short: bool) -> int:
        agents = {tags.SITE: "local", "cfg": "12"}
        written = agents | {tags.key_of(f"job-meadow-{n}"): tags.write(TAG, short=short) for n in range(workers)}
        return 1 + len(msgpack.packb(written, use_bin_type=False))

    assert size(7, short=False) <= MAX_TAGS_BYTES
    assert size(10, short=True) <= MAX_TAGS_BYTES


def test_a_members_site_is_its_own_or_that_of_a_worker_beside_it() -> None:
    worker = {"w:job-a": tags.write(TAG, short=True), "w:job-b": tags.write(TAG), "w:job-c": "nonsense"}
    assert tags.site_of(worker | {"site": "lab"}) == "lab"
    assert tags.site_of(worker) == "local"
    assert tags.site_of({"cfg": "1", "w:job-a": worker["w:job-a"]}) == ""


def test_equal_attributes_have_equal_digests_and_others_have_others() -> None:
    one = Attributes(cores=2, labels={"a": "1", "b": "2"})
    assert Attributes(cores=2, labels={"b": "2", "a": "1"}).digest == one.digest
    assert len({one.digest, Attributes(cores=3).digest, Attributes().digest}) == 3
    assert len(one.digest) == 8
