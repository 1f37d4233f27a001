"""The CRDs on a real API server: they are accepted, explain themselves, and refuse bad objects with a sentence."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from noria.api import ModelVersion
from noria.api.schema import render
from noria.plan.modelversion import fault

Manifest = dict[str, Any]


def trainingjob(**spec: Any) -> Manifest:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": spec,
    }


def recipe(**spec: Any) -> Manifest:
    return trainingjob(recipe={"name": "classifier"}, **spec)


def endpoint(name: str = "a", **spec: Any) -> Manifest:
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "Endpoint",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def workspace(name: str = "team", **spec: Any) -> Manifest:
    return {"apiVersion": "noria.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec}


def modelversion(name: str = "digits-1", **spec: Any) -> Manifest:
    filled = {"model": "digits", "version": 1, "uri": "pvc://noria-artifacts/x", "format": "onnx"} | spec
    return {
        "apiVersion": "noria.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": name, "namespace": "default"},
        "spec": filled,
    }


def wheel(**spec: Any) -> Manifest:
    """An Endpoint with everything that turns; `spec` replaces parts of it."""
    drift = {"name": "drift", "type": "DataDrift", "threshold": 0.2}
    turning = {
        "model": {"name": "digits", "track": "Latest"},
        "monitoring": {"signals": [drift]},
        "retrain": {"signals": ["drift"], "template": {"recipe": {"name": "classifier"}}},
        "gate": {"test": "pvc://noria-artifacts/held-out", "metrics": [{"name": "accuracy", "minEffect": 0.01}]},
        "rollout": {
            "mirror": {"percent": 50},
            "steps": [{"weight": 10}, {"weight": 50}],
            "gates": [{"name": "errors", "type": "ErrorRate", "limit": 0.01}],
        },
    }
    return endpoint(**(turning | spec))


def signal(**fields: Any) -> Manifest:
    """An Endpoint that watches one signal."""
    return endpoint(
        model={"name": "m", "version": 1},
        monitoring={"signals": [{"name": "x", "type": "DataDrift", "threshold": 0.2} | fields]},
    )


def online(**fields: Any) -> Manifest:
    """An Endpoint with one online gate."""
    gate = {"name": "x", "type": "ErrorRate", "limit": 0.01} | fields
    return wheel(rollout={"steps": [{"weight": 10}], "gates": [gate]})


def named(manifest: Manifest, name: str) -> Manifest:
    return manifest | {"metadata": manifest["metadata"] | {"name": name}}


GOOD = {
    "recipe": recipe(),
    "image": trainingjob(image="ghcr.io/acme/train:1", command=["python3", "x.py"], nodes=2, gpusPerNode=8),
    "workspace": workspace(quota={"cpu": 16, "memory": "64Gi"}, members=[{"name": "ada"}]),
    "endpoint": endpoint(model={"name": "digits", "track": "Latest"}),
    "an endpoint that follows deploy steps": endpoint(model={"name": "digits", "track": "Deployed"}),
    "a wheel": wheel(),
    "a wheel that learns by a pipeline": wheel(
        model={"name": "digits", "track": "Deployed"},
        retrain={
            "signals": ["drift"],
            "pipeline": {
                "name": "learn",
                "parameters": [{"name": "epochs", "value": 5}, {"name": "rates", "value": [0.1]}],
            },
        },
    ),
    "a latency signal": signal(type="Latency", quantile=0.99),
    "a signal of new data": signal(type="Staleness", threshold=60, uri="pvc://data/digits", windowSeconds=60),
    "a signal of one's own": signal(type="Custom", query="max(x)", fires="Below"),
    "all of the requests may fail": online(limit=1),
    "an accuracy's bound of one": signal(type="Performance", metric="accuracy", threshold=1),
    "a mean error above one": signal(type="Performance", metric="mae", threshold=20),
    "a quality above one": signal(type="DataQuality", threshold=1.5),
    "seconds above one": online(type="Latency", quantile=0.99, limit=2),
    "gates on a mirror alone": wheel(
        rollout={"mirror": {"percent": 50}, "gates": [{"name": "x", "type": "ErrorRate", "limit": 0.01}]}
    ),
    "no gates and no steps": wheel(rollout={"gates": [], "steps": []}),
    "modelversion": modelversion(),
    "modelversion from a hub": modelversion(uri="hf://acme/small", digest="sha256:" + "a" * 64),
}
BAD: dict[str, tuple[Manifest, str]] = {
    "unknown field": (recipe(bogus=1), 'unknown field "spec.bogus"'),
    "host network": (recipe(hostNetwork=True), "unknown field"),
    "privileged": (recipe(securityContext={"privileged": True}), "unknown field"),
    "host path": (recipe(inputs=[{"name": "x", "uri": "hostpath://etc"}]), "uri must be pvc://CLAIM/PATH"),
    "no nodes": (recipe(nodes=0), "greater than or equal to 1"),
    "negative GPUs": (recipe(gpusPerNode=-1), "greater than or equal to 0"),
    "negative memory": (recipe(resources={"memory": "-1Gi"}), "spec.resources.memory"),
    "recipe and image": (recipe(image="x"), "set exactly one of recipe and image"),
    "neither recipe nor image": (trainingjob(), "set exactly one of recipe and image"),
    "command with a recipe": (recipe(command=["x"]), "a recipe brings its own"),
    "trees on two nodes": (trainingjob(recipe={"name": "sklearn"}, nodes=2), "recipe sklearn trains in one process"),
    "trees on a GPU": (trainingjob(recipe={"name": "sklearn"}, gpusPerNode=1), "recipe sklearn trains in one process"),
    "another scheme": (recipe(inputs=[{"name": "x", "uri": "https://x"}]), "uri must be pvc://CLAIM/PATH"),
    "a way out of the claim": (recipe(inputs=[{"name": "x", "uri": "pvc://c/../../etc"}]), "must not contain '..'"),
    "two inputs of one name": (recipe(inputs=[{"name": "x", "uri": "pvc://a"}] * 2), "Duplicate value"),
    "output over the system": (recipe(output={"path": "/etc"}), "two folders of their own"),
    "output over checkpoints": (recipe(output={"path": "/noria/checkpoint"}), "two folders of their own"),
    "output over memory": (recipe(output={"path": "/dev/shm"}), "two folders of their own"),
    "output over an input": (recipe(output={"path": "/noria/input/x"}), "two folders of their own"),
    "a negative core": (recipe(resources={"cpu": -1}), "greater than or equal to 0"),
    "a name that begins with a digit": (named(recipe(), "1a"), "starts with a letter"),
    "a pull secret twice": (recipe(imagePullSecrets=["a", "a"]), "Duplicate value"),
    "a variable of Noria's": (recipe(env=[{"name": "NORIA_OUTPUT_DIR", "value": "/"}]), "are set by Noria"),
    "a variable without value": (recipe(env=[{"name": "X"}]), "exactly one of value and valueFrom"),
    "a name too long for its pods": (named(recipe(), "a" * 51), "at most 50 characters"),
    "a name with a dot": (named(recipe(), "a.b"), "no dots"),
    "code outside its folder": (trainingjob(image="x", code={"../x": ""}), "code's file names"),
    "a fatal exit code of 0": (recipe(retry={"fatalExitCodes": [0]}), "greater than or equal to 1"),
    "version and track": (
        endpoint(model={"name": "m", "version": 1, "track": "Latest"}),
        "exactly one of version and track",
    ),
    "neither version nor track": (endpoint(model={"name": "m"}), "exactly one of version and track"),
    "no replicas": (
        endpoint(model={"name": "m", "version": 1}, predictor={"replicas": 0}),
        "greater than or equal to 1",
    ),
    "an endpoint's name too long": (endpoint("a" * 31, model={"name": "m", "version": 1}), "at most 30 characters"),
    "a threshold of zero": (signal(threshold=0), "must be above zero"),
    "a signal of no type": (signal(type="Vibes"), "Unsupported value"),
    "performance without a metric": (signal(type="Performance"), "metric belongs to type Performance"),
    "a metric of no performance": (signal(metric="f1"), "metric belongs to type Performance"),
    "latency without a quantile": (signal(type="Latency"), "quantile belongs to type Latency"),
    "a quantile above one": (signal(type="Latency", quantile=99), "must lie between 0 and 1"),
    "a custom signal without a side": (signal(type="Custom", query="x"), "needs both"),
    "a query of no custom signal": (signal(query="x"), "belong to type Custom"),
    "two signals of one name": (
        endpoint(
            model={"name": "m", "version": 1},
            monitoring={"signals": [{"name": "x", "type": "DataDrift", "threshold": 0.2}] * 2},
        ),
        "Duplicate value",
    ),
    "retrain on a signal that is not there": (
        wheel(retrain={"signals": ["nope"], "template": {"recipe": {"name": "classifier"}}}),
        "must name signals of monitoring.signals",
    ),
    "retrain without signals to watch": (wheel(monitoring={}), "must name signals of monitoring.signals"),
    "retrain of a pinned version": (wheel(model={"name": "digits", "version": 1}), "retrain needs model.track: Latest"),
    "retrain by a template and a pipeline": (
        wheel(
            retrain={
                "signals": ["drift"],
                "template": {"recipe": {"name": "classifier"}},
                "pipeline": {"name": "learn"},
            }
        ),
        "set exactly one of template and pipeline",
    ),
    "retrain by nothing": (wheel(retrain={"signals": ["drift"]}), "set exactly one of template and pipeline"),
    "a track of another name": (endpoint(model={"name": "m", "track": "Newest"}), "Unsupported value"),
    "retrain of another model": (
        wheel(
            retrain={"signals": ["drift"], "template": {"recipe": {"name": "classifier"}, "output": {"model": "other"}}}
        ),
        "must be model.name",
    ),
    "retrain on another workspace's data": (
        wheel(
            retrain={
                "signals": ["drift"],
                "template": {
                    "recipe": {"name": "classifier"},
                    "inputs": [{"name": "train", "uri": "pvc://finance/noria-artifacts/../x"}],
                },
            }
        ),
        "must not contain '..'",
    ),
    "retrain with an unsafe template": (
        wheel(retrain={"signals": ["drift"], "template": {"image": "x", "hostNetwork": True}}),
        "unknown field",
    ),
    "a uri of another signal": (signal(uri="pvc://data/digits"), "uri belongs to type Staleness"),
    "a uri of another scheme": (signal(type="Staleness", uri="s3://data/digits"), "uri must be pvc://CLAIM/PATH"),
    "data looked at all the time": (
        signal(type="Staleness", uri="pvc://data/digits", windowSeconds=10),
        "the time between two looks at the data: at least 60",
    ),
    "a gate on no metric": (wheel(gate={"test": "pvc://a/b", "metrics": []}), "at least 1 items"),
    "a gate on a metric nobody computes": (
        wheel(gate={"test": "pvc://a/b", "metrics": [{"name": "bleu"}]}),
        "Unsupported value",
    ),
    "a negative effect": (
        wheel(gate={"test": "pvc://a/b", "metrics": [{"name": "accuracy", "minEffect": -0.1}]}),
        "must not be negative",
    ),
    "slices without a limit": (
        wheel(gate={"test": "pvc://a/b", "metrics": [{"name": "accuracy"}], "slices": {"columns": ["site"]}}),
        "set maxDrop, maxGap or both",
    ),
    "steps that do not increase": (wheel(rollout={"steps": [{"weight": 50}, {"weight": 10}]}), "must increase"),
    "a step twice": (wheel(rollout={"steps": [{"weight": 50}, {"weight": 50}]}), "must increase"),
    "a step of everything": (wheel(rollout={"steps": [{"weight": 100}]}), "less than or equal to 99"),
    "an online gate without a bound": (
        wheel(rollout={"gates": [{"name": "x", "type": "ErrorRate"}]}),
        "set limit, tolerance or both",
    ),
    "an online gate on performance of nothing": (online(type="Performance"), "metric belongs to type Performance"),
    "an online query of no custom gate": (online(query="x"), "query belongs to type Custom"),
    "a share of errors above one": (signal(type="ErrorRate", threshold=1.5), "at most 1, for example 0.01"),
    "an accuracy above one": (
        signal(type="Performance", metric="accuracy", threshold=90),
        "at most 1, for example 0.01",
    ),
    "an f1 above one": (signal(type="Performance", metric="f1", threshold=1.01), "at most 1, for example 0.01"),
    "a gate's share of errors above one": (online(limit=5), "at most 1, for example 0.01"),
    "a gate's accuracy above one": (
        online(type="Performance", metric="accuracy", limit=90),
        "at most 1, for example 0.01",
    ),
    "gates that nothing would be judged by": (
        wheel(rollout={"gates": [{"name": "x", "type": "ErrorRate", "limit": 0.01}]}),
        "set mirror or steps, or take gates away",
    ),
    "gates with no step": (
        wheel(rollout={"steps": [], "gates": [{"name": "x", "type": "ErrorRate", "limit": 0.01}]}),
        "set mirror or steps, or take gates away",
    ),
    "gates that a mirror cannot judge by": (
        wheel(
            rollout={
                "mirror": {},
                "gates": [{"name": "x", "type": "Performance", "metric": "accuracy", "tolerance": 0.1}],
            }
        ),
        "mirrored requests get no labels",
    ),
    "a training that takes its end away": (
        wheel(
            retrain={
                "signals": ["drift"],
                "template": {"recipe": {"name": "classifier"}, "ttlSecondsAfterFinished": 60},
            }
        ),
        "cannot have ttlSecondsAfterFinished",
    ),
    "a namespace of the cluster": (workspace("kube-system"), "namespace of the cluster"),
    "a namespace of the cluster by name": (workspace(namespace="default"), "belongs to the cluster"),
    "a role that does not exist": (workspace(members=[{"name": "ada", "role": "Root"}]), "Unsupported value"),
    "a sweep every second": (
        workspace(storage={"retention": {"intervalSeconds": 1}}),
        "greater than or equal to 60",
    ),
    "a version's name": (modelversion("digits-2"), "metadata.name must be"),
    "a digest": (modelversion(digest="md5:x"), "spec.digest"),
}


def test_what_is_committed_is_what_the_models_say(repository: Any) -> None:
    committed = {path.name: path.read_text() for path in (repository / "crds").glob("*.yaml")}
    assert committed == render()


@pytest.mark.parametrize("case", GOOD)
def test_good_objects_are_accepted(kubectl: Any, case: str) -> None:
    ran = kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(GOOD[case]))
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("case", BAD)
def test_bad_objects_are_refused_with_a_sentence(kubectl: Any, case: str) -> None:
    manifest, sentence = BAD[case]
    ran = kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert ran.returncode != 0, "it was accepted"
    assert sentence in ran.stderr


def test_a_raw_write_prunes_what_kubectl_refuses(kubectl: Any) -> None:
    path = "/apis/noria.dev/v1alpha1/namespaces/default/trainingjobs?dryRun=All"
    ran = kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(recipe(hostNetwork=True)))
    assert ran.returncode == 0, ran.stderr
    assert "hostNetwork" not in ran.stdout


CHANGES: dict[str, tuple[Manifest, Manifest, bool]] = {
    "suspend": (recipe(), {"suspend": True}, True),
    "ttl": (recipe(), {"ttlSecondsAfterFinished": 5}, True),
    "nodes": (recipe(), {"nodes": 2}, False),
    "an optional field is unset": (recipe(activeDeadlineSeconds=5), {"activeDeadlineSeconds": None}, False),
    "an optional field is set": (recipe(), {"activeDeadlineSeconds": 5}, False),
    "suspend with another": (recipe(), {"suspend": True, "nodes": 2}, False),
    "a model's address": (modelversion(), {"uri": "pvc://noria-artifacts/y"}, False),
    "a model's digest": (modelversion(), {"digest": "sha256:" + "b" * 64}, False),
    "a workspace's namespace": (workspace(), {"namespace": "other"}, False),
    "a workspace's quota": (workspace(), {"quota": {"cpu": "1"}}, True),
    "the time between two sweeps": (workspace(), {"storage": {"retention": {"intervalSeconds": 60}}}, True),
    "an access mode": (workspace(), {"storage": {"accessMode": "ReadWriteOnce"}}, False),
    "an endpoint's version": (endpoint(model={"name": "m", "version": 1}), {"model": {"version": 2}}, True),
    "an endpoint's model": (endpoint(model={"name": "m", "version": 1}), {"model": {"name": "other"}}, False),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_may_change(kubectl: Any, case: str) -> None:
    manifest, change, allowed = CHANGES[case]
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(copy.deepcopy(manifest)))
    resource = (
        f"{manifest['kind'].lower()}s.noria.dev" if manifest["kind"] != "Endpoint" else "modelendpoints.noria.dev"
    )
    scope = ["-n", "default"] if "namespace" in manifest["metadata"] else []
    target = [resource, manifest["metadata"]["name"], *scope]
    try:
        ran = kubectl("patch", *target, "--type=merge", "-p", yaml.safe_dump({"spec": change}))
        assert (ran.returncode == 0) is allowed, ran.stderr
        if not allowed:
            assert "cannot change" in ran.stderr or "immutable" in ran.stderr
    finally:
        kubectl("delete", *target)


LINEAGE = {"trainingJob": "a", "uid": "u", "attempt": 1, "image": "x"}
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1]}
RECORDS: dict[str, tuple[dict[str, Any], bool]] = {
    "the longest base model": ({"lineage": LINEAGE | {"baseModel": "é" * 1024}}, True),
    "a base model too long": ({"lineage": LINEAGE | {"baseModel": "é" * 1025}}, False),
    "as many parameters as may be": ({"parameters": {str(number): "" for number in range(256)}}, True),
    "a parameter too many": ({"parameters": {str(number): "" for number in range(257)}}, False),
    "a parameter that is a number": ({"parameters": {"x": 1}}, False),
    "as many metrics as may be": ({"metrics": {str(number): number for number in range(64)}}, True),
    "a metric too many": ({"metrics": {str(number): 0.5 for number in range(65)}}, False),
    "a metric that is a text": ({"metrics": {"x": "0.5"}}, False),
    "the largest seed": ({"lineage": LINEAGE | {"seed": 2**63 - 1}}, True),
    "a seed that is a text": ({"lineage": LINEAGE | {"seed": "7"}}, False),
    "a size that is a text": ({"sizeBytes": "5"}, False),
    "a negative size": ({"sizeBytes": -1}, False),
    "a digest of another kind": ({"digest": "md5:x"}, False),
    "as many inputs as may be": ({"signature": {"inputs": [TENSOR] * 64}}, True),
    "an input too many": ({"signature": {"inputs": [TENSOR] * 65}}, False),
    "a shape with too many dimensions": ({"signature": {"inputs": [TENSOR | {"shape": [1] * 9}]}}, False),
    "columns that are texts": ({"signature": {"inputs": [TENSOR | {"columns": ["x"]}]}}, False),
    "a format that nobody reads": ({"format": "pickle"}, False),
    "a baseline's path too long": ({"baseline": {"path": "x" * 513, "digest": "sha256:" + "a" * 64}}, False),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_training_knows_beforehand_which_record_is_refused(kubectl: Any, case: str) -> None:
    """What is created and refused would be created again for ever."""
    changes, accepted = RECORDS[case]
    record = modelversion(**changes)
    ran = kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(record))
    assert (ran.returncode == 0) is accepted, ran.stderr
    assert (fault(ModelVersion, record) is None) is accepted, fault(ModelVersion, record)


def unexplained(schema: Manifest, path: str) -> Iterator[str]:
    """Paths of fields that say nothing of themselves."""
    for name, each in schema.get("properties", {}).items():
        if not each.get("description"):
            yield f"{path}.{name}"
        yield from unexplained(each, f"{path}.{name}")
    for each in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(each, dict):
            yield from unexplained(each, f"{path}[]")


@pytest.mark.parametrize("plural", [name.removesuffix(".yaml") for name in render()])
def test_every_field_explains_itself(kubectl: Any, plural: str) -> None:
    definition = json.loads(kubectl("get", "crd", f"{plural}.noria.dev", "-o", "json").stdout)
    (version,) = definition["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]
    assert fields["spec"]["properties"]
    assert [*unexplained(fields["spec"], "spec"), *unexplained(fields.get("status", {}), "status")] == []
    ran = kubectl("explain", f"{plural}.spec")
    assert (
        ran.returncode == 0
        and f"GROUP:      noria.dev\nKIND:       {definition['spec']['names']['kind']}" in ran.stdout
    )


def test_endpoints_of_core_stay_core(kubectl: Any) -> None:
    assert "modelendpoint" not in kubectl("get", "endpoints", "-A", "-o", "name").stdout
    assert "noria.dev" not in kubectl("explain", "endpoints").stdout


@pytest.mark.parametrize(
    "origin", [{"trainingJob": "t", "pipelineRun": "r"}, {"trainingJob": "t"}, {"pipelineRun": "r"}]
)
def test_a_version_tells_from_what_it_came(kubectl: Any, namespace: str, origin: dict[str, str]) -> None:
    made = modelversion(lineage={"uid": "u", "attempt": 1, "image": "i", "codeDigest": "sha256:" + "a" * 64} | origin)
    made["metadata"]["namespace"] = namespace
    assert (ran := kubectl("create", "-f", "-", stdin=json.dumps(made))).returncode == 0, ran.stderr
    header, line = kubectl("get", "mv", "-n", namespace).stdout.splitlines()
    assert line[header.index("FROM") :].split()[0] == next(iter(origin.values()))
