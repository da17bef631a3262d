"""Artifacts in an S3 bucket, through the minio client.

An artifact lies as plain objects `prefix/key/path`, its manifest and, where it has one, its signature beside them. The
manifest goes up last and comes down first: a key without one is no artifact, so a half-uploaded tree is never seen, and
a reader checks every byte it gets against it. Replacing an artifact by another one takes its manifest away first;
putting the same artifact again leaves it readable throughout.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import certifi
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError

from model.artifact.manifest import MANIFEST_NAME, SIGNATURE_NAME, Manifest, parse_manifest, verify
from model.artifact.s3_settings import S3Settings
from model.artifact.staging import refuse_to_overwrite, staged
from model.artifact.store import check_key, refuse_nested
from model.errors import Fault, UserError

CONNECT_SECONDS = 5.0
"""Loopback and cluster services connect in milliseconds; a longer wait only hides a wrong address."""
READ_SECONDS = 60.0
"""Longest silence within one answer."""
RETRIES = 3
"""How often one request is tried again: connection refused or cut, 500, 502, 503, 504."""
_CHUNK = 1 << 20
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REFUSED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "InvalidToken", "ExpiredToken")


class S3Store:
    """A store under `prefix` of one bucket."""

    def __init__(self, client: Minio, endpoint: str, bucket: str, prefix: str) -> None:
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = client
        self._endpoint = endpoint
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    @classmethod
    def open(cls, bucket: str, prefix: str, settings: S3Settings | None = None) -> S3Store:
        """The store at s3://bucket/prefix. Connects to nothing yet. Raises UserError on a wrong name or environment."""
        if not _BUCKET.fullmatch(bucket):
            raise UserError(f"store s3://{bucket}/{prefix}: {bucket!r} is not a bucket name; use s3://bucket/prefix")
        settings = settings or S3Settings.from_environment()
        client = Minio(
            settings.host,
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            session_token=settings.session_token,
            secure=settings.secure,
            region=settings.region,
            http_client=_http(),
        )
        return cls(client, settings.endpoint, bucket, prefix)

    def put_tree(self, folder: Path, key: str) -> Manifest:
        manifest = verify(folder)
        refuse_nested(self, check_key(key))
        with self._plain_errors(key):
            if not self._holds(key, manifest):
                self._client.remove_object(self._bucket, self._name(key, MANIFEST_NAME))
            names = [*manifest.files, *(name for name in (SIGNATURE_NAME,) if (folder / name).is_file())]
            for name in names:
                self._client.fput_object(self._bucket, self._name(key, name), str(folder / name))
            text = (folder / MANIFEST_NAME).read_bytes()
            self._client.put_object(
                self._bucket, self._name(key, MANIFEST_NAME), io.BytesIO(text), len(text), "application/json"
            )
            self._remove_stale(key, [*names, MANIFEST_NAME])
        return manifest

    def get_tree(self, key: str, folder: Path) -> Manifest:
        with self._plain_errors(check_key(key)):
            text = self._text(key, MANIFEST_NAME)
            signature = self._text(key, SIGNATURE_NAME)
        if text is None:
            raise UserError(f"store {self.uri}: no artifact under key {key!r}")
        manifest = parse_manifest(text, f"artifact {self.uri}/{key}")
        refuse_to_overwrite(folder, manifest.kind)
        with staged(folder) as path:
            for name in manifest.files:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                with self._plain_errors(key, name):
                    self._download(self._name(key, name), path / name)
            (path / MANIFEST_NAME).write_bytes(text)
            if signature is not None:
                (path / SIGNATURE_NAME).write_bytes(signature)
        return manifest

    def exists(self, key: str) -> bool:
        with self._plain_errors(check_key(key)):
            return self._text(key, MANIFEST_NAME) is not None

    def remove(self, key: str) -> None:
        with self._plain_errors(check_key(key)):
            if self._text(key, MANIFEST_NAME) is not None:
                self._client.remove_object(self._bucket, self._name(key, MANIFEST_NAME))
                self._remove_stale(key, [])

    def keys(self, prefix: str = "") -> list[str]:
        with self._plain_errors(prefix):
            objects = self._client.list_objects(self._bucket, prefix=self._prefix + prefix, recursive=True)
            names = [str(found.object_name).removeprefix(self._prefix) for found in objects]
        manifest = f"/{MANIFEST_NAME}"
        found_keys = (name.removesuffix(manifest) for name in names if name.endswith(manifest))
        return sorted(key for key in found_keys if key.startswith(prefix))

    def check(self) -> None:
        name = f"{self._prefix}.check-{uuid4().hex}"
        with self._plain_errors(name):
            self._client.put_object(self._bucket, name, io.BytesIO(), 0)
            self._client.remove_object(self._bucket, name)

    def _name(self, key: str, path: str) -> str:
        return f"{self._prefix}{key}/{path}"

    def _holds(self, key: str, manifest: Manifest) -> bool:
        """Whether the same artifact is already there."""
        text = self._text(key, MANIFEST_NAME)
        try:
            return text is not None and parse_manifest(text, key).digest == manifest.digest
        except UserError:
            return False  # broken or of another version: to be replaced

    def _text(self, key: str, name: str) -> bytes | None:
        """A small object's content; None where there is none."""
        # GET and not HEAD: only a GET's answer has a body that tells a missing bucket from a missing key.
        try:
            response = self._client.get_object(self._bucket, self._name(key, name))
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def _download(self, name: str, path: Path) -> None:
        """One object into one file. The pool retries requests; a body cut in the middle is asked for again here."""
        for attempt in range(RETRIES + 1):
            try:
                self._stream(name, path)
                break
            except MaxRetryError:
                raise
            except HTTPError:
                if attempt == RETRIES:
                    raise

    def _stream(self, name: str, path: Path) -> None:
        response = self._client.get_object(self._bucket, name)
        try:
            with path.open("wb") as file:
                for chunk in response.stream(_CHUNK):
                    file.write(chunk)
        finally:
            response.close()
            response.release_conn()

    def _remove_stale(self, key: str, names: list[str]) -> None:
        """Removes what an earlier artifact, or an upload that was cut off, left under the key."""
        wanted = {self._name(key, name) for name in names}
        listed = self._client.list_objects(self._bucket, prefix=f"{self._prefix}{key}/", recursive=True)
        stale = [DeleteObject(str(found.object_name)) for found in listed if found.object_name not in wanted]
        for error in self._client.remove_objects(self._bucket, stale):
            raise Fault(f"store {self.uri}: cannot remove the stale object {error.name}: {error.message}")

    @contextmanager
    def _plain_errors(self, key: str, file: str | None = None) -> Iterator[None]:
        """Turns the client's errors into one line that names the thing and what would be right."""
        try:
            yield
        except S3Error as error:
            raise self._explain(error, key, file) from error
        except (ServerError, InvalidResponseError, MinioException) as error:
            raise Fault(f"S3 at {self._endpoint} fails: {_first_line(error)}; try again later") from error
        except HTTPError as error:
            reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            raise Fault(
                f"S3 at {self._endpoint} does not answer ({_first_line(reason)});"
                " check that it is up and that S3_ENDPOINT_URL is right"
            ) from error

    def _explain(self, error: S3Error, key: str, file: str | None) -> UserError | Fault:
        if error.code in _REFUSED:
            return UserError(
                f"S3 at {self._endpoint} refuses the access key for bucket {self._bucket!r} ({error.code});"
                " check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's owner"
            )
        if error.code == "NoSuchBucket":
            return UserError(f"bucket {self._bucket!r} does not exist at {self._endpoint}; make it or name another one")
        if error.code == "NoSuchKey":
            return UserError(f"artifact {self.uri}/{key}: file {file} is missing; put the artifact anew")
        return Fault(f"S3 at {self._endpoint} fails: {error.code} ({error.message}); try again later")


def _http() -> urllib3.PoolManager:
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=urllib3.Retry(
            total=RETRIES,
            backoff_factor=0.2,
            backoff_max=2.0,
            status_forcelist=(500, 502, 503, 504),
            respect_retry_after_header=False,
        ),
        maxsize=8,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )


def _first_line(error: object) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
