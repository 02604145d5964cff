"""Routes and quiet hours: who is told of what, and when not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warrener.alerts import RULES, Alert, AlertKind, Severity
from warrener.errors import InvalidSettings
from warrener.settings import Settings
from warrener_services.gossip.quiet import QuietHours, quiet_until
from warrener_services.gossip.routes import Route, Routes, read_routes, webhook_name

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
NIGHT = NOON.replace(hour=23)
QUIET = {"from": "22:00", "to": "07:00"}
HOOK = "https://hooks.example.org/secret/path"

TIMES = st.times().map(lambda time: f"{time.hour:02}:{time.minute:02}")
HOURS = st.builds(
    lambda begin, to, zone, days: QuietHours.model_validate({"from": begin, "to": to, "zone": zone, "days": days}),
    TIMES, TIMES, st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]),
    st.lists(st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min_size=1, unique=True).map(tuple),
)  # fmt: skip
MOMENTS = st.integers(0, 2_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(st.lists(HOURS, max_size=3).map(tuple), MOMENTS)
def test_quiet_hours_end_later_and_then_it_is_not_quiet(hours: tuple[QuietHours, ...], now: datetime) -> None:
    until = quiet_until(hours, now)

    assert (until is not None) == any(one.end_of(now) is not None for one in hours)
    if until is not None:
        assert now < until <= now + timedelta(days=15)
        if until <= now + timedelta(days=9):
            assert quiet_until(hours, until) is None or len(hours) > 1


@given(HOURS, MOMENTS)
def test_it_is_quiet_when_the_clock_on_the_wall_says_so(hours: QuietHours, now: datetime) -> None:
    local = now.astimezone(ZoneInfo(hours.zone))
    if (
        local.utcoffset() != (local + timedelta(days=2)).utcoffset()
        or local.utcoffset() != (local - timedelta(days=2)).utcoffset()
    ):
        return  # around a change of the clock the wall is ambiguous
    if len(hours.days) != 7:
        return
    time, begin, to = local.strftime("%H:%M"), hours.begin, hours.to
    inside = begin <= time < to if begin < to else time >= begin or time < to
    assert (hours.end_of(now) is not None) == inside


def test_a_night_ends_in_the_morning_also_when_the_clocks_change() -> None:
    hours = QuietHours.model_validate({**QUIET, "zone": "Europe/Zurich"})
    before = datetime(2026, 3, 28, 23, tzinfo=UTC)  # Sunday 00:00 there; at 02:00 it is 03:00

    assert hours.end_of(before) == datetime(2026, 3, 29, 5, tzinfo=UTC)


def test_a_weekend_is_quiet_as_a_whole() -> None:
    hours = QuietHours.model_validate({"from": "00:00", "to": "24:00", "days": ["sat", "sun"]})
    saturday = datetime(2026, 3, 7, 9, tzinfo=UTC)

    assert quiet_until((hours,), saturday) == datetime(2026, 3, 9, tzinfo=UTC)
    assert quiet_until((hours,), NOON) is None


def told(routes: Routes, kind: str = AlertKind.TASK_FAILED, **fields: str) -> list[str]:
    return [way.destination for way in routes.ways(Alert(kind, "x", "", **fields))]


def test_a_route_is_told_of_what_it_names_and_the_rest_goes_elsewhere() -> None:
    routes = Routes(
        (
            Route(to=("ops@x.org",), severity=Severity.CRITICAL),
            Route(to=("ada@x.org",), owner=("ada",), kind=(AlertKind.TASK_FAILED,)),
            Route(webhook=(HOOK,), site=("lab",)),
        ),
        Route(to=("rest@x.org",)),
    )

    assert told(routes, AlertKind.MEMBER_FAILED) == ["mail:ops@x.org"]
    assert told(routes, owner="ada", site="lab") == ["mail:ada@x.org", f"webhook:{webhook_name(HOOK)}"]
    assert told(routes, owner="eve") == ["mail:rest@x.org"]
    assert told(routes, AlertKind.TEST) == [
        "mail:ops@x.org", "mail:ada@x.org", f"webhook:{webhook_name(HOOK)}", "mail:rest@x.org"
    ]  # fmt: skip
    assert "secret" not in webhook_name(HOOK)


@given(
    st.lists(
        st.builds(
            Route, to=st.sampled_from([("a@x.org",), ("b@x.org",), ("a@x.org", "b@x.org")]),
            kind=st.sampled_from([(), (AlertKind.TASK_FAILED,), (AlertKind.BACKLOG,)]),
            severity=st.sampled_from(list(Severity)), site=st.sampled_from([(), ("lab",)]),
        ),
        max_size=4,
    ),
    st.sampled_from(list(AlertKind)), st.sampled_from(["", "lab", "hall"]),
)  # fmt: skip
def test_every_alert_goes_somewhere_and_nowhere_twice(routes: list, kind: AlertKind, site: str) -> None:
    given = Routes(tuple(routes), Route(to=("rest@x.org",)))

    ways = told(given, kind, site=site)

    assert ways
    assert len(ways) == len(set(ways))


def test_what_is_critical_does_not_wait_and_the_least_quiet_route_counts() -> None:
    quiet = Route.model_validate({"to": ["ada@x.org"], "quiet": QUIET})
    loud = Route(to=("ada@x.org",), kind=(AlertKind.BACKLOG,))
    routes = Routes((quiet, loud))

    def loud(kind: str, moment: datetime) -> datetime:
        return routes.loud_at(Alert(kind, "x", ""), "mail:ada@x.org", moment)

    assert loud(AlertKind.TASK_FAILED, NIGHT) == NIGHT.replace(day=5, hour=7)
    assert loud(AlertKind.MEMBER_FAILED, NIGHT) == NIGHT
    assert loud(AlertKind.BACKLOG, NIGHT) == NIGHT
    assert routes.loud_at(Alert(AlertKind.TASK_FAILED, "x", ""), "mail:who@is.this", NIGHT) == NIGHT


def test_it_is_quiet_while_it_is_for_each_of_two_routes() -> None:
    late = Route.model_validate({"to": ["ada@x.org"], "quiet": {"from": "23:30", "to": "08:00"}, "window": "30m"})
    routes = Routes((Route.model_validate({"to": ["ada@x.org"], "quiet": QUIET}), late))

    (way,) = routes.ways(Alert(AlertKind.TASK_FAILED, "x", ""))
    assert way.loud_at(NIGHT) == NIGHT
    assert way.loud_at(NIGHT.replace(minute=45)) == NIGHT.replace(day=5, hour=7)
    assert way.window == timedelta(minutes=5)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────


def read(tmp_path: Path, text: str, **settings: object) -> Routes:
    file = tmp_path / "routes.yaml"
    file.write_text(text)
    return read_routes(Settings(alert_routes=file, **settings))


def test_a_file_of_routes_is_read(tmp_path: Path) -> None:
    routes = read(
        tmp_path,
        """
