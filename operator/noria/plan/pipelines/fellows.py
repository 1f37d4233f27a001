"""The runs of one Pipeline as its controller sees them, and which of those that have ended go."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from noria.api.pipeline import Pipeline
from noria.api.schedule import HistoryLimits
from noria.plan.contract import Manifest, Selector
from noria.plan.manifests import moment

SCHEDULED = "noria.dev/scheduled-at"
"""Label of a run that a schedule started: the time, in UTC."""
STAMP = "%Y%m%dT%H%MZ"
AT_ONCE = 50
"""Most runs that one plan deletes; the rest follows when these are gone."""
SEEN = timedelta(seconds=60)
"""So long after its end a run stays of which a deploy step ended without its version: an Endpoint that is on its way to that
must read in the run's record that the wish was taken back."""


class Fellow(NamedTuple):
    """A run, read no further than the Pipeline needs: it may hold 500 steps."""

    live: Manifest
    ours: bool
    """The schedule started it."""
    foreign: bool
    """It belongs to another object, for example an Endpoint."""

    @property
    def name(self) -> str:
        return str(self.live["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.live["metadata"].get("uid", ""))

    @property
    def begun(self) -> bool:
        return "frozen" in self._status

    @property
    def ended(self) -> str:
        """When; empty: not yet."""
        return str(self._status.get("completionTime", ""))

    @property
    def succeeded(self) -> bool:
        conditions = self._status.get("conditions", [])
        return any(each["type"] == "Succeeded" and each["status"] == "True" for each in conditions)

    @property
    def stops(self) -> bool:
        """It is to end before its time."""
        return bool(self.live["spec"].get("cancel")) or self.goes

    @property
    def goes(self) -> bool:
        """It is being deleted."""
        return "deletionTimestamp" in self.live["metadata"]

    @property
    def takes_from(self) -> set[str]:
        """Earlier runs whose results it may keep."""
        return {*self._status.get("sources", []), self.live["spec"].get("rerunOf", "")}

    @property
    def stays_until(self) -> datetime | None:
        """Until when an Endpoint may have to read it; None: none has."""
        wished = any("deploy" in each and each["state"] == "Failed" for each in self._status.get("steps", []))
        return moment(self.ended) + SEEN if wished and self.ended else None

    @property
    def at(self) -> datetime | None:
        """The time for which the schedule started it."""
        text = (self.live["metadata"].get("labels") or {}).get(SCHEDULED, "")
        try:
            return datetime.strptime(text.replace("Z", "+0000"), STAMP.replace("Z", "%z")) if self.ours else None
        except ValueError:  # anyone may write labels
            return None

    @property
    def _status(self) -> Any:
        return self.live.get("status", {})


def runs(pipeline: Pipeline) -> Selector:
    """Where they are found."""
    return Selector("PipelineRun", pipeline.metadata.namespace, ".pipeline", pipeline.metadata.name)


def of(pipeline: Pipeline, found: Iterable[Manifest]) -> list[Fellow]:
    """Those that were found, the oldest first."""
    mine = []
    for live in found:
        owners = {each["uid"] for each in live["metadata"].get("ownerReferences") or ()}
        ours = pipeline.metadata.uid in owners
        mine.append(Fellow(live, ours, bool(owners) and not ours))
    return sorted(mine, key=lambda each: (str(each.live["metadata"].get("creationTimestamp", "")), each.name))


def outlived(limits: HistoryLimits, fellows: Sequence[Fellow]) -> list[Fellow]:
    """Runs that have ended and go, the oldest first. Those of another object are neither counted nor deleted, and what a
    run takes from stays until it has ended."""
    needed = {name for each in fellows if not each.ended for name in each.takes_from}
    ended = [each for each in fellows if each.ended and not each.foreign and not each.goes]
    ended.sort(key=lambda each: (each.ended, each.name))
    gone: set[str] = set()
    for succeeded, limit in ((True, limits.succeeded), (False, limits.failed)):
        if limit is not None:
            group = [each.uid for each in ended if each.succeeded is succeeded]
            gone |= set(group[: max(0, len(group) - limit)])
    return [each for each in ended if each.uid in gone and each.name not in needed][:AT_ONCE]
