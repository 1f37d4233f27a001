"""A tenant gains nothing by writing Noria's objects: each attack is refused at admission, or what comes of it is harmless; and
with admission off what comes of it is harmless too."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from noria.api import RESOURCES
from noria.plan.contract import Manifest, Query

from . import oracle, world
from .conftest import Api, noria

CORPUS = Path(__file__).parent / "corpus"
AT_LEAST = 100
MOST_PODS = 20
"""So many of one object are judged by the API server."""
OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class Loader(yaml.SafeLoader):
    """YAML in which `!x N` is a text of N letters, and `!copies` a list of `count` times `of` with its number for `#`."""


def _copies(loader: Loader, node: yaml.MappingNode) -> list[Any]:
    told = loader.construct_mapping(node, deep=True)
    return [json.loads(json.dumps(told["of"]).replace("#", str(number))) for number in range(told["count"])]


Loader.add_constructor("!x", lambda loader, node: "x" * int(node.value))
Loader.add_constructor("!copies", _copies)


def _attacks() -> dict[str, Manifest]:
    return {
        f"{path.stem}: {each['name']}": each
        for path in sorted(CORPUS.glob("*.yaml"))
        for each in yaml.load(path.read_text(), Loader)
    }


def _object(written: Manifest, number: int = 0) -> Manifest:
    """A whole object of what the corpus writes."""
    name = written.get("name", f"a{number}" if number else "a")
    made = noria(written["kind"], name, written["spec"], **written.get("metadata", {}))
    return made | ({"status": written["status"]} if "status" in written else {})


def _asking(query: str) -> Manifest:
    signal = {"name": "x", "type": "Custom", "threshold": 1, "fires": "Above", "query": query}
    return {
        "kind": "Endpoint",
        "spec": {"model": {"name": "m", "track": "Latest"}, "monitoring": {"signals": [signal]}},
    }


def _written(attack: Manifest) -> Manifest:
    """What would be stored: of a change, the object as it would be then."""
    if "before" in attack:
        return dict(_merged(attack["before"], attack["change"]))
    return dict(attack.get("manifest") or _asking(attack["query"]))


def _merged(value: Any, change: Any) -> Any:
    """A JSON merge patch, RFC 7386."""
    if not isinstance(change, dict):
        return change
    merged = dict(value) if isinstance(value, dict) else {}
    for key, each in change.items():
        if each is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), each)
    return merged


ATTACKS = _attacks()
WRITTEN = {name: _written(each) for name, each in ATTACKS.items()}
STORED = [
    name
    for name, each in WRITTEN.items()
    if each["kind"] in world.MAKERS and OBJECT_NAME.fullmatch(each.get("name", "a"))
]
"""Those that would be planned if no policy and no definition refused them: other names no API server takes."""
NUMBERS = {name: number for number, name in enumerate(ATTACKS, 1)}


def test_the_corpus_is_large() -> None:
    assert len(ATTACKS) >= AT_LEAST


@pytest.mark.parametrize("name", ATTACKS)
def test_admission(api: Api, name: str) -> None:
    attack = ATTACKS[name]
    who = attack.get("who", "builder")
    if "before" in attack:
        victim = _object(attack["before"], NUMBERS[name])
        made = api.create(victim, dry=False)
        assert not made.refusal or made.body.get("reason") == "AlreadyExists", made.refusal
        refusal = api.change(victim, attack["change"], who).refusal
    else:
        refusal = api.create(_object(WRITTEN[name]), who).refusal
    assert ("refused" in attack) == bool(refusal), refusal or "it was accepted"
    assert attack.get("refused", "") in refusal
    assert "resulted in error" not in refusal and "cost" not in refusal


@pytest.mark.parametrize("name", STORED)
def test_rendered_with_admission_off(api: Api, runtime: Manifest, name: str) -> None:
    attack, written = ATTACKS[name], _object(WRITTEN[name])
    (kind,) = (each for each in RESOURCES if each.kind() == written["kind"])
    try:
        kind.model_validate(written)
    except ValidationError:
        return  # its status says what is wrong with it
    if attack.get("unnamed"):
        with pytest.raises(ValidationError):  # what would come of it must name it
            list(world.made(written))
        return
    made = list(world.made(written))
    children = [(owner, child) for owner, child in made if not isinstance(child, Query)]
    found = [fault for _, query in made if isinstance(query, Query) for fault in oracle.leaks(query, "team")]
    found += [fault for owner, child in children for fault in oracle.faults(owner, child)]
    texts = [json.dumps(child) for _, child in made]
    found += [f"{text!r} is in a child" for text in attack.get("absent", ()) if any(text in one for one in texts)]
    assert found == []
    pods = {json.dumps(pod): pod for _, child in children for pod in oracle.pods(child, runtime)}
    refusals = [told for each in list(pods.values())[:MOST_PODS] if (told := api.create(each).refusal)]
    assert bool(refusals) == ("impossible" in attack), refusals or "the API server takes all of its pods"
    assert all(attack["impossible"] in each and "PodSecurity" not in each for each in refusals)
