"""When a schedule is due: the times of a cron expression in a time zone, as moments in UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from noria.api.schedule import Schedule

COUNTED = 100
"""Most times that are gone through one by one."""
ANY = datetime(2026, 1, 1, tzinfo=UTC)
SHIFT = timedelta(hours=3)
"""More than any change of the clock: so far back the order of times is certain."""


def fault(schedule: Schedule) -> tuple[str, str, str] | None:
    """Field, fault and remedy of a schedule that cannot be followed."""
    if _zone(schedule) is None:
        return "timeZone", f"there is no time zone {schedule.time_zone}", "name one of IANA's, as Europe/Berlin"
    try:
        CronSim(schedule.cron, ANY)
    except CronSimError as error:
        text = f"{schedule.cron} is no cron expression: {error}"
        return "cron", text, "write minute, hour, day of the month, month and day of the week, as in 30 2 * * MON-FRI"
    if following(schedule, ANY) is None:
        return "cron", f"{schedule.cron} names no time within 50 years", "correct the day or the month"
    return None


def times(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """The times after a moment, each once. A time that the clock leaps over comes when it has leapt, one that the clock
    shows twice comes the first time; but `*` as minute or hour, or with a step, keeps its pace. The schedule has no fault."""
    newest = after
    for each in CronSim(schedule.cron, after.astimezone(_zone(schedule))):
        if (moment := each.astimezone(UTC)) > newest:
            newest = moment
            yield moment


def following(schedule: Schedule, after: datetime) -> datetime | None:
    """The first time after a moment."""
    return next(times(schedule, after), None)


def newest(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    """The last time after `after` and up to `now`; however many there are, few are gone through."""
    found = None
    for each in islice(times(schedule, after), COUNTED):
        if each > now:
            return found
        found = each
    if found is None:
        return None
    back = next(CronSim(schedule.cron, now.astimezone(_zone(schedule)), reverse=True)).astimezone(UTC)
    for each in times(schedule, max(found, back - SHIFT)):
        if each > now:
            break
        found = each
    return found


def count(schedule: Schedule, after: datetime, until: datetime, but: frozenset[datetime] = frozenset()) -> int:
    """How many times lie after `after` and up to `until`, without some; at most 100."""
    number = 0
    for each in times(schedule, after):
        if each > until or number == COUNTED:
            break
        number += each not in but
    return number


def _zone(schedule: Schedule) -> ZoneInfo | None:
    try:
        return ZoneInfo(schedule.time_zone)
    except (KeyError, ValueError, OSError):  # unknown, no path, a folder
        return None
