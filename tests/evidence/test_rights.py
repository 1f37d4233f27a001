"""What the end-to-end tests left in the audit log: each right of the operator was used, and no Secret was asked for."""

import pytest

from ..e2e.conftest import AUDIT_LOG, OPERATOR, REPLACED, Kubectl, Manifest
from ..rights.rights import RARE, Right, asked, bound, granted, refused, used

KINDS = "clusterroles,clusterrolebindings,roles,rolebindings"
POD = "authentication.kubernetes.io/pod-name"
LEASE = Right("coordination.k8s.io", "leases", "create")
"""An operator that is told of a namespace finds the lease that the one before it made."""


@pytest.fixture
def requests(pytestconfig: pytest.Config) -> list[Manifest]:
    """All requests of the operator since the cluster began; with --listed since it knows its namespaces alone."""
    assert AUDIT_LOG.exists(), f"{AUDIT_LOG} is not there: a cluster of an older clone runs; `make down` and `make up`"
    found = asked(AUDIT_LOG)
    if pytestconfig.getoption("--listed"):
        labels = Kubectl().list("pods", "noria-system", OPERATOR)[0]["metadata"]["labels"]
        hash = labels["pod-template-hash"]
        found = [each for each in found if f"-{hash}-" in each["user"]["extra"][POD][0]]
    assert found, f"{AUDIT_LOG} has none of them: `make test-e2e` makes them"
    return found


def test_each_right_that_the_operator_has_was_used(requests: list[Manifest], pytestconfig: pytest.Config) -> None:
    roles = bound(Kubectl().list(KINDS), "noria-system")
    found = {LEASE} if pytestconfig.getoption("--listed") else set()
    unused = granted(roles) - used(requests) - RARE.keys() - found
    assert sorted(map(str, unused)) == [], "take it out of charts/noria/templates/rbac.yaml, or use it in tests/e2e"


def test_nothing_is_called_rare_that_is_granted_to_nobody() -> None:
    assert RARE.keys() <= granted(bound(Kubectl().list(KINDS), "noria-system"))


def test_nothing_was_asked_for_beside_the_rights(requests: list[Manifest]) -> None:
    """But by pods that were replaced since they were told of other namespaces: they may ask when their rights are gone already."""
    replaced = set(REPLACED.read_text().split()) if REPLACED.exists() else set()
    found = [each for each in requests if not replaced & {*each["user"]["extra"][POD]}]
    about = {each["objectRef"]["resource"] for each in found}
    assert {"trainingjobs", "modelendpoints", "pipelineruns", "jobs", "pods"} <= about, (
        "the end-to-end tests have not run"
    )
    assert refused(found) == []


def test_no_secret_was_asked_for(requests: list[Manifest]) -> None:
    assert [each["requestURI"] for each in requests if each["objectRef"]["resource"] == "secrets"] == []
