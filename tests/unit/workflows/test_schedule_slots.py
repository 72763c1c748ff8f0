"""The generator of slots: Vixie's rules, zones whose clocks change, intervals and single moments."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any

import pytest
from cronsim import CronSimError
from django.core.exceptions import ValidationError
from django_celery_beat import validators
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.schedule import LATEST, Cron, Every, Once, Timetable, in_words, is_cron, next_slots

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def first(timing: Any, after: datetime, count: int) -> list[str]:
    return [slot.strftime("%m-%d %H:%M") for slot in islice(timing.slots(after), count)]


def test_day_of_month_and_day_of_week_are_joined_by_or_when_both_are_restricted() -> None:
    # 1 and 15 September 2025 are Mondays; Fridays are 5, 12, 19.
    assert first(Cron("0 9 1,15 * 5"), utc(2025, 9, 1), 5) == [
        "09-01 09:00",
        "09-05 09:00",
        "09-12 09:00",
        "09-15 09:00",
        "09-19 09:00",
    ]


def test_a_star_in_one_of_the_two_joins_them_by_and() -> None:
    assert first(Cron("0 9 */2 * 5"), utc(2025, 9, 1), 2) == ["09-05 09:00", "09-19 09:00"]


@pytest.mark.parametrize("sunday", ["0", "7", "SUN"])
def test_sunday_is_0_and_7(sunday: str) -> None:
    assert first(Cron(f"30 6 * * {sunday}"), utc(2025, 9, 1), 2) == ["09-07 06:30", "09-14 06:30"]


def test_slots_come_strictly_after_the_moment_and_do_not_depend_on_its_fraction() -> None:
    assert first(Cron("0 9 * * *"), utc(2025, 9, 1, 9), 1) == ["09-02 09:00"]
    assert first(Cron("0 9 * * *"), utc(2025, 9, 1, 8, 59, 59, 999_999), 1) == ["09-01 09:00"]


# Berlin 2025: 30 March 02:00 -> 03:00 (01:00 UTC); 26 October 03:00 -> 02:00 (01:00 UTC).
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["03-29 01:30", "03-30 01:00", "03-31 00:30"]),
        ("15,45 2 * * *", ["03-29 01:15", "03-29 01:45", "03-30 01:00", "03-31 00:15"]),
        ("0 2,3 * * *", ["03-29 01:00", "03-29 02:00", "03-30 01:00", "03-31 00:00"]),
        ("*/30 2 * * *", ["03-29 01:00", "03-29 01:30", "03-31 00:00"]),
        ("30 * * * *", ["03-29 00:30", "03-29 01:30", "03-29 02:30"]),
    ],
)
def test_a_wall_time_in_a_gap_runs_once_after_it_but_not_with_a_wildcard(text: str, expected: list[str]) -> None:
    assert first(Cron(text, BERLIN), utc(2025, 3, 29), len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["10-26 00:30", "10-27 01:30"]),
        ("15,45 2 * * *", ["10-26 00:15", "10-26 00:45", "10-27 01:15"]),
        ("*/30 2 * * *", ["10-26 00:00", "10-26 00:30", "10-26 01:00", "10-26 01:30", "10-27 01:00"]),
        ("5 */2 * * *", ["10-25 22:05", "10-26 00:05", "10-26 01:05", "10-26 03:05"]),
        ("10-50/20 2 * * *", ["10-26 00:10", "10-26 00:30", "10-26 00:50", "10-26 01:10", "10-26 01:30"]),
    ],
)
def test_a_wall_time_that_comes_twice_runs_once_but_twice_with_a_wildcard_or_step(
    text: str, expected: list[str]
) -> None:
    assert first(Cron(text, BERLIN), utc(2025, 10, 25, 22), len(expected)) == expected


def test_every_minute_of_an_hour_that_comes_twice_is_a_slot_once() -> None:
    found = list(islice(Cron("* * * * *", NEW_YORK).slots(utc(2025, 11, 2, 4, 59)), 240))

    assert found == [utc(2025, 11, 2, 5) + timedelta(minutes=number) for number in range(240)]


def test_asking_from_inside_the_second_hour_gives_what_is_left_of_it() -> None:
    assert first(Cron("*/20 1 * * *", NEW_YORK), utc(2025, 11, 2, 6, 10), 3) == [
        "11-02 06:20",
        "11-02 06:40",
        "11-03 06:00",
    ]


def test_zones_that_shift_by_half_an_hour() -> None:
    # Lord Howe: 6 April 2025 02:00 -> 01:30 (5 April 15:00 UTC); 5 October 02:00 -> 02:30 (4 October 15:30 UTC).
    assert first(Cron("*/15 1 * * *", LORD_HOWE), utc(2025, 4, 5, 13), 7) == [
        "04-05 14:00",
        "04-05 14:15",
        "04-05 14:30",
        "04-05 14:45",
        "04-05 15:00",
        "04-05 15:15",
        "04-06 14:30",
    ]
    assert first(Cron("15 2 * * *", LORD_HOWE), utc(2025, 10, 4, 12), 2) == ["10-04 15:30", "10-05 15:15"]


def test_a_midnight_that_does_not_exist_runs_when_the_day_begins() -> None:
    # Cairo: 25 April 2025 00:00 -> 01:00 (24 April 22:00 UTC).
    assert first(Cron("0 0 * * *", "Africa/Cairo"), utc(2025, 4, 24, 12), 2) == ["04-24 22:00", "04-25 21:00"]
    assert first(Cron("*/30 0 * * *", "Africa/Cairo"), utc(2025, 4, 24, 12), 2) == ["04-25 21:00", "04-25 21:30"]


@pytest.mark.parametrize("zone", ["UTC", BERLIN, NEW_YORK, LORD_HOWE, "Pacific/Apia"])
@pytest.mark.parametrize("text", ["*/7 * * * *", "13 2 * * *", "0 */5 * * 1-5", "59 23 28-31 * *"])
def test_slots_are_the_same_from_wherever_one_begins(zone: str, text: str) -> None:
    """Many beats ask from different moments; they must agree."""
    begin = utc(2025, 10, 1)
    all_slots = list(islice(Cron(text, zone).slots(begin), 400))

    assert all_slots == sorted(set(all_slots))
    for number in range(0, 399, 13):
        assert list(islice(Cron(text, zone).slots(all_slots[number]), 1)) == [all_slots[number + 1]]


# Six hours around each change: Berlin and New York back by an hour, Lord Howe by half of one, Berlin forward.
@pytest.mark.parametrize(
    ("zone", "begin"),
    [
        (BERLIN, utc(2026, 10, 24, 22)),
        (NEW_YORK, utc(2026, 11, 1, 3)),
        (LORD_HOWE, utc(2026, 4, 4, 12)),
        (BERLIN, utc(2026, 3, 28, 22)),
    ],
)
@pytest.mark.parametrize("text", ["0 * * * *", "*/20 * * * *", "30 */2 * * *", "30 1,2 * * *", "* * * * *"])
def test_who_asks_anew_after_every_slot_gets_them_all_when_clocks_change(zone: str, begin: datetime, text: str) -> None:
    """Beat does: it asks for the first slot after the last."""
    timetable = Timetable(Cron(text, zone))
    in_one_walk = list(takewhile(lambda slot: slot <= begin + timedelta(hours=6), timetable.slots(begin)))

    one_by_one, at = [], begin
    while (at := timetable.first(at)) and at <= begin + timedelta(hours=6):
        one_by_one.append(at)

    assert one_by_one == in_one_walk


def test_an_hour_that_comes_twice_is_due_twice_for_who_asks_anew() -> None:
    hourly = Timetable(Cron("0 * * * *", BERLIN))

    assert [hourly.first(utc(2026, 10, 25, hour)) for hour in range(3)] == [utc(2026, 10, 25, n) for n in (1, 2, 3)]


# --- The newest -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "timing",
    [
        Cron("* * * * *", BERLIN),
        Cron("*/7 3 * * 1-5"),
        Cron("0 0 1 1 *"),
        Cron("*/5 * * 1-2 *", NEW_YORK),
        Every(timedelta(minutes=7), utc(2025, 1, 1)),
        Once(utc(2025, 3, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 10, 1000])
def test_the_newest_slots_are_the_last_of_all(timing: Any, count: int) -> None:
    timetable, after, until = Timetable(timing), utc(2025, 1, 1), utc(2025, 5, 1, 12)

    found = timetable.newest(after, until, count=count)

    assert found == list(takewhile(lambda slot: slot <= until, timetable.slots(after)))[-count:]


def test_the_newest_slots_of_a_year_are_found_without_a_walk_through_it() -> None:
    class Counted(Every):
        def slots(self, after: datetime) -> Iterator[datetime]:
            for slot in super().slots(after):
                walked.append(slot)
                yield slot

    walked: list[datetime] = []
    timetable = Timetable(Counted(timedelta(minutes=1), utc(2024, 1, 1)))

    found = timetable.newest(utc(2024, 1, 1), utc(2025, 1, 1), count=1000)

    assert (found[0], found[-1], len(found)) == (utc(2024, 12, 31, 7, 21), utc(2025, 1, 1), 1000)
    assert len(walked) < 3000


def test_what_never_comes_has_no_slots() -> None:
    assert not is_cron("0 0 31 2 *")
    with pytest.raises(CronSimError):
        next_slots("0 0 31 2 *", count=1)
    assert list(Once(utc(2025, 1, 1)).slots(utc(2025, 1, 1))) == []


def test_an_interval_counts_from_its_anchor_whoever_asks() -> None:
    every = Every(timedelta(minutes=7), utc(2025, 1, 1, 0, 2))

    assert first(every, utc(2024, 12, 31), 2) == ["01-01 00:02", "01-01 00:09"]
    assert first(every, utc(2025, 1, 1, 0, 9), 1) == ["01-01 00:16"]
    assert first(every, utc(2025, 1, 1, 0, 15, 59), 1) == ["01-01 00:16"]


def test_a_timetable_begins_and_ends() -> None:
    timetable = Timetable(Cron("0 * * * *"), starts_at=utc(2025, 1, 1, 5), ends_at=utc(2025, 1, 1, 7))

    assert first(timetable, utc(2024, 12, 1), 9) == ["01-01 05:00", "01-01 06:00"]
    assert timetable.first(utc(2025, 1, 1, 6)) is None


def test_a_cron_expression_is_told_in_words() -> None:
    assert in_words("0 9 * * 1") == "At 09:00 on Monday"
    assert in_words("nonsense") == "nonsense"


# --- The one rule -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "*/5 0-23/2 1,15 JAN-jun MON-FRI",
        "0 9 * * 7",
        " 0\t9  * * sun ",
        "00 09 01 01 *",
        "0 0 29 2 *",
        "0 0 30 2 1",
        "0 0 * * " + "0," * 31 + "1",
    ],
)
def test_what_crontab_5_describes_is_a_cron_expression(text: str) -> None:
    assert is_cron(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@daily",
        "0 0 L * *",
        "0 0 LW * *",
        "0 0 15W * *",
        "0 0 * * 5#3",
        "0 0 * * 5L",
        "0 0 ? * *",
        "*/99999999999999 * * * *",
        "*/60 * * * *",
        "*/0 * * * *",
        "5/15 * * * *",
        "0 22-2 * * *",
        "0 0 * * FRI-MON",
        "0 0 * * MON-7",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
        "60 * * * *",
        "0 9 * *",
        "0 9 * * * *",
        "0\n9 * * *",
        "\u0660 9 * * *",
        "0 0 * * " + "0," * 32 + "1",
        "0 9 * * 1" + " " * 92,
    ],
)
def test_what_it_does_not_describe_or_the_rows_cannot_hold_is_none(text: str) -> None:
    assert not is_cron(text)


_ITEM = st.from_regex(
    r"(\*|[0-9]{1,2}(-[0-9]{1,2})?|[A-Z]{3}|MON-[0-7]|[0-7]-SUN|SUN-TUE|JAN-MAR)(/[0-9]{1,2})?", fullmatch=True
)
_FIELD = st.lists(_ITEM, min_size=1, max_size=3).map(",".join)


@settings(max_examples=500, deadline=None)
@given(fields=st.lists(_FIELD | st.just("*"), min_size=5, max_size=5))
def test_every_cron_expression_can_be_stored_told_and_followed(fields: list[str]) -> None:
    text = " ".join(fields)
    if not is_cron(text):
        return

    try:
        validators.crontab_validator(text)
    except ValidationError as error:
        pytest.fail(f"{text}: {error}")
    assert in_words(text)
    assert len(next_slots(text, count=1, after=utc(2025, 1, 1), zone=BERLIN)) == 1


# --- The ends of the calendar -----------------------------------------------------------------------
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "Pacific/Apia", "America/Anchorage"])
@pytest.mark.parametrize("moment", [FIRST, LAST])
def test_no_moment_leaves_the_calendar(zone: str, moment: datetime) -> None:
    for timing in (Cron("0 9 * * *", zone), Every(timedelta(days=36_500), moment), Once(moment)):
        for timetable in (Timetable(timing), Timetable(timing, moment), Timetable(timing, None, moment)):
            for after in (FIRST, utc(2025, 1, 1), LAST):
                assert all(slot < LATEST for slot in islice(timetable.slots(after), 3))


def test_a_schedule_from_the_last_day_on_has_no_slot_and_one_from_the_first_has_all() -> None:
    assert Timetable(Cron("0 9 * * *"), starts_at=LAST).first(utc(2025, 1, 1)) is None
    assert Timetable(Cron("0 9 * * *"), starts_at=FIRST).first(utc(2025, 1, 1)) == utc(2025, 1, 1, 9)
    assert Timetable(Cron("0 9 * * *"), ends_at=LAST).first(utc(2025, 1, 1)) == utc(2025, 1, 1, 9)
    assert list(Every(timedelta(days=999_999_999), FIRST).slots(utc(2025, 1, 1))) == []
