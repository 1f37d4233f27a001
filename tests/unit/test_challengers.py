"""What makes a challenger: its name fits, and it is found again whatever the spec says by now."""

import re

from hypothesis import given
from hypothesis import strategies as st
from test_replay import ENDPOINT, SETTINGS

from noria.api import Endpoint
from noria.api.cycle import Cycle
from noria.plan.contract import Observed
from noria.plan.manifests import moment
from noria.plan.wheel import challengers
from noria.plan.wheel.view import Refusal, View

NOW = "2026-11-24T12:00:00Z"
CYCLE = Cycle.model_validate({"number": 7, "trigger": {"reason": "Manual"}, "stage": "Training", "startTime": NOW})


def endpoint(name: str = "digits", **retrain: object) -> Endpoint:
    given = ENDPOINT.manifest()
    kept = {key: each for key, each in given["spec"]["retrain"].items() if key != "template"}
    return Endpoint.model_validate(
        given | {"metadata": given["metadata"] | {"name": name}, "spec": given["spec"] | {"retrain": kept | retrain}}
    )


@given(name=st.from_regex(r"[a-z]([-a-z0-9]{0,28}[a-z0-9])?", fullmatch=True), number=st.integers(1, 9_999_999))
def test_a_runs_name_is_one_that_the_api_server_takes(name: str, number: int) -> None:
    made = challengers.run_name(endpoint(name), number)
    assert len(made) <= 30 and re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made)


def test_what_was_made_is_found_after_the_spec_names_the_other_kind() -> None:
    kinds = {
        "TrainingJob": {"template": {"recipe": {"name": "classifier"}}},
        "PipelineRun": {"pipeline": {"name": "p"}},
    }
    for kind, retrain in kinds.items():
        (other,) = (each for name, each in kinds.items() if name != kind)
        made = challengers.made_for(endpoint(**retrain), CYCLE)
        assert made and made["kind"] == kind and made["metadata"]["labels"]["noria.dev/cycle"] == "7"
        observed = Observed(settings=SETTINGS, now=moment(NOW), children=(made,))
        view = View(endpoint(**other), observed, (), Refusal("X", ""), [], frozenset())
        assert challengers.live(view, CYCLE) == made
        assert challengers.recorded(challengers.seen(CYCLE, made)) == f"{kind} {made['metadata']['name']}"
