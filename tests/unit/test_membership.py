"""The picture of the members: the order and repetition of news do not matter, a full picture heals everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.gossip import Change, Member, Status
from warrener.membership import News, Notice, Picture, after

members = st.builds(
    Member,
    name=st.sampled_from(["a", "b", "c", "d"]),
    status=st.sampled_from(Status),
    address=st.sampled_from(["10.0.0.1:7946", "10.0.0.2:7946"]),
    tags=st.dictionaries(st.sampled_from(["role", "free"]), st.sampled_from(["1", "2"])),
)
partials = st.lists(members, max_size=4).map(lambda listed: Change(listed, full=False))
fulls = st.lists(members, max_size=4, unique_by=lambda member: member.name).map(lambda m: Change(m, full=True))
histories = st.lists(partials | fulls, max_size=6)


def told(*changes: Change) -> Picture:
    picture = Picture()
    for change in changes:
        picture, _ = after(picture, change)
    return picture


def member(status: Status, **tags: str) -> Member:
    return Member("a", status, "10.0.0.1:7946", tags)


@given(changes=st.lists(partials, max_size=6), full=fulls, shuffled=st.randoms())
def test_any_order_and_repetition_of_partial_changes_then_a_full_one_equals_the_full_one(changes, full, shuffled):
    repeated = [*changes, *changes]
    shuffled.shuffle(repeated)
    assert told(*repeated, full) == told(full)


@given(history=histories, change=partials | fulls)
def test_the_same_change_again_is_no_news(history, change):
    picture = told(*history, change)
    again, notices = after(picture, change)
    assert again == picture
    assert notices == ()


@given(history=histories, change=partials | fulls)
def test_the_notices_alone_lead_from_the_old_picture_to_the_new_one(history, change):
    old = told(*history)
    new, notices = after(old, change)
    led, _ = after(old, Change([notice.member for notice in notices], full=False))
    assert led.here == new.here
    assert all(led.members[name] == kept for name, kept in new.members.items())


@given(history=histories, change=partials | fulls)
def test_a_member_has_at_most_one_notice_for_a_change(history, change):
    _, notices = after(told(*history), change)
    names = [notice.member.name for notice in notices]
    assert len(names) == len(set(names))


@given(history=histories, change=partials | fulls)
def test_a_change_leaves_the_picture_before_it_as_it_was(history, change):
    old = told(*history)
    kept = dict(old.members)
    after(old, change)
    assert dict(old.members) == kept


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        (None, Status.ALIVE, News.JOINED),
        (None, Status.LEAVING, News.JOINED),
        (None, Status.FAILED, News.FAILED),
        (None, Status.LEFT, News.LEFT),
        (Status.ALIVE, Status.ALIVE, None),
        (Status.ALIVE, Status.LEAVING, News.TAGS),
        (Status.ALIVE, Status.FAILED, News.FAILED),
        (Status.ALIVE, Status.LEFT, News.LEFT),
        (Status.LEAVING, Status.LEFT, News.LEFT),
        (Status.FAILED, Status.ALIVE, News.BACK),
        (Status.FAILED, Status.LEFT, News.LEFT),
        (Status.FAILED, Status.FAILED, None),
        (Status.LEFT, Status.ALIVE, News.BACK),
        (Status.LEFT, Status.LEFT, None),
        (Status.LEFT, Status.FAILED, News.FAILED),
    ],
)
def test_news_of_a_status(before, now, news):
    picture = told(Change([member(before)], full=True)) if before else Picture()
    _, notices = after(picture, Change([member(now)], full=False))
    assert notices == ((Notice(news, member(now)),) if news else ())


def test_other_tags_are_news():
    picture = told(Change([member(Status.ALIVE, free="1")], full=True))
    now = member(Status.ALIVE, free="0")
    assert after(picture, Change([now], full=False))[1] == (Notice(News.TAGS, now),)


@pytest.mark.parametrize("status", list(Status))
def test_a_member_missing_in_a_full_picture_is_forgotten(status):
    picture = told(Change([member(status)], full=True))
    new, notices = after(picture, Change([], full=True))
    assert new == Picture()
    assert notices == (Notice(News.FORGOTTEN, member(Status.LEFT)),)


def test_one_that_is_leaving_is_still_here():
    assert told(Change([member(Status.LEAVING)], full=True)).here == {"a"}
    assert told(Change([member(Status.FAILED)], full=True)).here == set()