routes:
  - to: [ops@example.org, chief@example.org]
    severity: critical
  - to: ada@example.org
    kind: task-failed
    owner: ada
    quiet: {from: "22:00", to: "07:00", zone: Europe/Zurich}
    window: 10m
  - webhook: https://chat.example.org/hook
    site: [lab, hall]
""",
        mail_to=("rest@example.org",),
    )

    assert len(routes.routes) == 3
    assert routes.routes[1].window == timedelta(minutes=10)
    assert routes.routes[1].quiet[0].begin == "22:00"
    assert len(routes.destinations) == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("routes: []", "routes: must not be empty"),
        ("routes:\n  - severity: error", "routes[0]: a route leads somewhere: give to: or webhook:"),
        ("routes:\n  - {to: a@b.c, kinds: backlog}", "unknown field 'kinds'; did you mean 'kind'?"),
        ("routes:\n  - {to: a@b.c, kind: task-faild}", "did you mean 'task-failed'?"),
        ("routes:\n  - {to: nobody}", "routes[0].to: 'nobody' is no address of mail"),
        ('routes:\n  - {to: "a@b.c\\nBcc: eve@b.c"}', "is no address of mail"),
        ("routes:\n  - {webhook: http://chat.example.org}", "https://"),
        ("routes:\n  - {to: a@b.c, quiet: {from: '25:00', to: '7:00'}}", "no time of day"),
        ("routes:\n  - {to: a@b.c, quiet: {from: '22:00', to: '7:00', zone: Mars/Base}}", "no time zone"),
        ("routes: [", "routes.yaml"),
        ("- a", "expected a mapping"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)
    assert "WARRENER_ALERT_ROUTES" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mail_to": ("nobody",)}, "WARRENER_MAIL_TO: 'nobody' is no address"),
        ({"mail_to": ("ops@example..org",)}, "WARRENER_MAIL_TO: 'ops@example..org' is no address"),
        ({"mail_to": (".ops@example.org",)}, "WARRENER_MAIL_TO: '.ops@example.org' is no address"),
        ({"webhook": "ftp://x"}, "WARRENER_WEBHOOK: a webhook is an https:// URL"),
        ({"alert_routes": Path("/nowhere/routes.yaml")}, "cannot be read: No such file"),
    ],
)
def test_what_is_wrong_with_a_setting_is_said(settings: dict, says: str) -> None:
    with pytest.raises(InvalidSettings, match=says.replace("(", r"\(")):
        read_routes(Settings(**settings))


# ── what the docs say ────────────────────────────────────────────────────────────────────────────────────────

PAGE = (Path(__file__).parents[3] / "docs/alerts.md").read_text()


def test_the_routes_of_the_docs_can_be_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(read(tmp_path, example).routes) == 3


def test_the_docs_name_every_kind_with_its_severity() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert rows == {kind: rule.severity for kind, rule in RULES.items()}
