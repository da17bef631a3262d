"""What parts of the chart's values share: kinds of values, resources, places."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

Port = Annotated[int, Field(ge=1, le=65535)]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
ObjectName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
ServiceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=40)]
Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./:_-]*[:@][A-Za-z0-9_.:-]+$")]
Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]
Labels = dict[str, str]
OwnLabels = Annotated[
    Labels, Field(json_schema_extra={"propertyNames": {"not": {"pattern": r"^(app\.kubernetes\.io|helm\.sh)/"}}})
]
Objects = list[dict[str, JsonValue]]


class Values(BaseModel):
    """A part of the values; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Limits(Values):
    cpu: Quantity | None = None
    """Processor time: 500m is half a core."""
    memory: Quantity | None = None
    """Memory: 256Mi."""


class Resources(Values):
    requests: Limits | None = None
    """What a pod is sure to get."""
    limits: Limits | None = None
    """What a pod never gets more than."""


class Budget(Values):
    enabled: bool
    """Whether there is a PodDisruptionBudget."""
    maxUnavailable: int | Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}%$")]
    """Pods that may be taken down at once on purpose: a number or a percentage."""


class Placed(Values):
    nodeSelector: Labels
    """Labels that a node must have."""
    tolerations: Objects
    """Taints that the pods put up with."""


class Part(Placed):
    resources: Resources
    """Resources of its container."""
    priorityClassName: ObjectName
    """PriorityClass of its pods; empty: the cluster's default."""


class ExistingSecret(Values):
    existingSecret: ObjectName
    """Name of a Secret of the namespace; empty: the chart's own."""
