"""The reconciler beside what somebody else has made: under a name that it needs, or with its labels; and where it is refused."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from noria.plan import pipeline, pipelinerun, trainingjob
from noria.plan.contract import KINDS, Controller, Event, Manifest, Needs, Plan, Ref, Settings
from noria.plan.pipelines.scheduling import run_name
from noria.runtime.cluster import Cluster
from noria.runtime.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from noria.runtime.reconciler import NameTaken, Reconciler
from noria.runtime.store import Store, ref_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings(agent_image="a", trainer_image="t", serving_runtime="s", server_image="v")
AGENT_SAYS = '{"digest": "sha256:b", "files": 1, "bytes": 5, "format": "onnx", "wrong": []}'


class Server(Cluster):
    """Knows some objects; of what is written it keeps statuses, deletions, and what was applied."""

    def __init__(self, *objects: Manifest) -> None:
        self.objects = {ref_of(each): each for each in objects}
        self.statuses: list[Manifest] = []
        self.deleted: list[str] = []
        self.applied: list[Manifest] = []

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest:
        return self.objects[Ref(kind, namespace, name)]

    async def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> tuple[list[Manifest], str]:
        key, _, value = labels.partition("=")
        return [each for each in self.objects.values() if each["metadata"].get("labels", {}).get(key) == value], "9"

    async def create(self, manifest: Manifest) -> Manifest:
        if ref_of(manifest) in self.objects:
            raise AlreadyExists(409, "AlreadyExists", "it exists", "")
        return manifest

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        self.applied.append(manifest)
        return manifest

    async def replace_status(self, manifest: Manifest) -> Manifest:
        self.statuses.append(manifest["status"])
        return self.objects[ref_of(manifest)] | {"status": manifest["status"]}

    async def delete(self, manifest: Manifest) -> Manifest:
        self.deleted.append(manifest["metadata"]["name"])
        return {"kind": "Status"}


def written(kind: str, name: str, spec: Manifest, **status: Any) -> Manifest:
    metadata = {"name": name, "namespace": "n", "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1"}
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata | {"creationTimestamp": "2026-11-24T11:59:30Z"},
        "spec": spec,
        "status": status,
    }


def test_a_scheduled_run_whose_name_another_pipelines_run_has_holds_up_neither_the_queue_nor_the_history() -> None:
    spec = {"steps": [{"name": "a", "run": {"image": "i"}}], "maxConcurrentRuns": 1, "historyLimits": {"failed": 0}}
    live = written("Pipeline", "p", spec | {"schedule": {"cron": "* * * * *"}})
    taken = run_name(pipeline.Pipeline.model_validate(live), NOW)
    server = Server(
        live,
        written("PipelineRun", taken, {"pipeline": "another"}),
        written("PipelineRun", "waits", {"pipeline": "p"}),
        written("PipelineRun", "old", {"pipeline": "p"}, completionTime="2026-11-24T11:00:00Z"),
    )
    store = Store()
    for each in server.objects.values():
        store.put(each)
    reconciler = Reconciler([pipeline.CONTROLLER], server, store, SETTINGS, lambda: NOW)
    with pytest.raises(NameTaken, match=taken):
        asyncio.run(reconciler.reconcile(ref_of(live)))
    assert server.deleted == ["old"]
    (status,) = server.statuses
    assert [each["name"] for each in status["admitted"]] == ["waits"]
    assert status["conditions"][0]["reason"] == "NameTaken"


def looked_at(controller: Controller[Any], live: Manifest, made: Manifest) -> tuple[Server, Reconciler]:
    server, store = Server(live, made), Store()
    for each in (live, made):
        store.put(each)
    return server, Reconciler([controller], server, store, SETTINGS, lambda: NOW)


def made_by(owner: Manifest, kind: str, name: str, **metadata: Any) -> Manifest:
    """A Job or a pod that runs, with all labels of one that Noria has made for `owner`."""
    labels = {f"noria.dev/owner-{key}": owner["metadata"][key] for key in ("name", "uid")}
    labels |= {"noria.dev/owner-kind": owner["kind"], "noria.dev/role": "step", "noria.dev/attempt": "1"}
    about = {"name": name, "namespace": "n", "uid": "j", "resourceVersion": "2", "labels": labels}
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": about | metadata, "spec": {"template": {}}}


def by(owner: Manifest) -> Manifest:
    return {"kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}


def test_a_pod_that_bears_the_labels_of_a_run_and_is_not_its_own_is_not_ended_with_it() -> None:
    ended = {"type": "Succeeded", "status": "False", "reason": "Cancelled", "message": "spec.cancel was set"}
    ended["lastTransitionTime"] = "2026-11-24T11:59:59Z"
    live = written("PipelineRun", "r", {"pipeline": "p", "cancel": True}, conditions=[ended])
    for reference, stopped in (([], 0), ([by(live)], 0), ([by(live) | {"controller": True}], 1)):
        pod = made_by(live, "Pod", "mine", ownerReferences=reference)
        server, reconciler = looked_at(pipelinerun.CONTROLLER, live, pod)
        asyncio.run(reconciler.reconcile(ref_of(live)))
        assert server.deleted == ["mine"] * stopped


def test_a_training_does_not_take_over_a_job_that_bears_its_labels_under_the_name_it_needs() -> None:
    live = written("TrainingJob", "t", {"image": "i", "command": ["train"]})
    server, reconciler = looked_at(trainingjob.CONTROLLER, live, made_by(live, "Job", "t-1"))
    with pytest.raises(NameTaken, match="t-1"):
        asyncio.run(reconciler.reconcile(ref_of(live)))
    assert (server.applied, server.deleted) == ([], [])
    assert server.statuses[-1]["conditions"][0]["reason"] == "NameTaken"


@pytest.mark.parametrize(("refusals", "told"), [(0, 1), (1, 1), (2, 0)])
def test_an_event_that_is_refused_is_posted_once_more_and_keeps_no_status_from_being_written(
    refusals: int, told: int
) -> None:
    live, posted = written("Pipeline", "p", {"steps": [{"name": "a", "run": {"image": "i"}}]}), list[Manifest]()
    answers = [True] * refusals + [False] * 2

    class Refusing(Server):
        async def create(self, manifest: Manifest) -> Manifest:
            if answers.pop(0):
                raise Invalid(422, "Invalid", "not now", "Event")
            posted.append(manifest)
            return manifest

    event = Event("Normal", "Told", "something happened", "1")
    controller = Controller(
        pipeline.Pipeline, (), (), lambda *_: Needs(), lambda one, _: Plan(status=one.status, events=(event,))
    )
    server, store = Refusing(live), Store()
    store.put(live)
    asyncio.run(Reconciler([controller], server, store, SETTINGS, lambda: NOW).reconcile(ref_of(live)))
    assert [each["reason"] for each in posted] == ["Told"] * told
    assert len(server.statuses) == 1


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        ((0, 0.4, 0.9), ["Running", "Completed"]),
        ((0, 1.1, 1.2), ["Pending", "Running", "Completed"]),
        ((0, 60, 90), ["Pending", "Running", "Completed"]),
    ],
    ids=["at once", "after a second", "later"],
)
def test_that_a_training_begins_is_told_where_nothing_follows_within_a_second(
    seconds: tuple[float, ...], told: list[str]
) -> None:
    live, clock, made = written("TrainingJob", "t", {"image": "i", "command": ["train"]}), [NOW], list[Manifest]()

    class Keeping(Server):
        async def create(self, manifest: Manifest) -> Manifest:
            if manifest["kind"] == "Job":
                made.append(manifest | {"metadata": manifest["metadata"] | {"uid": "j", "resourceVersion": "2"}})
                return made[-1]
            return manifest

        async def replace_status(self, manifest: Manifest) -> Manifest:
            await super().replace_status(manifest)
            version = str(int(manifest["metadata"]["resourceVersion"]) + 1)
            seen = store.get(ref_of(live)) or live
            return seen | {"metadata": seen["metadata"] | {"resourceVersion": version}, "status": manifest["status"]}

    server, store = Keeping(live), Store()
    store.put(live)
    reconciler = Reconciler([trainingjob.CONTROLLER], server, store, SETTINGS, lambda: clock[0])

    async def until(second: float) -> None:
        """Looks as often as was asked for, up to that second."""
        while (after := await reconciler.reconcile(ref_of(live))) is not None:
            if (due := clock[0] + timedelta(seconds=after)) > NOW + timedelta(seconds=second):
                break
            clock[0] = due

    async def live_through() -> None:
        for number, (since, phase) in enumerate(zip(seconds, ("", "Running", "Succeeded"), strict=True)):
            clock[0] = NOW + timedelta(seconds=since)
            if phase:
                (job,) = made
                owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": "j", "controller": True}
                metadata = {"name": "t-1-0", "namespace": "n", "uid": "p", "resourceVersion": str(9 + number)}
                labels = job["spec"]["template"]["metadata"]["labels"]
                ended = {"exitCode": 0, "finishedAt": "2026-11-24T12:00:01Z", "message": AGENT_SAYS}
                agent = {"name": "agent", "state": {"terminated": ended}}
                main = {"name": "main", "state": {"terminated": ended}}
                status = {"phase": phase}
                if phase == "Succeeded":
                    status |= {"containerStatuses": [main], "initContainerStatuses": [agent]}
                about = metadata | {"labels": labels, "ownerReferences": [owner]}
                store.put({"apiVersion": "v1", "kind": "Pod", "metadata": about, "status": status})
            await until((*seconds, 1000)[number + 1] - 0.001)

    asyncio.run(live_through())
    assert [each["conditions"][0]["reason"] for each in server.statuses] == told
    assert len(made) == 1
    assert server.deleted == []


def test_a_pod_that_is_refused_is_asked_for_again_and_keeps_no_other_step_from_running() -> None:
    steps = [{"name": name, "run": {"image": "i"}} for name in ("a", "b")]
    steps.append({"name": "t", "train": {"image": "i", "command": ["train"]}})
    live = written("PipelineRun", "r", {"inline": {"steps": steps}})
    full = True

    class Full(Server):
        async def create(self, manifest: Manifest) -> Manifest:
            if full and manifest["metadata"].get("labels", {}).get("noria.dev/step") == "b":
                raise Forbidden(
                    403, "Forbidden", "exceeded quota: noria, used: cpu=4", f"Pod n/{manifest['metadata']['name']}"
                )
            return manifest | {"metadata": manifest["metadata"] | {"uid": "u", "resourceVersion": "2"}}

        async def replace_status(self, manifest: Manifest) -> Manifest:
            await super().replace_status(manifest)
            seen = store.get(ref_of(live)) or live
            version = str(int(seen["metadata"]["resourceVersion"]) + 1)
            return seen | {"metadata": seen["metadata"] | {"resourceVersion": version}, "status": manifest["status"]}

    server, store = Full(live), Store()
    store.put(live)
    reconciler = Reconciler([pipelinerun.CONTROLLER], server, store, SETTINGS, lambda: NOW)

    def states() -> dict[str, str]:
        return {each["name"]: each["state"] for each in server.statuses[-1]["steps"]}

    asyncio.run(reconciler.reconcile(ref_of(live)))
    with pytest.raises(Forbidden):
        asyncio.run(reconciler.reconcile(ref_of(live)))
    assert states() == {"a": "Running", "b": "Pending", "t": "Running"}
    (said,) = server.statuses[-1]["conditions"]
    assert said["reason"] == "QuotaExceeded" and "exceeded quota: noria" in said["message"]
    full = False
    asyncio.run(reconciler.reconcile(ref_of(live)))
    assert states() == {"a": "Running", "b": "Running", "t": "Running"}
    assert server.statuses[-1]["conditions"][0]["reason"] == "Running"


def test_nothing_is_deleted_by_what_an_object_was() -> None:
    """A process that begins behind an API server that lags sees a child whose owner's status does not know it yet."""
    live = written("Pipeline", "p", {"steps": [{"name": "a", "run": {"image": "i"}}], "historyLimits": {"failed": 0}})
    old = written("PipelineRun", "old", {"pipeline": "p"}, completionTime="2026-11-24T11:00:00Z")
    server, reconciler = looked_at(pipeline.CONTROLLER, live, old)
    newer = live | {"metadata": live["metadata"] | {"resourceVersion": "2"}}
    server.objects[ref_of(live)] = newer
    with pytest.raises(Conflict, match="changed since it was looked at"):
        asyncio.run(reconciler.reconcile(ref_of(live)))
    assert not server.deleted
    assert reconciler.store.get(ref_of(live)) == newer
    asyncio.run(reconciler.reconcile(ref_of(live)))
    assert server.deleted == ["old"]


