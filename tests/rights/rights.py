"""Rights as the API server knows them: what roles grant, and what an audit log shows of their use."""

import json
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

Manifest = dict[str, Any]


class Right(NamedTuple):
    """One verb on one kind."""

    group: str
    resource: str
    """Plural, with a subresource after a slash."""
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}.{self.group}" if self.group else f"{self.verb} {self.resource}"


MONITORING = "monitoring.coreos.com"
RARE: dict[Right, str] = {
    **{
        Right(MONITORING, kind, verb): "the local cluster has no Prometheus operator"
        for kind, verb in product(("prometheusrules", "podmonitors"), ("get", "watch", "create", "patch"))
    },
    Right(MONITORING, "prometheusrules", "delete"): "the local cluster has no Prometheus operator",
    Right("gateway.networking.k8s.io", "httproutes", "delete"): "when an administrator takes the gateway away",
    Right("policy", "poddisruptionbudgets", "patch"): "when somebody else changed one",
    Right("policy", "poddisruptionbudgets", "get"): "when somebody else took the name that was due",
    Right("noria.dev", "modelversions", "get"): "when somebody else took the number that was due",
    Right("noria.dev", "trainingjobs", "get"): "when somebody else took the name that was due, or a Service goes",
    Right("noria.dev", "pipelines", "get"): "when a run is past the limits of the history",
    Right("batch", "jobs", "get"): "when somebody else took the name that was due",
    Right("noria.dev", "trainingjobs", "patch"): "when a run is cancelled or suspended while a training of it runs",
    Right(
        "", "pods", "get"
    ): "when the watch does not tell of a pod that should run, or somebody else took the name that was due",
    Right("", "pods", "delete"): "when a run is cancelled or suspended while a container of it runs",
}
"""What the end-to-end tests need not use, and why; test_used.py provokes each of them."""


def asked(log: Path) -> list[Manifest]:
    """Requests for objects in an audit log; its last line may not be whole yet."""
    events = (json.loads(line) for line in log.read_text().splitlines() if line.endswith("}"))
    return [each for each in events if "objectRef" in each]


def bound(objects: Iterable[Manifest], namespace: str) -> list[Manifest]:
    """Of roles and bindings the roles that are bound to the operator, whose account is `noria` in that namespace."""
    known, subject = list(objects), {"kind": "ServiceAccount", "name": "noria", "namespace": namespace}
    bindings = [each for each in known if subject in (each.get("subjects") or ())]
    wanted = {
        (
            each["roleRef"]["kind"],
            each["roleRef"]["name"],
            each["metadata"].get("namespace") if each["roleRef"]["kind"] == "Role" else None,
        )
        for each in bindings
    }
    return [
        each for each in known if (each["kind"], each["metadata"]["name"], each["metadata"].get("namespace")) in wanted
    ]


def granted(roles: Iterable[Manifest]) -> set[Right]:
    """What Roles and ClusterRoles allow."""
    rules = (rule for role in roles for rule in role["rules"])
    return {Right(*each) for rule in rules for each in product(rule["apiGroups"], rule["resources"], rule["verbs"])}


def used(events: Iterable[Manifest]) -> set[Right]:
    """What was asked for by these requests of an audit log."""
    return {right for event in events for right in _of(event)}


def _of(event: Manifest) -> Iterator[Right]:
    of = event["objectRef"]
    group, resource = of.get("apiGroup", ""), "/".join(filter(None, (of["resource"], of.get("subresource"))))
    yield Right(group, resource, event["verb"])
    made = event["verb"] == "patch" and event["responseStatus"]["code"] == 201
    if made:  # an apply that creates: the API server asks for both verbs
        yield Right(group, resource, "create")
    if resource == "rolebindings" and (made or event["verb"] == "create"):  # and here for the role that is bound
        yield Right(group, "clusterroles", "bind")


def refused(events: Iterable[Manifest]) -> list[str]:
    """Requests that no role allowed."""
    decisions = ((each.get("annotations", {}).get("authorization.k8s.io/decision"), each) for each in events)
    return [f"{each['verb']} {each['requestURI']}" for decision, each in decisions if decision == "forbid"]
