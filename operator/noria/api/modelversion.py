"""ModelVersion: the immutable record of an artifact, where it lies, what it is and where it came from."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from noria.api.meta import Column, Model, Resource, Status, rules
from noria.api.pod import Name

Format = Literal["safetensors", "torch-export", "onnx", "custom"]

NO_PARENTS = ("!self.matches('(^|/)[.][.](/|$)')", "uri must not contain '..'")
SCHEMES = (
    "self.matches('^(pvc|s3|hf)://[A-Za-z0-9][^ ]*$')",
    "uri must be pvc://CLAIM/PATH, s3://BUCKET/PATH or hf://OWNER/MODEL",
)


def _held(uri: str) -> str:
    """The same two rules for what no API server has held to them: KServe loads from it as it stands."""
    if not re.fullmatch("(pvc|s3|hf)://[A-Za-z0-9][^ ]*", uri):
        raise ValueError(SCHEMES[1])
    if ".." in uri.split("/"):
        raise ValueError(NO_PARENTS[1])
    return uri


URI = Annotated[
    str,
    Field(min_length=1, max_length=1024, json_schema_extra=rules(SCHEMES, NO_PARENTS)),
    AfterValidator(_held),
]
"""`pvc://CLAIM/PATH` in the same namespace, `s3://BUCKET/PATH` or `hf://OWNER/MODEL`."""

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Tensor(Model):
    """One input or output of the model in the terms of the Open Inference Protocol v2."""

    name: Annotated[str, Field(max_length=128)]
    """The tensor's name."""
    datatype: Annotated[str, Field(max_length=16)]
    """Datatype of the protocol, for example FP32, INT64, BYTES."""
    shape: Annotated[list[int], Field(max_length=8)]
    """Dimensions; the first is the batch, -1 stands for any."""
    columns: Annotated[
        list[dict[str, Any]],
        Field(max_length=4096),
        WithJsonSchema(
            {
                "type": "array",
                "maxItems": 4096,
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            }
        ),
    ] = []
    """For tabular data: name, minimum and maximum of each column in training."""


class Signature(Model):
    """What the model takes and gives."""

    inputs: Annotated[list[Tensor], Field(max_length=64)] = []
    """Tensors that a request must hold."""
    outputs: Annotated[list[Tensor], Field(max_length=64)] = []
    """Tensors of the answer."""


class Baseline(Model):
    """Where the distributions of features and predictions seen in training lie."""

    path: Annotated[str, Field(max_length=512)]
    """File in the artifact."""
    digest: Digest
    """SHA-256 of that file."""


class InputDigest(Model):
    """An input as it was read."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Name of the input in the TrainingJob or step; of a list `name/0`, `name/1`, ..."""
    uri: Annotated[str, Field(max_length=1024)]
    """Where it lay."""
    digest: Digest | None = None
    """Digest over its files; absent if it was not digested, as an input above 50 GB."""


class Lineage(Model):
    """Where the artifact came from."""

    training_job: Annotated[str, Field(max_length=253)] | None = None
    """Name of the TrainingJob."""
    pipeline_run: Annotated[str, Field(max_length=253)] | None = None
    """Name of the PipelineRun, of a version that a step registered."""
    step: Annotated[str, Field(max_length=64)] | None = None
    """The step of it that made the files."""
    uid: Annotated[str, Field(max_length=64)]
    """The uid of the TrainingJob, or of the PipelineRun: names may be used again, uids never."""
    attempt: Annotated[int, Field(ge=1)]
    """The attempt that succeeded."""
    image: Annotated[str, Field(max_length=1024)]
    """Image as it was asked for."""
    image_digest: Annotated[str, Field(max_length=1024)] | None = None
    """Image as the kubelet ran it."""
    code_digest: Digest | None = None
    """Digest over command, arguments and inline code."""
    inputs: Annotated[list[InputDigest], Field(max_length=64)] = []
    """Inputs by content."""
    base_model: Annotated[str, Field(max_length=1024)] | None = None
    """Model that the training started from."""
    seed: int | None = None
    """Seed of the random generators, if the code told it."""


class ModelVersionSpec(Model):
    """The record. Nothing in it can change."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(("self == oldSelf", "a ModelVersion is immutable: register a new version"))
    }

    model: Annotated[Name, Field(max_length=40)]
    """Name of the model that this is a version of."""
    version: Annotated[int, Field(ge=1, le=2147483647)]
    """Number of the version. The object is named <model>-<version>."""
    uri: URI
    """Where the files lie."""
    digest: Digest | None = None
    """SHA-256 over the manifest of all files; absent: the server cannot verify what it loads (condition Verified)."""
    format: Format
    """How to load it: safetensors (with transformers), torch-export, onnx, or custom for a runtime of one's own."""
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    """Size of all files in bytes."""
    signature: Signature | None = None
    """What it takes and gives; absent if the artifact's noria.json alone holds it."""
    metrics: Annotated[dict[str, float], Field(max_length=64)] = {}
    """Final numbers of the training, for example accuracy."""
    parameters: Annotated[dict[str, str], Field(max_length=256)] = {}
    """Parameters of the training, or the values that the step took."""
    baseline: Baseline | None = None
    """Distributions that drift is measured against."""
    lineage: Lineage | None = None
    """Where it came from; absent for versions that users register."""


class ModelVersion(Resource):
    """An immutable artifact: where it lies, its digest, format, signature, metrics and lineage. Nothing runs for it."""

    plural: ClassVar[str] = "modelversions"
    singular: ClassVar[str] = "modelversion"
    short_names: ClassVar[tuple[str, ...]] = ("mv",)
    summary: ClassVar[str] = "Ready"
    has_status: ClassVar[bool] = False
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Model", ".spec.model"),
        Column("Version", ".spec.version", "integer"),
        Column("Format", ".spec.format"),
        Column("Accuracy", ".spec.metrics.accuracy", "number"),
        Column("From", ".spec.lineage['trainingJob','pipelineRun']"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Digest", ".spec.digest", priority=1),
        Column("URI", ".spec.uri", priority=1),
    )
    root_rules: ClassVar[tuple[tuple[str, str], ...]] = (
        (
            "self.metadata.name.startsWith(self.spec.model + '-') && "
            "int(self.metadata.name.substring(self.spec.model.size() + 1)) == self.spec.version && "
            "!self.metadata.name.substring(self.spec.model.size() + 1).startsWith('0')",
            "metadata.name must be <spec.model>-<spec.version>",
        ),
    )

    spec: ModelVersionSpec
    status: Status = Status()
