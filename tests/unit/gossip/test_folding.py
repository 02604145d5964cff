"""Folding: nothing is lost, nothing is told twice, and many are few letters."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from warrener.alerts import Alert, AlertKind, Severity
from warrener.letters import AlertRow, Letter
from warrener_services.gossip.folding import NAMED, Content, fold, fold_of, sort_out, when
from warrener_services.gossip.quiet import QuietHours
from warrener_services.gossip.routes import Way

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=5)
KINDS = st.sampled_from([AlertKind.MEMBER_FAILED, AlertKind.TASK_FAILED, AlertKind.BACKLOG])


def row(
    number: int, kind: str = AlertKind.TASK_FAILED, subject: str = "a", *, over: bool = False, s: float = 0
) -> AlertRow:
    alert = Alert(kind, subject, f"{subject} {number}", over=over)
    return AlertRow(number, alert, NOW + timedelta(seconds=s), alert.episode)


class Books:
    """What the store holds between sortings."""

    def __init__(self, destinations: int = 1) -> None:
        self.episodes: dict[int, AlertRow] = {}
        self.letters: list[Letter] = []
        self.numbers = itertools.count()
        self.ways = [Way(f"mail:{n}", WINDOW) for n in range(destinations)]

    def sort(self, rows: list[AlertRow], now: datetime) -> None:
        latest = {one.episode: one for one in sorted(self.episodes.values(), key=lambda one: one.id)}
        done, news = sort_out(rows, latest)
        assert sorted(done.kept + done.dropped) == [one.id for one in rows]
        by_id = {one.id: one for one in rows}
        self.episodes.update({number: by_id[number] for number in done.kept})
        for number, at, text in done.over:
            self.episodes[number].over_at, self.episodes[number].over_text = at, text
        last = {(one.destination, one.fold): one for one in self.letters}
        for letter in fold(news, lambda _: self.ways, last, now, lambda: str(next(self.numbers))):
            self.letters = [one for one in self.letters if one.token != letter.token] + [letter]

    def send(self, now: datetime) -> None:
        for letter in self.letters:
            if letter.try_at <= now:
                letter.sealed, letter.ended_at = True, letter.ended_at or now

    def told(self, destination: str) -> dict[str, list[int]]:
        counts: dict[str, list[int]] = {}
        for letter in self.letters:
            if letter.destination == destination:
                for kind, (began, ended) in Content.read(letter.content).counts.items():
                    sums = counts.setdefault(kind, [0, 0])
                    sums[0] += began
                    sums[1] += ended
        return counts


EVENTS = st.lists(
    st.tuples(KINDS, st.sampled_from("abcd"), st.booleans(), st.integers(0, 400), st.booleans()), max_size=60
)


@settings(max_examples=200)
@given(EVENTS, st.integers(1, 3))
def test_every_episode_is_told_once_to_everybody_and_its_end_once(events: list, destinations: int) -> None:
    books, now = Books(destinations), NOW
    for number, (kind, subject, over, pause_s, sends) in enumerate(events, start=1):
        now += timedelta(seconds=pause_s)
        one = row(number, kind, subject, over=over)
        one.at = now
        books.sort([one], now)
        if sends:
            books.send(now)
    expected: dict[str, list[int]] = {}
    for episode in books.episodes.values():
        sums = expected.setdefault(episode.alert.kind, [0, 0])
        sums[0] += 1
        sums[1] += episode.over_at is not None
    for n in range(destinations):
        assert books.told(f"mail:{n}") == expected


@given(EVENTS)
def test_of_each_episode_one_runs_at_a_time(events: list) -> None:
    books = Books()
    rows = [
        row(number, kind, subject, over=over, s=number) for number, (kind, subject, over, *_) in enumerate(events, 1)
    ]
    books.sort(rows, NOW)

    running = [one.episode for one in books.episodes.values() if one.over_at is None]
    assert len(running) == len(set(running))


@given(st.lists(st.integers(0, 1200), min_size=1, max_size=300))
def test_letters_of_a_fold_grow_rare_while_there_is_always_more(pauses: list[int]) -> None:
    books, now = Books(), NOW
    for number, pause_s in enumerate(pauses, start=1):
        now += timedelta(seconds=pause_s)
        books.send(now)
        books.sort([row(number, subject=str(number))], now)
    dues = sorted(letter.due_at for letter in books.letters)
    assert dues[0] == NOW + timedelta(seconds=pauses[0]) + WINDOW / 10
    assert all(later - earlier >= WINDOW for earlier, later in itertools.pairwise(dues))


def test_ten_thousand_at_once_are_one_letter_that_names_a_dozen() -> None:
    books = Books()
    for start in range(1, 10_001, 500):
        books.sort([row(n, subject=str(n)) for n in range(start, start + 500)], NOW)

    (letter,) = books.letters
    content = Content.read(letter.content)
    assert (content.began, len(content.raised)) == (10_000, NAMED)
    assert len(letter.content) < 300


def test_what_follows_a_sent_letter_is_gathered_for_a_window() -> None:
    books = Books()
    books.sort([row(1, subject="a")], NOW)
    due_at = NOW + WINDOW / 10
    books.send(due_at)
    books.sort([row(2, subject="b"), row(3, subject="c")], due_at + timedelta(seconds=10))
    books.sort([row(4, subject="c", over=True)], due_at + timedelta(seconds=20))

    first, second = books.letters
    assert (first.due_at, second.due_at) == (due_at, due_at + WINDOW)
    assert second.span_s == 600
    content = Content.read(second.content)
    assert (content.raised, content.over) == ([2, 3], [3])


def test_a_second_host_that_dies_waits_for_seconds_only() -> None:
    way = Way("mail:a", WINDOW)
    due_at, span = when(None, Severity.CRITICAL, way, NOW)
    letter = Letter("t", "mail:a", "critical", "{}", NOW, due_at, due_at, span.total_seconds())

    later, grown = when(letter, Severity.CRITICAL, way, NOW + timedelta(seconds=1))

    assert due_at == NOW
    assert later - NOW <= timedelta(seconds=5)
    assert span < grown <= WINDOW
    assert when(letter, Severity.CRITICAL, way, NOW + timedelta(minutes=1)) == (NOW + timedelta(minutes=1), span)


def quiet_from(time: str, to: str = "22:00") -> tuple[QuietHours, ...]:
    return (QuietHours.model_validate({"from": time, "to": to}),)


def test_quiet_hours_hold_a_letter_until_they_end() -> None:
    way = Way("mail:a", WINDOW, (quiet_from("11:00"),))

    assert when(None, Severity.ERROR, way, NOW)[0] == NOW.replace(hour=22)


def test_a_letter_that_would_be_due_in_quiet_hours_waits_as_well() -> None:
    way = Way("mail:a", WINDOW, (quiet_from("12:04"),))
    last = Letter("t", "mail:a", "error", "{}", NOW, NOW, NOW, WINDOW.total_seconds(), sealed=True)

    assert when(None, Severity.ERROR, way, NOW)[0] == NOW + WINDOW / 10
    assert when(last, Severity.ERROR, way, NOW)[0] == NOW.replace(hour=22)


def test_what_is_never_quiet_does_not_wait_in_the_letter_of_what_is() -> None:
    books = Books()
    loud, quiet = Way("mail:0", WINDOW), Way("mail:0", WINDOW, (quiet_from("11:00"),))
    for number, way in ((1, quiet), (2, loud), (3, loud.beside(quiet)), (4, quiet)):
        books.ways = [way]
        books.sort([row(number, subject=str(number))], NOW)

    assert [(Content.read(letter.content).raised, letter.due_at) for letter in books.letters] == [
        ([2, 3], NOW + WINDOW / 10), ([1, 4], NOW.replace(hour=22))
    ]  # fmt: skip


def test_a_letter_that_may_be_out_takes_nothing_more() -> None:
    books = Books()
    books.sort([row(1, subject="a")], NOW)
    books.letters[0].sealed = True  # taken, and nobody knows how it went
    books.sort([row(2, subject="b")], NOW)

    assert [Content.read(letter.content).raised for letter in books.letters] == [[1], [2]]


def test_old_news_of_what_is_over_are_no_news() -> None:
    books = Books()
    books.sort([row(1), row(2, over=True, s=10)], NOW)
    books.sort([row(3, s=5)], NOW)  # another desk saw it late

    assert list(books.episodes) == [1]
    assert books.told("mail:0") == {"task-failed": [1, 1]}


def test_a_test_stands_alone_and_is_over_at_once() -> None:
    one = row(1, AlertKind.TEST, "x")

    done, news = sort_out([one], {})

    assert fold_of(one.alert, Way("mail:a", WINDOW)) == "test:x"
    assert [(number, at) for number, at, _ in done.over] == [(1, one.at)]
    assert [(each.row.id, each.over) for each in news] == [(1, False)]
