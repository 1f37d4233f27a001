"""TrainingJob: code or a recipe, run once to a model, on one node or many, with checkpoints and retries by cause."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from noria.api.meta import Column, Model, Resource, Status, map_list, rules
from noria.api.modelversion import NO_PARENTS
from noria.api.pod import RESERVED_PATHS, EnvVars, Name, Path, Placement, PullSecrets, Resources

InputUri = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=rules(
            (
                "self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[^ ]*)?$')",
                "uri must be pvc://CLAIM/PATH with a claim of this namespace; other schemes are not read yet",
            ),
            NO_PARENTS,
        ),
    ),
]
"""`pvc://CLAIM/PATH`, a claim of the same namespace."""


class Recipe(Model):
    """A training that Noria's trainer image knows."""

    name: Annotated[Literal["classifier", "sklearn", "text-classifier"], Field()]
    """classifier: a torch network on tabular or image arrays; sklearn: scikit-learn, exported to ONNX; text-classifier: a small transformer."""
    parameters: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=128)] = {}
    """Parameters of the recipe as strings; what each recipe knows stands in images/trainer. Unknown ones fail the job at once."""


class Input(Model):
    """Data that the training reads."""

    name: Annotated[Name, Field(max_length=40)]
    """Name; the data lies at /noria/input/<name>."""
    uri: InputUri
    """Where it lies: pvc://CLAIM/PATH, a claim of the same namespace."""


class Checkpoint(Model):
    """How a training survives the loss of its pods."""

    enabled: bool = True
    """Whether the folder is kept from attempt to attempt. Default true."""
    interval_seconds: Annotated[int, Field(ge=1, le=86400)] = 60
    """How often the code should write one (it reads NORIA_CHECKPOINT_INTERVAL_SECONDS). Default 60 s."""
    resume: bool = True
    """Whether recipes continue from the newest checkpoint; false starts every attempt anew. Default true."""
    path: Path = "/noria/checkpoint"
    """Where the folder is mounted. Default /noria/checkpoint."""


class Retry(Model):
    """What happens when an attempt fails. Preemption, eviction and node loss are retried without counting."""

    limit: Annotated[int, Field(ge=0, le=100)] = 2
    """How many failures of the user's own code (exit codes, OOMKilled) are retried. Default 2."""
    backoff_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds before the first retry; doubles with each further one, up to 600 s. Default 10 s."""
    fatal_exit_codes: Annotated[list[Annotated[int, Field(ge=1, le=255)]], Field(max_length=64)] = []
    """Exit codes after which a retry makes no sense. For a recipe 2 is among them: parameters or data that can
    never work (with several processes torchrun turns it into 1)."""


class Output(Model):
    """What the training leaves."""

    model: Annotated[Name, Field(max_length=40)] | None = None
    """Model that a version is made of; absent: the folder is kept, no ModelVersion is made."""
    path: Path = "/noria/output"
    """Where the code writes its model. Default /noria/output."""


class TrainingJobSpec(Model):
    """What runs and what it leaves."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            ("has(self.recipe) != has(self.image)", "set exactly one of recipe and image"),
            (
                "!has(self.recipe) || (!has(self.command) && !has(self.args) && !has(self.code))",
                "command, args and code belong to image; a recipe brings its own",
            ),
            (
                "!has(self.recipe) || self.recipe.name != 'sklearn' || (self.nodes == 1 && self.gpusPerNode == 0 "
                "&& (!has(self.processesPerNode) || self.processesPerNode == 1))",
                "recipe sklearn trains in one process, without GPUs: leave nodes, gpusPerNode and processesPerNode away",
            ),
            (
                f"!(self.output.path in {RESERVED_PATHS}) && !(self.checkpoint.path in {RESERVED_PATHS}) "
                "&& self.output.path != self.checkpoint.path "
                "&& [self.output.path, self.checkpoint.path].all(path, "
                "!['/noria/input/', '/noria/code', '/noria/run/', '/noria/config/', '/dev/', '/proc/', '/sys/']"
                ".exists(taken, path.startsWith(taken)))",
                "output.path and checkpoint.path must be two folders of their own",
            ),
            (
                "!has(self.code) || self.code.all(name, name.matches('^[-._a-zA-Z0-9]+$'))",
                "code's file names may hold letters, digits, '-', '_' and '.'",
            ),
        )
    }

    recipe: Recipe | None = None
    """A training that Noria brings. Either this or image."""
    image: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\s]+$")] | None = None
    """Container image of one's own. It runs as user 1000 with a read-only root."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=64)] | None = None
    """Command as an argv array (no shell); absent: the image's."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=256)] | None = None
    """Arguments; absent: the image's."""
    code: Annotated[dict[str, Annotated[str, Field(max_length=262144)]], Field(max_length=64)] | None = None
    """Files by name that are mounted at /noria/code, up to 256 KiB together; for small scripts."""
    env: EnvVars = []
    """Environment variables."""
    inputs: Annotated[list[Input], Field(max_length=32, json_schema_extra=map_list("name"))] = []
    """Data to read."""
    nodes: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pods that train together; above 1 torchrun finds its rendezvous in the environment. Default 1."""
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs (nvidia.com/gpu) of each pod. Default 0."""
    processes_per_node: Annotated[int, Field(ge=1, le=64)] | None = None
    """Processes that torchrun starts in each pod; absent: one a GPU, or one."""
    resources: Resources = Resources()
    """CPU and memory of each pod."""
    placement: Placement = Placement()
    """Which nodes to run on."""
    image_pull_secrets: PullSecrets = []
    """Names of Secrets for private registries."""
    checkpoint: Checkpoint = Checkpoint()
    """How it survives the loss of pods."""
    retry: Retry = Retry()
    """What happens when an attempt fails."""
    output: Output = Output()
    """What it leaves."""
    suspend: bool = False
    """True ends the pods and keeps the checkpoints; false goes on from them. Default false."""
    active_deadline_seconds: Annotated[int, Field(ge=1)] | None = None
    """Seconds from the first start after which it fails, suspended time included."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """Seconds that the code has after SIGTERM, and the agent to hash what it wrote. Default 60."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] | None = None
    """Seconds after its end when the object deletes itself; absent: never. ModelVersions stay."""


