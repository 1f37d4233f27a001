"""What the end-to-end tests left in the audit log: each right of the operator was used, and no Secret was asked for."""

import pytest

from ..e2e.conftest import AUDIT_LOG, Kubectl, Manifest
from ..rights.rights import RARE, asked, bound, granted, used

KINDS = "clusterroles,clusterrolebindings,roles,rolebindings"


@pytest.fixture
def requests() -> list[Manifest]:
    """All requests of the operator since the cluster began."""
    assert AUDIT_LOG.exists(), f"{AUDIT_LOG} is not there: a cluster of an older clone runs; `make down` and `make up`"
    found = asked(AUDIT_LOG)
    assert found, f"{AUDIT_LOG} is empty: `make test-e2e` fills it"
    return found


def test_each_right_that_the_operator_has_was_used(requests: list[Manifest]) -> None:
    roles = bound(Kubectl().list(KINDS), "noria-system")
    unused = granted(roles) - used(requests) - RARE.keys()
    assert sorted(map(str, unused)) == [], "take it out of charts/noria/templates/rbac.yaml, or use it in tests/e2e"


def test_nothing_is_called_rare_that_is_granted_to_nobody() -> None:
    assert RARE.keys() <= granted(bound(Kubectl().list(KINDS), "noria-system"))


def test_no_secret_was_asked_for(requests: list[Manifest]) -> None:
    assert [each["requestURI"] for each in requests if each["objectRef"]["resource"] == "secrets"] == []
