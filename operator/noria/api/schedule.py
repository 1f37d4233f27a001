"""When a Pipeline runs by itself, and which of its runs are kept."""

from typing import Annotated, Literal

from pydantic import Field

from noria.api.meta import Model, map_list
from noria.api.ports import Given


class Schedule(Model):
    """Starts a run at each of the times that an expression names, as a CronJob starts Jobs."""

    cron: Annotated[str, Field(min_length=9, max_length=256, pattern=r"^[0-9A-Za-z*,/#-]+( +[0-9A-Za-z*,/#-]+){4}$")]
    """Minute, hour, day of the month, month, day of the week, for example `30 2 * * MON-FRI`, as Debian's cron reads them."""
    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][-A-Za-z0-9_+/]*$")] = "Etc/UTC"
    """Name of the IANA time zone that the expression is meant in, for example `Europe/Berlin`. Default Etc/UTC."""
    concurrency_policy: Literal["Allow", "Forbid", "Replace"] = "Allow"
    """What happens while a run that the schedule started has not ended. Allow: another starts beside it. Forbid: the start waits
    for its end, and of several that wait the newest is made up for. Replace: it is cancelled, and the start waits for its end.
    Default Allow."""
    starting_deadline_seconds: Annotated[int, Field(ge=1, le=315_360_000)] | None = None
    """Seconds, ten years at most, after its time for which a start may still be made up for; later it is missed. Absent: any time."""
    suspend: bool = False
    """True: nothing starts; the newest start that was due meanwhile is made up for afterwards, within the deadline. Default false."""
    parameters: Annotated[list[Given], Field(max_length=128, json_schema_extra=map_list("name"))] = []
    """Values of the pipeline's parameters."""


class HistoryLimits(Model):
    """How many of the runs that have ended are kept; the oldest beyond are deleted, with their Jobs."""

    succeeded: Annotated[int, Field(ge=0)] | None = None
    """Of those that succeeded; absent: all."""
    failed: Annotated[int, Field(ge=0)] | None = None
    """Of those that failed, were cancelled, or ran out of time; absent: all."""