class Progress(Model):
    """How far the training is, as its step file tells."""

    step: int | None = None
    """Steps done."""
    total: int | None = None
    """Steps planned."""
    epoch: int | None = None
    """Epoch."""
    loss: float | None = None
    """Newest loss."""
    samples_per_second: float | None = None
    """Throughput."""
    eta_seconds: int | None = None
    """Estimate of the seconds left."""
    percent: str | None = None
    """Steps done of steps planned, for people."""


class Attempt(Model):
    """One run of the job."""

    number: int
    """Counts from 1."""
    cause: str | None = None
    """Why it ended, one word; absent while it runs."""
    message: str | None = None
    """Last lines of its log, or what the cluster said."""
    exit_code: int | None = None
    """Exit code of the container that ended first."""
    counted: bool | None = None
    """Whether it counts against retry.limit."""
    start_time: str | None = None
    """When its pods were asked for."""
    end_time: str | None = None
    """When it ended."""


class Written(Model):
    """What the completed attempt left."""

    uri: str
    """Where it lies."""
    digest: str
    """Digest over its files."""
    format: str
    """How to load it."""
    image: str | None = None
    """The image as the kubelet ran it."""
    inputs: dict[str, str] | None = None
    """Digests of the inputs, by name, as far as they were digested."""


class TrainingJobStatus(Status):
    """How it goes."""

    attempts: Annotated[list[Attempt], Field(json_schema_extra=map_list("number"))] = []
    """The newest ten attempts."""
    failures: int | None = None
    """Failures that counted so far."""
    progress: Progress | None = None
    """How far it is; absent without Prometheus."""
    metrics: dict[str, float] | None = None
    """Final numbers that the code wrote to metrics.json."""
    gpu_seconds: int | None = None
    """GPUs times seconds of all ended attempts."""
    model_version: str | None = None
    """The ModelVersion that it made."""
    output: Written | None = None
    """What the completed attempt left."""
    start_time: str | None = None
    """When the first attempt began."""
    completion_time: str | None = None
    """When it ended, in success or failure."""


class TrainingJob(Resource):
    """One training: code or a recipe, inputs, nodes and GPUs, checkpoints and retries. Success makes one ModelVersion."""

    plural: ClassVar[str] = "trainingjobs"
    singular: ClassVar[str] = "trainingjob"
    short_names: ClassVar[tuple[str, ...]] = ("tjob",)
    summary: ClassVar[str] = "Succeeded"
    mutable: ClassVar[tuple[str, ...] | None] = ("suspend", "ttlSecondsAfterFinished")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("Status", ".status.conditions[?(@.type=='Succeeded')].reason"),
        Column("Progress", ".status.progress.percent"),
        Column("Loss", ".status.progress.loss", "number", priority=1),
        Column("Model", ".status.modelVersion"),
        Column("Age", ".metadata.creationTimestamp", "date"),
        Column("Message", ".status.conditions[?(@.type=='Succeeded')].message"),
    )
    root_rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.metadata.name.size() <= 50", "the name must leave room for its pods' names: at most 50 characters"),
        (
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "the name becomes a label and a host name: it starts with a letter and has no dots",
        ),
    )

    spec: TrainingJobSpec
    status: TrainingJobStatus = TrainingJobStatus()
