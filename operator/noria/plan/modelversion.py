"""How a ModelVersion comes from a training: from the agent's message, numbered after those that exist."""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from noria.api.meta import API_VERSION, Resource
from noria.api.modelversion import Baseline, Format, Signature
from noria.api.trainingjob import TrainingJob
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import MANAGED_BY
from noria.plan.training import artifact_uri, code_digest, image

MODEL, TRAINING_UID = "noria.dev/model", "noria.dev/training-job-uid"
METRICS_KEPT = 64
METRICS = TypeAdapter(dict[str, float])
FORMATS = TypeAdapter(Format)
REASON = re.compile(r"[A-Z][A-Za-z]*")


class Published(NamedTuple):
    """What the agent said of an attempt's folder: a message, or what was wrong with it."""

    message: dict[str, Any]
    error: str | None
    text: str


def read(text: str) -> Published:
    """The agent's termination message. A tenant can write to that file's content only through the artifact, still nothing in it is trusted."""
    try:
        message = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if "error" in message:
            error = str(message["error"])
            return Published({}, error if REASON.fullmatch(error) else "PublishFailed", str(message.get("message", "")))
        message["metrics"] = METRICS.validate_python(message.get("metrics") or {})
        message["format"] = FORMATS.validate_python(message.get("format") or "custom")
        for key, model in (("signature", Signature), ("baseline", Baseline)):
            if message.get(key):
                message[key] = model.model_validate(message[key]).manifest()
        if not isinstance(message["digest"], str):
            raise ValueError("its digest is no text")
        return Published(message, None, "")
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        return Published({}, "InvalidMessage", f"the agent's message cannot be read: {error}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def fault(resource: type[Resource], record: Manifest) -> str | None:
    """What the API server would refuse in an object, with the path of the field; None if nothing.

    Strictly, as the definition's limits are those of the model: what is refused would be tried for ever.
    """
    try:
        resource.model_validate(record, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


def of_training(versions: Iterable[Manifest], job: TrainingJob) -> Manifest | None:
    """The version that the job has made already."""
    return next((each for each in versions if each["spec"].get("lineage", {}).get("uid") == job.metadata.uid), None)


def next_number(versions: Iterable[Manifest], model: str) -> int:
    """One more than the highest number of that model."""
    return max((each["spec"]["version"] for each in versions if each["spec"]["model"] == model), default=0) + 1


def modelversion(
    job: TrainingJob, attempt: int, published: Published, number: int, image_digest: str | None, settings: Settings
) -> Manifest:
    """The record of what an attempt wrote. It has no owner: a model outlives the job that made it."""
    model = job.spec.output.model
    message = published.message
    digests, seed = message.get("inputs") or {}, message.get("seed")
    lineage = {
        "trainingJob": job.metadata.name,
        "uid": job.metadata.uid,
        "attempt": attempt,
        "image": image(job, settings),
        "imageDigest": image_digest,
        "codeDigest": code_digest(job.spec),
        "inputs": [
            {"name": each.name, "uri": each.uri} | ({"digest": digests[each.name]} if digests.get(each.name) else {})
            for each in job.spec.inputs
        ],
        "baseModel": message.get("baseModel"),
        "seed": seed if isinstance(seed, int) and -(2**63) <= seed < 2**63 else None,
    }
    spec = {
        "model": model,
        "version": number,
        "uri": artifact_uri(job, attempt),
        "digest": message["digest"],
        "format": message["format"],
        "sizeBytes": message.get("bytes"),
        "signature": message.get("signature"),
        "metrics": dict(sorted(message["metrics"].items())[:METRICS_KEPT]),
        "parameters": (job.spec.recipe.parameters if job.spec.recipe else {})
        | {str(key): str(value) for key, value in (message.get("parameters") or {}).items()},
        "baseline": message.get("baseline"),
        "lineage": {key: value for key, value in lineage.items() if value is not None},
    }
    labels = {MANAGED_BY: "noria", MODEL: str(model), TRAINING_UID: job.metadata.uid}
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": f"{model}-{number}", "namespace": job.metadata.namespace, "labels": labels},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }
