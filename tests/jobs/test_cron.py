"""When a cron expression comes, and what a change of the clock does to it."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from presque.errors import InvalidSchedule
from presque.jobs.cron import Cron, zone_of

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
LORD_HOWE, SANTIAGO = "Australia/Lord_Howe", "America/Santiago"

# Zone, expression, a moment, and the times after it, with their offsets: worked out by hand. The changes of the clock:
#   Berlin     2026-03-29 02:00+01 -> 03:00+02          2026-10-25 03:00+02 -> 02:00+01
#   New York   2026-03-08 02:00-05 -> 03:00-04          2026-11-01 02:00-04 -> 01:00-05
#   Lord Howe  2026-10-04 02:00+10:30 -> 02:30+11       2026-04-05 02:00+11 -> 01:30+10:30
#   Santiago   2026-09-06 00:00-04 -> 01:00-03          2026-04-05 00:00-03 -> 2026-04-04 23:00-04
CASES = [
    # A time in the gap comes at the first moment after it, and once however many there are.
    (BERLIN, "30 2 * * *", "2026-03-28T12:00+01", "2026-03-29T03:00+02 2026-03-30T02:30+02"),
    (BERLIN, "0 2 * * *", "2026-03-28T12:00+01", "2026-03-29T03:00+02 2026-03-30T02:00+02"),
    (BERLIN, "59 2 * * *", "2026-03-28T12:00+01", "2026-03-29T03:00+02 2026-03-30T02:59+02"),
    (BERLIN, "0 2,3 * * *", "2026-03-28T12:00+01", "2026-03-29T03:00+02 2026-03-30T02:00+02 2026-03-30T03:00+02"),
    (BERLIN, "*/20 2 * * *", "2026-03-28T12:00+01", "2026-03-29T03:00+02 2026-03-30T02:00+02 2026-03-30T02:20+02"),
    (BERLIN, "30 2 29 3 *", "2026-01-01T00:00+01", "2026-03-29T03:00+02 2027-03-29T02:30+02"),
    (BERLIN, "0 1-4 * * *", "2026-03-29T00:00+01", "2026-03-29T01:00+01 2026-03-29T03:00+02 2026-03-29T04:00+02"),
    (BERLIN, "30 2 * * *", "2026-03-29T01:59+01", "2026-03-29T03:00+02"),
    (BERLIN, "30 2 * * *", "2026-03-29T03:00+02", "2026-03-30T02:30+02"),
    # Times beside it are not touched.
    (BERLIN, "0 3 * * *", "2026-03-28T12:00+01", "2026-03-29T03:00+02 2026-03-30T03:00+02"),
    (BERLIN, "0 0 * * *", "2026-03-28T12:00+01", "2026-03-29T00:00+01 2026-03-30T00:00+02"),
    # An hour of * or a step goes by what the clock shows.
    (BERLIN, "30 * * * *", "2026-03-29T00:45+01", "2026-03-29T01:30+01 2026-03-29T03:30+02 2026-03-29T04:30+02"),
    (BERLIN, "0 */2 * * *", "2026-03-28T23:00+01", "2026-03-29T00:00+01 2026-03-29T04:00+02 2026-03-29T06:00+02"),
    (BERLIN, "*/15 0-23/1 * * *", "2026-03-29T01:40+01", "2026-03-29T01:45+01 2026-03-29T03:00+02"),
    # A time that comes twice comes the first time.
    (BERLIN, "30 2 * * *", "2026-10-24T12:00+02", "2026-10-25T02:30+02 2026-10-26T02:30+01"),
    (BERLIN, "30 2 * * *", "2026-10-25T02:30+02", "2026-10-26T02:30+01"),
    (BERLIN, "30 2 * * *", "2026-10-25T02:15+01", "2026-10-26T02:30+01"),
    (BERLIN, "*/20 2 * * *", "2026-10-25T02:30+02", "2026-10-25T02:40+02 2026-10-26T02:00+01"),
    (BERLIN, "0 1-3 * * *", "2026-10-25T00:30+02", "2026-10-25T01:00+02 2026-10-25T02:00+02 2026-10-25T03:00+01"),
    (BERLIN, "30 * * * *", "2026-10-25T01:45+02", "2026-10-25T02:30+02 2026-10-25T02:30+01 2026-10-25T03:30+01"),
    (BERLIN, "0 */2 * * *", "2026-10-25T00:30+02", "2026-10-25T02:00+02 2026-10-25T02:00+01 2026-10-25T04:00+01"),
    (BERLIN, "* * * * *", "2026-10-25T02:58+02", "2026-10-25T02:59+02 2026-10-25T02:00+01 2026-10-25T02:01+01"),
    (BERLIN, "0 2/6 * * *", "2026-10-25T01:00+02", "2026-10-25T02:00+02 2026-10-25T02:00+01 2026-10-25T08:00+01"),
    (NEW_YORK, "15 2 * * 0", "2026-03-07T12:00-05", "2026-03-08T03:00-04 2026-03-15T02:15-04"),
    (NEW_YORK, "30 1 * * *", "2026-03-07T12:00-05", "2026-03-08T01:30-05 2026-03-09T01:30-04"),
    (NEW_YORK, "45 */3 * * *", "2026-03-08T00:00-05", "2026-03-08T00:45-05 2026-03-08T03:45-04 2026-03-08T06:45-04"),
    (NEW_YORK, "30 2 * * 1-5", "2026-03-06T12:00-05", "2026-03-09T02:30-04"),
    (NEW_YORK, "0 1 * * *", "2026-10-31T12:00-04", "2026-11-01T01:00-04 2026-11-02T01:00-05"),
    (NEW_YORK, "0,30 1 * * *", "2026-11-01T01:10-04", "2026-11-01T01:30-04 2026-11-02T01:00-05"),
    (NEW_YORK, "0,30 * * * *", "2026-11-01T01:10-04", "2026-11-01T01:30-04 2026-11-01T01:00-05 2026-11-01T01:30-05"),
    (NEW_YORK, "5 1 1 11 *", "2026-11-01T01:30-04", "2027-11-01T01:05-04"),
    (NEW_YORK, "0 0 1 * *", "2026-10-15T00:00-04", "2026-11-01T00:00-04 2026-12-01T00:00-05"),
    (LORD_HOWE, "15 2 * * *", "2026-10-03T12:00+10:30", "2026-10-04T02:30+11 2026-10-05T02:15+11"),
    (LORD_HOWE, "45 2 * * *", "2026-10-03T12:00+10:30", "2026-10-04T02:45+11 2026-10-05T02:45+11"),
    (LORD_HOWE, "0,15,30 2 * * *", "2026-10-03T12:00+10:30", "2026-10-04T02:30+11 2026-10-05T02:00+11"),
    (LORD_HOWE, "0 */2 * * *", "2026-10-04T00:30+10:30", "2026-10-04T04:00+11 2026-10-04T06:00+11"),
    (LORD_HOWE, "*/10 * * * *", "2026-10-04T01:45+10:30", "2026-10-04T01:50+10:30 2026-10-04T02:30+11"),
    (LORD_HOWE, "45 1 * * *", "2026-04-04T12:00+11", "2026-04-05T01:45+11 2026-04-06T01:45+10:30"),
    (LORD_HOWE, "0 2 * * *", "2026-04-04T12:00+11", "2026-04-05T02:00+10:30 2026-04-06T02:00+10:30"),
    (LORD_HOWE, "0 */2 * * *", "2026-04-05T01:00+11", "2026-04-05T02:00+10:30 2026-04-05T04:00+10:30"),
    (
        LORD_HOWE,
        "*/15 * * * *",
        "2026-04-05T01:40+11",
        "2026-04-05T01:45+11 2026-04-05T01:30+10:30 2026-04-05T01:45+10:30 2026-04-05T02:00+10:30",
    ),
    (SANTIAGO, "0 0 * * *", "2026-09-05T12:00-04", "2026-09-06T01:00-03 2026-09-07T00:00-03"),
    (SANTIAGO, "30 0 * * 0", "2026-09-05T12:00-04", "2026-09-06T01:00-03 2026-09-13T00:30-03"),
    (SANTIAGO, "0 * * * 0", "2026-09-05T23:30-04", "2026-09-06T01:00-03 2026-09-06T02:00-03"),
    (SANTIAGO, "30 23 * * *", "2026-04-04T12:00-03", "2026-04-04T23:30-03 2026-04-05T23:30-04"),
    (SANTIAGO, "30 23 * * 6", "2026-04-04T23:30-03", "2026-04-11T23:30-04"),
    (SANTIAGO, "0 0 * * *", "2026-04-04T12:00-03", "2026-04-05T00:00-04 2026-04-06T00:00-04"),
    (
        SANTIAGO,
        "*/30 * 4 4 *",
        "2026-04-04T23:10-03",
        "2026-04-04T23:30-03 2026-04-04T23:00-04 2026-04-04T23:30-04 2027-04-04T00:00-04",
    ),
    # What has no changes.
    ("Asia/Kathmandu", "0 0 * * *", "2026-04-04T12:00+05:45", "2026-04-05T00:00+05:45"),
    ("UTC", "0 7 * * 1-5", "2026-11-27T07:00+00", "2026-11-30T07:00+00"),
]


def epoch(text):
    """The epoch seconds of a time with its offset: 2026-03-29T03:00+02."""
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(("zone", "expression", "moment", "times"), CASES)
def test_a_change_of_the_clock(zone, expression, moment, times):
    cron, time = Cron(expression, zone), epoch(moment)
    for expected in times.split():
        time = cron.after(time)
        found = datetime.fromtimestamp(time, ZoneInfo(zone))  # two times that a clock shows twice are never equal
        assert found.isoformat() == datetime.fromisoformat(expected).isoformat()


def test_there_are_enough_cases():
    assert len(CASES) >= 40
    assert len({zone for zone, *_ in CASES}) >= 4


@pytest.mark.parametrize(
    ("expression", "moment", "times"),
    [
        ("0 7 * * 1-5", "2026-11-26T21:00+00", "2026-11-27T07:00+00 2026-11-30T07:00+00"),
        ("* * * * *", "2026-11-26T21:00:30.5+00", "2026-11-26T21:01+00 2026-11-26T21:02+00"),
        ("0 0 29 2 *", "2026-11-26T21:00+00", "2028-02-29T00:00+00 2032-02-29T00:00+00"),
        ("0 0 13 * 5", "2026-11-26T21:00+00", "2026-11-27T00:00+00 2026-12-04T00:00+00"),  # one of the two is enough
        ("0 0 */10 * 5", "2026-11-26T21:00+00", "2026-12-11T00:00+00 2027-01-01T00:00+00"),  # both: one has a *
        ("0 0 * * 7", "2026-11-26T21:00+00", "2026-11-29T00:00+00"),
        ("0 0 * jan mon", "2026-11-26T21:00+00", "2027-01-04T00:00+00"),
        ("0 0 * * SUN,Wed", "2026-11-26T21:00+00", "2026-11-29T00:00+00 2026-12-02T00:00+00"),
        ("10-20/5 8,20 * * *", "2026-11-26T21:00+00", "2026-11-27T08:10+00 2026-11-27T08:15+00 2026-11-27T08:20+00"),
        ("0 0 L * *", "2026-11-26T21:00+00", "2026-11-30T00:00+00 2026-12-31T00:00+00"),
        ("0 0 LW * *", "2027-01-01T00:00+00", "2027-01-29T00:00+00 2027-02-26T00:00+00"),
        ("0 9 * * 5L", "2026-11-28T00:00+00", "2026-12-25T09:00+00"),
        ("0 9 * * MON#1", "2026-11-26T21:00+00", "2026-12-07T09:00+00"),
        ("\t0  0\t* * *  ", "2026-11-26T21:00+00", "2026-11-27T00:00+00"),
    ],
)
def test_the_fields_mean_what_they_mean_to_cron(expression, moment, times):
    cron, time = Cron(expression, "UTC"), epoch(moment)
    for expected in times.split():
        time = cron.after(time)
        assert time == epoch(expected), expected


def test_a_time_that_never_comes_is_none():
    assert Cron("* * */20 * 1L", "UTC").after(0) is None  # neither the 1st nor the 21st is ever the last Monday


ALL = "abcLW#*/,- 0159"
BAD = ["", " ", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "@daily"]
BAD += [
    "a * * * *",
    "-1 * * * *",
    "5-1 * * * *",
    "*/0 * * * *",
    "1,,2 * * * *",
    "1. * * * *",
    "* * * foo *",
    "0 0 30 2 *",
]
BAD += ["0 0 31 4,6,9,11 *", "\u0661 * * * *", "1\u00a01 1 1 1", "* * * *\n*", "1" * 100_000]
BAD += [
    "*," * 400 + "* * * * *",
    "² * * * *",
    "* * * * *\x00",
    "0x1 * * * *",
    "1_0 * * * *",
    "99999999999999999999 * * * *",
    "* * * * 1#6",
    "? * * * *",
]


@pytest.mark.parametrize("expression", BAD, ids=lambda text: ascii(text[:20]))
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(InvalidSchedule):
        Cron(expression, "UTC")


def test_no_text_breaks_it():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, good = random.Random(seed), 0
    for _ in range(5000):
        fields = [chance.choice(["*", "".join(chance.choices(ALL, k=chance.randint(1, 5)))]) for _ in range(5)]
        try:
            found = Cron(" ".join(fields), "UTC").after(1.8e9)
        except InvalidSchedule:
            continue
        good += 1
        assert found is None or found > 1.8e9
    assert good


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/passwd", "../UTC", "Europe/../UTC", "Europe//Berlin", "Europe", "Europe/Berlin/", "europe/nowhere"]
    + ["localtime", "posixrules", "Factory", "posix/UTC", "right/UTC", "zone.tab", "tzdata.zi", "leapseconds", "A" * 99]
    + ["\x00", "UTC\x00", "UTC\n", "Europe\\Berlin", "\udce9", "é", "CET-1CEST", "+02:00", "__init__"],
    ids=ascii,
)
def test_what_is_no_zone_is_refused(name):
    with pytest.raises(InvalidSchedule):
        zone_of(name)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "EST5EDT"])
def test_a_zone_is_found(name):
    assert zone_of(name).key == name


def shown_minutes(zone, first, count):
    """Each of `count` minutes from `first` on, and what the clock shows then."""
    for minute in range(count):
        moment = first + timedelta(minutes=minute)
        yield moment, moment.astimezone(zone).replace(tzinfo=None)


def plainly(zone, matches, goes_on, first, count):
    """The times by looking at every minute: the rule, not the way in which it is carried out."""
    found, before = [], None
    seen = set()
    for moment, shown in shown_minutes(zone, first, count):
        passed = (
            [] if before is None else [before + timedelta(minutes=n) for n in range(1, 1 + minutes(shown - before))]
        )
        if goes_on:
            comes = matches(shown)
        else:
            comes = any(matches(each) and each not in seen for each in passed or [shown])
            seen |= {*passed, shown}
        if comes:
            found.append(moment.timestamp())
        before = shown
    return found


def minutes(span):
    return max(0, round(span.total_seconds() / 60))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (BERLIN, "2026-03-29T01:00+00"),
        (BERLIN, "2026-10-25T01:00+00"),
        (NEW_YORK, "2026-03-08T07:00+00"),
        (NEW_YORK, "2026-11-01T06:00+00"),
        (LORD_HOWE, "2026-10-03T15:30+00"),
        (LORD_HOWE, "2026-04-04T15:00+00"),
        (SANTIAGO, "2026-09-06T04:00+00"),
        (SANTIAGO, "2026-04-05T03:00+00"),
        ("Africa/Casablanca", "2026-03-22T02:00+00"),
        ("Asia/Beirut", "2026-03-28T22:00+00"),
    ],
)
def test_it_agrees_with_a_look_at_every_minute(name, change):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, zone = random.Random(seed), ZoneInfo(name)
    first = datetime.fromisoformat(change).astimezone(UTC) - timedelta(hours=30)
    for _ in range(12):
        minute = chance.choice(
            [None, *({chance.randrange(60) for _ in range(chance.choice([1, 3]))} for _ in range(3))]
        )
        hour = chance.choice([None, 2, 3, {chance.randrange(24)}, {0, 1, 2, 3, 22, 23} - {chance.randrange(4)}])
        hours = {*range(0, 24, hour)} if isinstance(hour, int) else hour
        texts = [
            "*" if each is None else f"*/{each}" if isinstance(each, int) else ",".join(map(str, each))
            for each in (minute, hour)
        ]

        def matches(shown, minute=minute, hours=hours):
            return (minute is None or shown.minute in minute) and (hours is None or shown.hour in hours)

        expected = plainly(zone, matches, hour is None or isinstance(hour, int), first, 60 * 60)
        cron, time, found = Cron(f"{texts[0]} {texts[1]} * * *", name), first.timestamp(), []
        while (time := cron.after(time)) < first.timestamp() + 3600 * 60:
            found.append(time)
        # The first minute is not after itself.
        assert found == [each for each in expected if each > first.timestamp()], texts
