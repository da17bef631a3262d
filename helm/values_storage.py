"""The chart's values of what keeps data: database, object store, registry of models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from helm.values_part import Image, ObjectName, Objects, Placed, Quantity, Resources, Values


class Storage(Values):
    size: Quantity
    """Size of the volume."""
    className: ObjectName
    """StorageClass; empty: the cluster's default."""


class PostgreSQL(Placed):
    enabled: bool
    """Whether the chart runs a PostgreSQL: one pod, no replication, no backups."""
    image: Image
    """PostgreSQL 15 or newer, with a tag or a digest."""
    existingSecret: ObjectName
    """Secret with the keys password, url and mlflow-url; empty: made at the first install."""
    storage: Storage
    """Its volume."""
    resources: Resources
    """Resources of its container."""


class StoreImages(Values):
    seaweedfs: Image
    """Image of SeaweedFS."""
    minio: Image
    """Image of MinIO."""


class ObjectStore(Placed):
    enabled: bool
    """Whether the chart runs an S3 store: one pod."""
    kind: Literal["seaweedfs", "minio"]
    """Which one."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """Bucket of bundles, for KServe's storage-config."""
    images: StoreImages
    """Images of the two."""
    existingSecret: ObjectName
    """Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, S3_ENDPOINT_URL (and s3.json); empty: made by the chart."""
    storageConfig: bool
    """Whether KServe's Secret storage-config is made for it."""
    clients: Objects
    """NetworkPolicy peers that may read and write; empty: the namespace."""
    storage: Storage
    """Its volume."""
    resources: Resources
    """Resources of its container."""


class MLflow(Placed):
    enabled: bool
    """Whether the chart runs MLflow."""
    existingSecret: ObjectName
    """Secret with the key url: postgresql+psycopg://USER:PASSWORD@HOST:5432/NAME."""
    artifactRoot: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+://.+$")]
    """Where clients put artifacts."""
    allowedHosts: list[str]
    """Further host names by which it is called."""
    clients: Objects
    """NetworkPolicy peers that may call it; empty: the namespace."""
    resources: Resources
    """Resources of its container."""
