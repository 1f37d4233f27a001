"""Every leaf of every definition, wrong in every way: refused with a sentence, or taken, and then a plan copes with it."""

import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from noria.api import RESOURCES
from noria.plan.contract import Manifest, Observed, Settings
from noria.plan.controllers import CONTROLLERS

from ..apiserver.conftest import REPOSITORY
from .api import Api, path
from .mutations import BASES, Mutation, leaves, mutated, mutations, refusal, schema_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SETTINGS = Settings.model_validate(yaml.safe_load((REPOSITORY / "tests/golden/settings.yaml").read_text()))
SAMPLE = 60


def planned(manifest: Manifest) -> None:
    """What the operator does with it in the first look; raises what the operator would stumble over."""
    (kind,) = (each for each in RESOURCES if each.kind() == manifest["kind"])
    try:
        resource = kind.model_validate(manifest)
    except ValidationError as error:
        raise AssertionError(f"taken by the API server, not understood by the operator: {error}") from error
    for controller in CONTROLLERS:
        if controller.resource is kind:
            needs = controller.needs(resource, SETTINGS)
            controller.plan(resource, Observed(settings=SETTINGS, now=NOW, related=dict.fromkeys(needs.objects(), ())))


async def fault(api: Api, manifest: Manifest) -> tuple[str, str]:
    """Refused, Taken, or what is wrong with either."""
    status, said = await api.said(
        "POST", path(manifest["kind"], "default", dryRun="All", fieldValidation="Strict"), manifest
    )
    if status >= 300:
        wrong = refusal(status, said)
        return ("Wrong", wrong) if wrong else ("Refused", "")
    try:
        planned(said)
    except Exception as error:
        return "Wrong", f"{type(error).__name__}: {error}"
    return "Taken", ""


@pytest.mark.parametrize("kind", BASES)
async def test_every_mistake_is_refused_or_coped_with(
    kind: str, plane: Any, request: pytest.FixtureRequest, record_property: Any
) -> None:
    schema = schema_of(kind)
    found = list(leaves(schema["properties"]["spec"]))
    cases: list[tuple[Manifest, Mutation]] = [
        (base, each) for base in BASES[kind] for leaf in found for each in mutations(leaf)
    ]
    if not request.config.getoption("--every-fault"):
        cases = random.Random(kind).sample(cases, min(SAMPLE, len(cases)))
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    async with Api(plane.server, plane.folder / "server.crt") as api:
        for base in BASES[kind]:
            assert await fault(api, base) == ("Taken", ""), json.dumps(base)
        for base, mutation in cases:
            outcome, why = await fault(api, mutated(base, schema, mutation))
            outcomes[outcome] += 1
            wrong += [f"{mutation}: {why}"] if why else []
    record_property("figure", f"{kind}: {len(found)} leaves, {len(cases)} mutations, {dict(outcomes)}")
    assert not wrong, "\n".join(wrong[:40])
