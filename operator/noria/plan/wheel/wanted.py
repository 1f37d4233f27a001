"""Which version an Endpoint wants: the one that its spec names, the newest, or what deploy steps ask for; or why none can be."""

from collections.abc import Sequence

from noria.api.endpoint import Endpoint
from noria.api.modelversion import ModelVersion
from noria.plan.contract import Manifest
from noria.plan.wheel import serving, wishes
from noria.plan.wheel.view import Refusal, Turn, has_served, served_record, turned_down
from noria.plan.wheel.wishes import Wish

NOTHING_DEPLOYED = "NothingDeployed"


def wanted(
    endpoint: Endpoint, versions: Sequence[ModelVersion], runs: Sequence[Manifest]
) -> tuple[ModelVersion | Refusal, Wish | None]:
    """The version, and the wish that it follows if it is a deploy step's."""
    model, wish = endpoint.spec.model, None
    if model.version is not None:
        found = _pinned(versions, model.version, model.name)
    elif model.track == "Deployed":
        wish = next((each for each in wishes.of(endpoint, runs) if may_follow(endpoint, versions, each.version)), None)
        found = _deployed(endpoint, versions, runs, wish)
    else:
        found = _newest(endpoint, versions)
    if isinstance(found, ModelVersion):
        found = unfit(endpoint, versions, found) or found
    return found, wish


def may_follow(endpoint: Endpoint, versions: Sequence[ModelVersion], name: str) -> bool:
    """Whether a version that is asked for is there and may be served. What is asked for in vain supersedes nothing."""
    found = _named(versions, name)
    return found is not None and unfit(endpoint, versions, found) is None


def unfit(endpoint: Endpoint, versions: Sequence[ModelVersion], version: ModelVersion) -> Refusal | None:
    """Why a version that exists is not served."""
    name = version.metadata.name
    if turned_down(endpoint.status.rejected, serving.service_name(endpoint, version), version):
        how = f"kubectl annotate mep {endpoint.metadata.name} noria.dev/retry={name} noria.dev/by=<you>, to let it try again"
        return Refusal("Rejected", f"{name} did not earn the traffic (status.history says why); {how}")
    if version.spec.format == "custom" and not endpoint.spec.predictor.runtime:
        return Refusal(
            "FormatUnknown",
            f"{name} has format custom, which Noria's server cannot load; name a runtime in predictor.runtime",
        )
    return _incomparable(endpoint, versions, version)


def _incomparable(endpoint: Endpoint, versions: Sequence[ModelVersion], version: ModelVersion) -> Refusal | None:
    """A gate needs the champion's record; without it every version would be turned down, one after the other."""
    current, name, flight = endpoint.status.current, version.metadata.name, endpoint.status.cycle
    if flight and flight.challenger == name and flight.stage not in ("Training", "Scoring", "RollingBack"):
        return None  # it has been compared
    if endpoint.spec.gate is None or current is None or served_record(current, versions):
        return None
    if endpoint.spec.model.version is not None and has_served(Turn.recorded(endpoint), version):
        return None
    return Refusal(
        "ChampionDeleted",
        f"the ModelVersion of what serves, {current.version}, was deleted, so {name} cannot be compared with it; "
        "register it again as it was (status.current tells uri and digest), or take spec.gate away",
    )


def _pinned(versions: Sequence[ModelVersion], number: int, model: str) -> ModelVersion | Refusal:
    known = _known(versions)
    found = next((each for each in known if each.spec.version == number), None)
    text = f"ModelVersion {model}-{number} does not exist; versions: {numbers(known)}"
    return found or Refusal("ModelVersionNotFound", text)


def _deployed(
    endpoint: Endpoint, versions: Sequence[ModelVersion], runs: Sequence[Manifest], wish: Wish | None
) -> ModelVersion | Refusal:
    """What is asked for; else what is on its way, for the run that asked may be gone; else what serves."""
    flight, current = endpoint.status.cycle, endpoint.status.current
    on_its_way = flight.challenger if flight and not wishes.withdrawn(endpoint, flight, runs) else None
    name = (wish.version if wish else on_its_way) or (current.version if current else None)
    if name is None:
        me = endpoint.metadata.name
        return Refusal(
            NOTHING_DEPLOYED,
            f"model.track is Deployed, and no deploy step has asked for a version yet; start a PipelineRun with a step deploy: {{endpoint: {me}}}",
        )
    text = f"ModelVersion {name} was deleted; deploy another version"
    return _named(versions, name) or Refusal("ModelVersionNotFound", text)


def _newest(endpoint: Endpoint, versions: Sequence[ModelVersion]) -> ModelVersion | Refusal:
    """Of those that were not rejected, never an older one than serves."""
    model, current, known = endpoint.spec.model.name, endpoint.status.current, _known(versions)
    if not known:
        return Refusal(
            "ModelNotFound",
            f"there is no version of model {model} in this namespace yet; a TrainingJob with output.model {model} makes one",
        )
    lowest = int(current.version.rpartition("-")[2]) if current else 0
    rising = [each for each in known if each.spec.version >= lowest]
    if not rising:
        gone, have = current.version if current else model, numbers(known)
        text = (
            f"{gone} was deleted and only older versions are left: {have}; name one in model.version to go back to it"
        )
        return Refusal("OnlyOlderVersions", text)
    rejected = endpoint.status.rejected
    fit = (each for each in reversed(rising) if not turned_down(rejected, serving.service_name(endpoint, each), each))
    return next(fit, rising[-1])


def _named(versions: Sequence[ModelVersion], name: str) -> ModelVersion | None:
    return next((each for each in _known(versions) if each.metadata.name == name), None)


def _known(versions: Sequence[ModelVersion]) -> list[ModelVersion]:
    """Those that nobody has deleted, by number."""
    return sorted(
        (each for each in versions if not each.metadata.deletion_timestamp), key=lambda each: each.spec.version
    )


def numbers(versions: Sequence[ModelVersion]) -> str:
    """Of those that nobody has deleted, for a message."""
    return ", ".join(str(each.spec.version) for each in _known(versions)) or "none"
