"""What scores a challenger, and a champion if there is one, on the same held-out data; whoever asks for it owns it."""

from collections.abc import Mapping
from typing import NamedTuple

from noria.api.meta import Resource
from noria.api.rollout import Evaluation
from noria.plan.contract import Manifest, Settings
from noria.plan.manifests import CONTAINER_SECURITY, canonical, child, claim_of, digest, owner_labels, resources
from noria.plan.pods import CONFIG, HOME, RESTRICTED, TMP, mounted, told
from noria.plan.training import NODE_LOSS_TOLERATIONS

SCORER = "scorer"
ORDER = "noria.dev/score"
MARK = "noria.dev/score-digest"
"""Annotation of a Job: the digest of what its pod is told."""
MAX_SAMPLES = 100_000


class Candidate(NamedTuple):
    """A model that is to be scored."""

    uri: str
    digest: str | None
    """None: it is not verified."""
    format: str | None
    """None: it is known by its files."""

    def fault(self, name: str) -> str | None:
        """Why it cannot be scored; `name` is how it is called."""
        if not self.uri.startswith("pvc://"):
            return f"{name} lies at {self.uri}; only pvc:// can be scored"
        return f"{name} has format custom, which the scorer cannot load" if self.format == "custom" else None


class Asked(NamedTuple):
    """What is to be scored, and how."""

    rule: Evaluation
    test: str
    """Uri of the held-out data."""
    models: Mapping[str, Candidate]
    """`challenger`, and perhaps `champion`."""
    retries: int = 0
    """Pods that are started anew after one that was lost."""


def job(owner: Resource, name: str, labels: Mapping[str, str], asked: Asked, settings: Settings) -> Manifest:
    """The Job: one pod, which ends after the rule's deadline at the latest."""
    annotations, pod = container(asked, settings)
    metadata = {"labels": owner_labels(owner) | dict(labels), "annotations": annotations}
    body = {
        "spec": {
            "backoffLimit": asked.retries,
            "activeDeadlineSeconds": asked.rule.deadline_seconds,
            "template": {"metadata": metadata, "spec": pod},
        }
    }
    return child(owner, "Job", name, body, labels=labels, annotations={MARK: digest(annotations[ORDER])})


def container(asked: Asked, settings: Settings) -> tuple[dict[str, str], Manifest]:
    """Annotations and spec of the pod; both models and the data are mounted read only."""
    rule, models = asked.rule, asked.models
    folders = {f"/noria/{role}": model.uri for role, model in models.items()} | {"/noria/test": asked.test}
    claims = {_volume(claim): claim for claim, _ in map(claim_of, folders.values())}
    order = {
        "test": "/noria/test",
        "target": rule.target,
        "metrics": [each.name for each in rule.metrics],
        "slices": rule.slices.columns if rule.slices else [],
        "maxSamples": MAX_SAMPLES,
        "models": {
            role: {"folder": f"/noria/{role}", "digest": model.digest or "", "format": model.format or ""}
            for role, model in models.items()
        },
    }
    scorer = {
        "name": SCORER,
        "image": settings.server_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "server.score"],
        "env": [{"name": name, "value": value} for name, value in sorted(HOME.items())],
        "resources": resources(rule.resources),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            CONFIG,
            TMP[0],
            *(mounted(uri, path, _volume(claim_of(uri)[0])) for path, uri in folders.items()),
        ],
    }
    pod = {
        "tolerations": NODE_LOSS_TOLERATIONS,
        **RESTRICTED,
        "containers": [scorer],
        "volumes": [
            told({"score.json": ORDER}),
            TMP[1],
            *({"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in sorted(claims.items())),
        ],
    }
    return {ORDER: canonical(order)}, pod


def _volume(claim: str) -> str:
    return f"claim-{digest(claim)[7:15]}"
