"""Where S3 is and who we are there: from the environment alone, so that no secret is ever an argument or in a log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from model.errors import UserError


@dataclass(frozen=True)
class S3Settings:
    """One S3 endpoint and its credentials."""

    endpoint: str
    """URL without a path, such as http://127.0.0.1:9000 or https://s3.eu-central-1.amazonaws.com."""
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    """Signed into every request; servers other than AWS take any."""

    @property
    def host(self) -> str:
        """host:port of the endpoint."""
        return urlsplit(self.endpoint).netloc

    @property
    def secure(self) -> bool:
        """Whether the endpoint speaks TLS."""
        return urlsplit(self.endpoint).scheme == "https"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> S3Settings:
        """Reads S3_ENDPOINT_URL (or AWS_ENDPOINT_URL) and AWS_*. Raises UserError naming the missing variable."""
        endpoint = environment.get("S3_ENDPOINT_URL") or environment.get("AWS_ENDPOINT_URL")
        if not endpoint:
            raise UserError("S3_ENDPOINT_URL is not set: set it to the S3 server's URL, such as http://127.0.0.1:9000")
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or "@" in parts.netloc:
            shown = endpoint.rpartition("@")[2]  # a password before the @ is not ours to print
            raise UserError(f"S3_ENDPOINT_URL {shown!r} is wrong: use http://host:port or https://host, without a path")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            if not environment.get(name):
                raise UserError(f"{name} is not set: S3 at {endpoint} wants an access key and its secret")
        return cls(
            endpoint=f"{parts.scheme}://{parts.netloc}",
            access_key=environment["AWS_ACCESS_KEY_ID"],
            secret_key=environment["AWS_SECRET_ACCESS_KEY"],
            session_token=environment.get("AWS_SESSION_TOKEN") or None,
            region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1",
        )
