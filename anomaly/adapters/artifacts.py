"""Artifacts (networks and charts) as files in a folder or objects on S3, addressed by URI.

In: bytes and a name. Out: a ``file://`` or ``s3://`` URI that anybody with the same access can read without
MLflow, and the bytes again, checked against the SHA-256 that the metadata keeps.

A file appears under its name only when it is complete (written aside, then renamed); S3 does the same by
nature. Names come from groups and variables, so anything may be in them: each part of a path that holds more
than letters, digits, dots, dashes and underscores is made harmless, with a few digits of a hash so that two
different names stay different. No name can leave the root.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from anomaly.exceptions import (
    ArtifactCorruptedError,
    ArtifactMissingError,
    ArtifactsUnavailableError,
    ConfigurationError,
)

CONNECT_SECONDS = 5
READ_SECONDS = 60
ATTEMPTS = 3

_LONGEST_PART = 100
_NOT_THERE = {"NoSuchKey", "404"}
_NOT_THERE_ADVICE = "{uri} is not there; check that the artifacts' volume is mounted, and that nobody deleted it"
_NOT_ALLOWED = {
    "AccessDenied",
    "403",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "NoSuchBucket",
    "InvalidBucketName",
}


def safe_name(name: str) -> str:
    """A relative path made of harmless parts; ``/`` separates them. Equal names give equal paths, different
    names different ones."""
    return "/".join(_safe_part(part) for part in name.strip("/").split("/"))


def _safe_part(part: str) -> str:
    harmless = re.sub(r"[^A-Za-z0-9._-]+", "_", part)[:_LONGEST_PART]
    if harmless == part and part.strip("."):
        return part
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem, suffix = Path(harmless).stem.strip("."), Path(harmless).suffix
    return f"{stem or '_'}-{digest}{suffix}"


class Artifacts:
    """Reads any artifact; writes below its root.

    Args:
        root: a folder, or ``s3://bucket/prefix``.
        s3_endpoint: another S3 server than Amazon's.

    Raises:
        ConfigurationError: the root is of a kind that is not supported.
    """

    def __init__(self, root: str, s3_endpoint: str | None = None) -> None:
        self._s3_endpoint = s3_endpoint
        self.root = _root_uri(root)

    def read(self, uri: str, *, sha256: str) -> bytes:
        """The bytes behind a ``file://`` or ``s3://`` URI, if they are what was stored.

        Args:
            sha256: hexadecimal, as the metadata keeps it.

        Raises:
            ArtifactCorruptedError: the SHA-256 is another.
            ArtifactMissingError: not there, although the root is. It may be on a volume that is not mounted yet,
                so it is tried again like the next.
            ArtifactsUnavailableError: not reachable; for files also when the root itself is not there.
            ConfigurationError: no permission, no credentials, no such bucket, or another kind of URI.
        """
        content = self._read(uri)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256.lower():
            raise ArtifactCorruptedError(
                f"{uri} ({len(content):,} bytes) has SHA-256 {found}; the metadata says {sha256}. It was changed or "
                "damaged after it was stored and is not loaded: restore it from a backup, or fit the group again"
            )
        return content

    def save(self, name: str, png: bytes) -> str:
        """Keeps a chart under ``charts/``; the same name again replaces it. Returns its URI.

        Raises:
            ArtifactsUnavailableError, ConfigurationError: as for `read`.
        """
        path = safe_name(name)
        uri = f"{self.root}/charts/{path}" if path.endswith(".png") else f"{self.root}/charts/{path}.png"
        self.write(uri, png)
        return uri

    def write(self, uri: str, content: bytes) -> None:
        """Stores the bytes under exactly this URI, in one piece, in place of what was there.

        Raises:
            ArtifactsUnavailableError, ConfigurationError: as for `read`.
        """
        if uri.startswith("s3://"):
            bucket, key = _bucket_and_key(uri)
            kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
            with _s3_errors(uri, self._s3_endpoint):
                self._s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=kind)
        else:
            with _file_errors(uri):
                _write_whole(_file_path(uri), content)

    def delete(self, uri: str) -> None:
        """Takes what is under this URI away; nothing there is fine.

        Raises:
            ArtifactsUnavailableError, ConfigurationError: as for `read`.
        """
        if uri.startswith("s3://"):
            bucket, key = _bucket_and_key(uri)
            with _s3_errors(uri, self._s3_endpoint):
                self._s3.delete_object(Bucket=bucket, Key=key)
        else:
            with _file_errors(uri):
                _file_path(uri).unlink(missing_ok=True)

    def _read(self, uri: str) -> bytes:
        if uri.startswith("s3://"):
            bucket, key = _bucket_and_key(uri)
            with _s3_errors(uri, self._s3_endpoint):
                body: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
                return body
        with _file_errors(uri):
            try:
                return _file_path(uri).read_bytes()
            except FileNotFoundError:
                if self.root.startswith("file://") and not _file_path(self.root).is_dir():
                    raise
                raise ArtifactMissingError(_NOT_THERE_ADVICE.format(uri=uri)) from None

    @cached_property
    def _s3(self) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self._s3_endpoint,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                # Other S3 servers than Amazon's rarely have a host name per bucket.
                s3={"addressing_style": "path" if self._s3_endpoint else "auto"},
            ),
        )


def _root_uri(root: str) -> str:
    if root.startswith("s3://"):
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigurationError(f"the artifact root is {root!r}, without a bucket; expected s3://bucket/prefix")
        return f"s3://{bucket}/{prefix}".rstrip("/")
    if root.startswith("file://"):
        return _file_path(root).as_uri().rstrip("/")
    if "://" in root or not root:
        raise ConfigurationError(f"the artifact root is {root!r}; expected a folder or s3://bucket/prefix")
    return Path(root).absolute().as_uri().rstrip("/")


def _bucket_and_key(uri: str) -> tuple[str, str]:
    # Not urlsplit: a key may hold '#' and '?'.
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise ConfigurationError(f"{uri!r} names no object; expected s3://bucket/key")
    return bucket, key


def _file_path(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        raise ConfigurationError(f"{uri!r} cannot be read here; expected a file:/// or s3:// URI")
    return Path(unquote(parts.path))


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _file_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactsUnavailableError(_NOT_THERE_ADVICE.format(uri=uri)) from None
    except PermissionError as refused:
        raise ConfigurationError(f"{uri} may not be used by this user: {refused}; give it access") from refused
    except OSError as failed:
        raise ArtifactsUnavailableError(f"{uri}: {failed}; check the disk or the mount") from failed


@contextmanager
def _s3_errors(uri: str, endpoint: str | None) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    server = endpoint or "S3"
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as missing:
        raise ConfigurationError(
            f"no credentials for {uri}: {missing}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"
        ) from missing
    except ClientError as answer:
        code = str(answer.response.get("Error", {}).get("Code", ""))
        if code in _NOT_THERE:
            raise ArtifactMissingError(
                f"{uri} is not there ({server} says {code}); check that nobody deleted it, or fit the group again"
            ) from answer
        if code in _NOT_ALLOWED:
            raise ConfigurationError(
                f"{uri} may not be used: {server} says {code}; check the bucket's name and the credentials' rights"
            ) from answer
        raise ArtifactsUnavailableError(f"{uri}: {server} answered {code or answer}; it is tried again") from answer
    except BotoCoreError as failed:
        raise ArtifactsUnavailableError(
            f"{uri}: {server} did not answer ({failed}); check AWS_ENDPOINT_URL_S3 and the network"
        ) from failed
