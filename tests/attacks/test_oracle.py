"""The judge of the corpus finds what it is there for: each of these children is harmful."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from noria.plan.contract import Manifest, Query

from . import oracle, world
from .conftest import Api, noria

TRAINING = noria("TrainingJob", "a", {"image": "i", "code": {"x.py": ""}})
SERVING = noria("Endpoint", "a", {"model": {"name": "m", "track": "Latest"}, "predictor": {"replicas": 2}})


def _child(written: Manifest, kind: str) -> tuple[Manifest, Manifest]:
    found = (
        (owner, each) for owner, each in world.made(written) if not isinstance(each, Query) and each["kind"] == kind
    )
    owner, child = next(found)
    return owner, copy.deepcopy(child)


def _pod(change: Callable[[Manifest], Any]) -> Callable[[Manifest], Any]:
    return lambda job: change(job["spec"]["template"]["spec"])


def _main(change: Callable[[Manifest], Any]) -> Callable[[Manifest], Any]:
    return _pod(lambda pod: change(pod["containers"][0]))


HARM: dict[str, tuple[str, Callable[[Manifest], Any]]] = {
    "a field of a pod": ("hostNetwork", _pod(lambda pod: pod.update(hostNetwork=True))),
    "a volume of the host": (
        "a volume of kind hostPath",
        _pod(lambda pod: pod["volumes"].append({"name": "h", "hostPath": {"path": "/"}})),
    ),
    "a Secret as a volume": (
        "a volume of kind secret",
        _pod(lambda pod: pod["volumes"].append({"name": "s", "secret": {"secretName": "s"}})),
    ),
    "a ConfigMap of others": (
        "of somebody else",
        _pod(lambda pod: pod["volumes"].append({"name": "c", "configMap": {"name": "theirs"}})),
    ),
    "another account": ("it runs as admin", _pod(lambda pod: pod.update(serviceAccountName="admin"))),
    "a token": ("with a token", _pod(lambda pod: pod.update(automountServiceAccountToken=True))),
    "a way out of a volume": (
        "leads out",
        _main(lambda main: main["volumeMounts"].append({"name": "artifacts", "mountPath": "/x", "subPath": "a/../.."})),
    ),
    "a path by variables": ("subPathExpr", _main(lambda main: main["volumeMounts"][0].update(subPathExpr="$(X)"))),
    "a device": ("volumeDevices", _main(lambda main: main.update(volumeDevices=[]))),
    "a variable from the node": (
        "a variable from",
        _main(lambda main: main["env"].append({"name": "X", "valueFrom": {"configMapKeyRef": {}}})),
    ),
    "a port of the host": ("host port", _main(lambda main: main.update(ports=[{"hostPort": 1}]))),
    "another namespace": ("namespace victim", lambda job: job["metadata"].update(namespace="victim")),
    "no owner": ("its owners are []", lambda job: job["metadata"].update(ownerReferences=[])),
    "another owner by its labels": (
        "name another owner",
        lambda job: job["metadata"]["labels"].update({"noria.dev/owner-uid": "theirs"}),
    ),
    "another owner of its pods": (
        "the pod's labels",
        lambda job: job["spec"]["template"]["metadata"]["labels"].update({"noria.dev/owner-uid": "theirs"}),
    ),
    "a label that is none": ("label", lambda job: job["metadata"]["labels"].update(x="{{ x }}")),
    "a kind that it may not make": ("makes a RoleBinding", lambda job: job.update(kind="RoleBinding")),
}


@pytest.mark.parametrize("name", HARM)
def test_a_harmful_job_is_found(name: str) -> None:
    words, harm = HARM[name]
    owner, job = _child(TRAINING, "Job")
    assert list(oracle.faults(owner, job)) == []
    harm(job)
    assert any(words in each for each in oracle.faults(owner, job))


@pytest.mark.parametrize(
    "kind, words, harm",
    [
        ("InferenceService", "loads file:///etc", lambda it: it["spec"]["predictor"]["model"].update(storageUri="file:///etc")),
        ("InferenceService", "field containers", lambda it: it["spec"]["predictor"].update(containers=[])),
        ("HTTPRoute", "answers to", lambda it: it["spec"].update(hostnames=["victim.other.noria.internal"])),
        ("HTTPRoute", "sends requests", lambda it: it["spec"]["rules"][0]["backendRefs"][0].update(namespace="victim")),
        ("PodDisruptionBudget", "keeps the pods", lambda it: it["spec"].update(selector={})),
        ("PodDisruptionBudget", "no pod be evicted", lambda it: it["spec"].update(maxUnavailable=0)),
        ("PodMonitor", "scrapes pods of others", lambda it: it["spec"].update(selector={})),
    ],
)  # fmt: skip
def test_a_harmful_child_of_an_endpoint_is_found(kind: str, words: str, harm: Callable[[Manifest], Any]) -> None:
    owner, child = _child(SERVING, kind)
    assert list(oracle.faults(owner, child)) == []
    harm(child)
    assert any(words in each for each in oracle.faults(owner, child))


@pytest.mark.parametrize(
    "promql",
    [
        "sum(secrets)",
        'sum(secrets{namespace="victim"})',
        'sum(secrets{namespace=~"team|victim"})',
        'sum(mine{namespace="team"} or secrets)',
        "max_over_time(secrets[5m])",
        'max_over_time(sum(mine{namespace="team"} - secrets)[1h:1m])',
        'topk(scalar(secrets), mine{namespace="team"})',
    ],
)
def test_a_query_of_others_is_found(promql: str) -> None:
    assert list(oracle.leaks(Query(promql), "team"))
    assert list(oracle.leaks(Query(promql, "modelendpoint"), "team"))


def test_the_namespace_holds_pods_to_restricted(api: Api, runtime: Manifest) -> None:
    _, job = _child(TRAINING, "Job")
    _, service = _child(SERVING, "InferenceService")
    for child in (job, service):
        (pod,) = oracle.pods(child, runtime)
        assert api.create(pod).refusal == ""
        pod = json.loads(json.dumps(pod))
        pod["spec"]["hostPID"] = True
        assert "PodSecurity" in api.create(pod).refusal
