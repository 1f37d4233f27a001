"""What a user may say about pods: an allow-list of fields, never a whole PodSpec."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from noria.api.meta import DNS_LABEL, Model, map_list, rules

QUANTITY = r"^([0-9]+(\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"

Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "minimum": 0,
            "pattern": QUANTITY,
        }
    ),
]
"""A Kubernetes quantity, for example `500m`, `2` or `4Gi`. Negative ones do not match."""

Path = Annotated[str, Field(min_length=2, max_length=256, pattern=r"^/[^:]*[^/:]$")]
"""An absolute path in the container, without a trailing slash."""

RESERVED_PATHS = "['/', '/noria/config', '/noria/run', '/noria/input', '/tmp', '/dev', '/proc', '/sys', '/etc', '/usr', '/bin', '/lib']"


class Resources(Model):
    """CPU and memory of one container; the request equals the limit, so that a pod gets what it was placed for."""

    cpu: Quantity = "1"
    """Cores, for example `500m` or `4`. Default 1."""
    memory: Quantity = "2Gi"
    """Memory, for example `8Gi`; a container that passes it is killed (reason OOMKilled). Default 2Gi."""


class SecretKey(Model):
    """One key of a Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The Secret's name. Whoever creates the object must be allowed to read it."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """The key in the Secret."""


class ValueFrom(Model):
    """Where an environment variable's value comes from."""

    secret_key_ref: SecretKey
    """A key of a Secret."""


class EnvVar(Model):
    """One environment variable."""

    model_config = Model.model_config | {
        "json_schema_extra": rules(
            ("has(self.value) != has(self.valueFrom)", "set exactly one of value and valueFrom"),
            (
                "!self.name.startsWith('NORIA_') && !self.name.startsWith('PET_')",
                "names that start with NORIA_ or PET_ are set by Noria",
            ),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """The variable's name."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """The value. As in core/v1 `$(NAME)` stands for a variable that comes before it; `$$` is one `$`."""
    value_from: ValueFrom | None = None
    """The value from elsewhere."""


class Toleration(Model):
    """Lets pods onto nodes with the taint, as in core/v1."""

    key: str | None = None
    """The taint's key; empty with operator Exists: every taint."""
    operator: Annotated[str, Field(json_schema_extra={"enum": ["Equal", "Exists"]})] = "Equal"
    """How `value` is compared."""
    value: str | None = None
    """The taint's value."""
    effect: (
        Annotated[str, Field(json_schema_extra={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]})] | None
    ) = None
    """The taint's effect; absent: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """Seconds that NoExecute is tolerated; absent: for ever."""


class Placement(Model):
    """Which nodes pods may run on."""

    node_selector: Annotated[dict[str, str], Field(max_length=32)] = {}
    """Labels that a node must carry."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    """Taints that are accepted."""
    affinity: Annotated[
        dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    ] = {}
    """Affinity as in core/v1; checked by the API server when the pod is made."""
    priority_class_name: Annotated[str, Field(max_length=253)] | None = None
    """PriorityClass of the pods."""


EnvVars = Annotated[list[EnvVar], Field(max_length=256, json_schema_extra=map_list("name"))]
PullSecrets = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=253)]],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
]
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