def test_pods_that_told_nothing_of_their_jobs_end_are_asked_for() -> None:
    """Their watch is silent: without a request the training would seem to have said nothing, and be hashed once more."""
    live, clock = written("TrainingJob", "t", {"image": "i", "command": ["train"], "output": {"model": "m"}}), [NOW]
    job = made_by(live, "Job", "t-1")
    job["metadata"]["labels"]["noria.dev/role"] = "training"
    job["metadata"]["ownerReferences"] = [by(live) | {"controller": True}]
    ended = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-24T12:00:00Z"}
    job["status"] = {"conditions": [ended], "completionTime": "2026-11-24T12:00:00Z"}
    owner = {"kind": "Job", "name": "t-1", "uid": "j", "controller": True}
    pod = made_by(live, "Pod", "t-1-0", ownerReferences=[owner])
    stopped = {"terminated": {"exitCode": 0, "finishedAt": "2026-11-24T12:00:00Z"}}
    said = AGENT_SAYS.replace("sha256:b", "sha256:" + "b" * 64)
    agent = {"terminated": stopped["terminated"] | {"message": said}}
    pod["status"] = {
        "phase": "Succeeded",
        "containerStatuses": [{"name": "main", "state": stopped}],
        "initContainerStatuses": [{"name": "agent", "state": agent}],
    }
    asked, made = list[str](), list[str]()

    class Asked(Server):
        async def list(
            self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
        ) -> tuple[list[Manifest], str]:
            asked.append(kind)
            return await super().list(kind, namespace, labels=labels)

        async def create(self, manifest: Manifest) -> Manifest:
            made.append(f"{manifest['kind']} {manifest['metadata']['name']}")
            return manifest | {"metadata": manifest["metadata"] | {"uid": "u", "resourceVersion": "9"}}

    server, store = Asked(live, job, pod), Store()
    store.put(live)
    store.put(job)
    reconciler = Reconciler([trainingjob.CONTROLLER], server, store, SETTINGS, lambda: clock[0])
    asyncio.run(reconciler.reconcile(ref_of(live)))
    assert not asked, "for 5 s their news may come by themselves"
    clock[0] = NOW + timedelta(seconds=5)
    asyncio.run(reconciler.reconcile(ref_of(live)))
    assert asked == ["Pod"]
    assert [each for each in made if not each.startswith("Event")] == ["ModelVersion m-1"]


