"""One step of a pipeline: what it takes, what it does, what it gives, and what happens when it fails."""

from typing import Annotated

from pydantic import Field

from noria.api.meta import Model, map_list, rules
from noria.api.pod import EnvVars, Name, Placement, PullSecrets, Resources
from noria.api.ports import Bindings, ObjectName, Outputs, PortName, Reference, StepName, Value
from noria.api.rollout import Evaluation
from noria.api.trainingjob import Retry, TrainingJobSpec

MAX_ITEMS = 100
BARE = {"x-noria-bare": True}
"""Without the CEL rules inside: times 500 steps they would exceed what an API server allows; the linter has them."""


class Run(Model):
    """A container of one's own."""

    image: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\s]+$")]
    """Container image. It runs as user 1000 with a read-only root."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=64)] | None = None
    """Command as an argv array (no shell); absent: the image's. $(NORIA_INPUT_NAME) stands for an input."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=256)] | None = None
    """Arguments; absent: the image's."""
    code: Annotated[dict[str, Annotated[str, Field(max_length=65536)]], Field(max_length=16)] | None = None
    """Files by name that are mounted at /noria/code, up to 64 KiB together."""
    env: EnvVars = []
    """Environment variables."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs (nvidia.com/gpu). Default 0."""
    resources: Resources = Resources()
    """CPU and memory."""
    placement: Placement = Placement()
    """Which nodes to run on."""
    image_pull_secrets: PullSecrets = []
    """Names of Secrets for private registries."""


class Register(Model):
    """Makes a ModelVersion of the input `model`."""

    model: Annotated[Name, Field(max_length=40)]
    """Name of the model that it becomes a version of."""


class Approve(Model):
    """Waits until somebody with the right to approves: annotation noria.dev/approve=STEP on the run, or noria.dev/reject."""

    message: Annotated[str, Field(max_length=1024)] = ""
    """What they are asked; {NAME} stands for the value of an input."""


class Evaluate(Evaluation):
    """Scores the input `model` beside a champion, as the gate of an Endpoint does; the step fails if it is not good enough."""

    endpoint: ObjectName | None = None
    """Its served version is the champion; absent: the input `champion`, or there is none."""


class Deploy(Model):
    """Asks an Endpoint to serve the version that the input `version` names, and waits for what comes of it."""

    endpoint: Annotated[Name, Field(max_length=30)]
    """Name of the Endpoint, in the same namespace. It must have model.track: Deployed, or want that version anyway."""


class Foreach(Model):
    """Runs the step once for each item of a list, at most 100."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            (
                "!has(self.parameter) || !has(self.from)",
                "set exactly one of items, parameter and from",
            )
        )
    }

    items: Annotated[list[Value], Field(max_length=MAX_ITEMS)] | None = None
    """The items as they stand."""
    parameter: PortName | None = None
    """A parameter of type json that holds a list."""
    from_: Annotated[Reference | None, Field(alias="from")] = None
    """An output of another step, of type json, that holds a list."""
    parallelism: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = 10
    """How many may run at a time. Default 10."""


class Cache(Model):
    """Whether what an earlier run of the Pipeline made may be taken instead."""

    enabled: bool = True
    """False: it always runs. Default true."""
    max_age_seconds: Annotated[int, Field(ge=0)] | None = None
    """Seconds for which what was made may be taken; absent: any time."""


class Step(Model):
    """One step. It runs when the steps whose outputs it takes, and those in `after`, have ended."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            (
                "[has(self.component), has(self.run), has(self.train), has(self.evaluate), has(self.register), has(self.approve), "
                "has(self.deploy)].filter(each, each).size() == 1",
                "set exactly one of component, run, train, evaluate, register, approve and deploy",
            ),
            ("!has(self.retry) || has(self.run) || has(self.component)", "retry belongs to run; train has its own"),
            (
                "!has(self.foreach) || has(self.run) || has(self.train) || has(self.component)",
                "foreach belongs to run, train and component",
            ),
            ("!has(self.outputs) || has(self.run)", "outputs belong to run; the other kinds have fixed ones"),
        )
    }

    name: StepName
    """Name."""
    component: ObjectName | None = None
    """What a Component of the namespace says, with its typed inputs and outputs."""
    run: Run | None = None
    """A container of one's own."""
    train: Annotated[TrainingJobSpec | None, Field(json_schema_extra=BARE)] = None
    """A TrainingJob. Outputs: model, metrics, and version if output.model is set."""
    evaluate: Annotated[Evaluate | None, Field(json_schema_extra=BARE)] = None
    """Scores the input `model` beside a champion on held-out data. Outputs: passed, changed, metrics, champion."""
    register_: Annotated[Register | None, Field(alias="register")] = None
    """Makes a ModelVersion of the input `model`. Output: version."""
    approve: Approve | None = None
    """Waits for a person. Output: by."""
    deploy: Deploy | None = None
    """Moves an Endpoint to the version that the input `version` names. Outputs: version, outcome."""
    inputs: Bindings = []
    """What it takes, by name."""
    outputs: Outputs = []
    """What it gives, of run."""
    after: Annotated[list[StepName], Field(max_length=500, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Steps that must have ended before, without failing."""
    when: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """A CEL expression over the step's own inputs, for example `inputs.accuracy > 0.9`; false: the step is skipped.
    A `-` in a name is written `_`. A step with onExit sees `run` too: Succeeded, Failed or Cancelled."""
    foreach: Foreach | None = None
    """Runs it once for each item of a list."""
    on_exit: bool = False
    """True: it runs when all others have ended, whatever came of them. Default false."""
    retry: Retry | None = None
    """What happens when its container fails. Absent: no failure is retried; disruptions are."""
    timeout_seconds: Annotated[int, Field(ge=1)] | None = None
    """Seconds that one attempt, its wait for a node included, or the wait for an approval or an Endpoint, may take; absent: any time."""
    cache: Cache = Cache()
    """Whether what an earlier run made may be taken instead; of run, train and evaluate, and not of a step with onExit."""


Steps = Annotated[list[Step], Field(min_length=1, max_length=500, json_schema_extra=map_list("name"))]