@pytest.mark.parametrize("there", [False, True], ids=["gone", "there"])
def test_a_child_that_went_is_made_anew_where_its_owner_is_still_there(there: bool) -> None:
    """The garbage collector takes it with its owner, whose end is told by another watch, perhaps later."""
    live = written("TrainingJob", "t", {"image": "i", "command": ["train"]})
    job = made_by(live, "Job", "t-1", ownerReferences=[by(live) | {"controller": True}])
    job["metadata"]["labels"]["noria.dev/role"] = "training"
    made = list[str]()

    class Going(Server):
        async def get(self, kind: str, namespace: str | None, name: str) -> Manifest:
            if there:
                return await super().get(kind, namespace, name)
            raise NotFound(404, "NotFound", "it is gone", name)

        async def create(self, manifest: Manifest) -> Manifest:
            made.append(f"{manifest['kind']} {manifest['metadata']['name']}")
            return manifest | {"metadata": manifest["metadata"] | {"uid": "u", "resourceVersion": "9"}}

    server, store = Going(live, job), Store()
    store.put(live)
    store.put(job)
    reconciler = Reconciler([trainingjob.CONTROLLER], server, store, SETTINGS, lambda: NOW)
    store.remove(job)
    if there:
        asyncio.run(reconciler.reconcile(ref_of(live)))
        assert "Job t-1" in made
    else:
        with pytest.raises(Conflict):
            asyncio.run(reconciler.reconcile(ref_of(live)))
        assert store.get(ref_of(live)) is None
        assert asyncio.run(reconciler.reconcile(ref_of(live))) is None
        assert not made and not server.statuses
