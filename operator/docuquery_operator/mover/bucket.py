"""A store in a bucket of S3, GCS or Azure, by obstore."""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError

from ..api.backup_job import AzureDestination, Destination, GcsDestination, S3Destination
from .contracts import MoverError
from .store import DOCUMENT_LIMIT, MissingError, Stored

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

PART = 32 << 20
# With the part that is being filled: 128 MiB of memory.
PARTS_AT_ONCE = 3
SMALL = 8 << 20
RANGE = 8 << 20
CLOCK_SECONDS = 10
# A part of 32 MiB on a slow line takes longer than the half minute that the library allows.
PATIENT: RetryConfig = {"max_retries": 15, "retry_timeout": timedelta(minutes=5)}
QUICK: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
REQUEST_SECONDS = 300
ABORT_SECONDS = 20

_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist|bucket .{0,80}not found", re.I)
_NO_ACCESS = re.compile(
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|ExpiredToken|UserNotFound|\b40[13]\b"
)
_FULL = re.compile(r"QuotaExceeded|EntityTooLarge|InsufficientStorage|XMinioStorageFull|\b507\b")
_NO_NETWORK = re.compile(r"error sending request|dns error|connect|timed out|timeout", re.I)
_NO_IDENTITY = re.compile(r"credential|169\.254\.169\.254|metadata\.google", re.I)

ERRORS = (BaseError, OSError, ValueError)


def opened(destination: Destination, secrets: Path) -> Bucket:
    """The bucket of a destination; credentials are files of the Secret, or the pod's own identity."""
    ca = _file(secrets, "ca.crt")
    patient = _connected(destination, secrets, ca, PATIENT)
    quick = _connected(destination, secrets, ca, QUICK)
    return Bucket(patient, quick, *_named(destination))


def _connected(destination: Destination, secrets: Path, ca: str | None, retry: RetryConfig) -> ObjectStore:
    options: ClientConfig = {"timeout": timedelta(seconds=REQUEST_SECONDS), "connect_timeout": timedelta(seconds=10)}
    if ca:
        options["root_certificate"] = ca
    if destination.s3 is not None:
        return _s3(destination.s3, secrets, options, retry)
    if destination.gcs is not None:
        return _gcs(destination.gcs, secrets, options, retry)
    assert destination.azure is not None
    return _azure(destination.azure, secrets, options, retry)


def _s3(wanted: S3Destination, secrets: Path, options: ClientConfig, retry: RetryConfig) -> ObjectStore:
    from obstore.store import S3Store

    config: dict[str, Any] = {"region": wanted.region or "us-east-1", "checksum_algorithm": "SHA256"}
    if wanted.endpoint:
        config["endpoint"] = wanted.endpoint
        options = {**options, "allow_http": wanted.endpoint.startswith("http://")}
    if wanted.secret_ref is not None:
        config["access_key_id"] = _needed(secrets, "accessKeyId")
        config["secret_access_key"] = _needed(secrets, "secretAccessKey")
        if token := _file(secrets, "sessionToken"):
            config["session_token"] = token
    return S3Store(wanted.bucket, client_options=options, retry_config=retry, **config)


def _gcs(wanted: GcsDestination, secrets: Path, options: ClientConfig, retry: RetryConfig) -> ObjectStore:
    from obstore.store import GCSStore

    key = {"service_account_key": _needed(secrets, "serviceAccount.json")} if wanted.secret_ref else {}
    try:
        return GCSStore(wanted.bucket, client_options=options, retry_config=retry, **key)  # type: ignore[arg-type]
    except ERRORS as error:
        raise MoverError("AccessDenied", f"serviceAccount.json of the store's Secret: {error}", retry=False) from None


def _azure(wanted: AzureDestination, secrets: Path, options: ClientConfig, retry: RetryConfig) -> ObjectStore:
    from obstore.store import AzureStore

    config: dict[str, Any] = {"account_name": wanted.account}
    if wanted.secret_ref is not None:
        if token := _file(secrets, "sasToken"):
            config["sas_key"] = token
        else:
            config["account_key"] = _needed(secrets, "accountKey")
    return AzureStore(wanted.container, client_options=options, retry_config=retry, **config)


def _file(secrets: Path, name: str) -> str | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return (secrets / name).read_text().strip() or None
    return None


def _needed(secrets: Path, name: str) -> str:
    value = _file(secrets, name)
    if value is None:
        raise MoverError("AccessDenied", f"the store's Secret has no key {name}, or it is empty; add it", retry=False)
    return value


def _named(destination: Destination) -> tuple[str, str]:
    """Name for people; address whose answers carry the store's time."""
    if destination.s3 is not None:
        region = destination.s3.region or "us-east-1"
        return f"s3://{destination.s3.bucket}", destination.s3.endpoint or f"https://s3.{region}.amazonaws.com"
    if destination.gcs is not None:
        return f"gs://{destination.gcs.bucket}", "https://storage.googleapis.com"
    assert destination.azure is not None
    account = f"{destination.azure.account}.blob.core.windows.net"
    return f"https://{account}/{destination.azure.container}", f"https://{account}"


class Bucket:
    """See store.Store."""

    def __init__(self, patient: ObjectStore, quick: ObjectStore, where: str, address: str) -> None:
        self._store = patient
        self._quick = quick
        self._where = where
        self._address = address

    @property
    def where(self) -> str:
        """For people."""
        return self._where

    async def check(self, prefix: str) -> None:
        """One listing, with little patience."""
        try:
            async for _page in obstore.list(self._quick, prefix=prefix or None, chunk_size=1):
                return
        except ERRORS as error:
            raise explained(error, self._where, "list") from error

    async def put(self, key: str, stream: AsyncIterator[bytes]) -> int:
        """Small ones in one request, larger ones in parts that nobody sees before the last."""
        head, total = bytearray(), 0
        async for chunk in stream:
            head += chunk
            if len(head) >= SMALL:
                break
        else:
            await self._put(key, bytes(head))
            return len(head)

        async def whole() -> AsyncIterator[bytes]:
            nonlocal total
            total = len(head)
            first = bytes(head)
            head.clear()
            yield first
            del first
            async for chunk in stream:
                total += len(chunk)
                yield chunk

        await self._put(key, whole())
        return total

    async def _put(self, key: str, data: bytes | AsyncIterator[bytes]) -> None:
        kept = _Kept(data) if not isinstance(data, bytes) else data
        work = obstore.put_async(self._store, key, kept, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)
        task = asyncio.ensure_future(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # The library aborts an upload whose source fails; one that is only cancelled leaves its parts behind.
            if isinstance(kept, _Kept):
                kept.stop()
            await asyncio.wait([task], timeout=ABORT_SECONDS)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        except ERRORS as error:
            if isinstance(kept, _Kept) and kept.error is not None:
                raise kept.error from None
            raise explained(error, self._where, f"write {key}") from error

    async def create(self, key: str, data: bytes) -> bool:
        """Whether it is ours: after a lost answer the retry meets what the first try has written."""
        try:
            await obstore.put_async(self._store, key, data, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return await self.get(key) == data
        except ERRORS as error:
            raise explained(error, self._where, f"write {key}") from error
        return True

    async def get(self, key: str, limit: int = DOCUMENT_LIMIT) -> bytes | None:
        """See store.Store."""
        found = await self.head(key)
        if found is None:
            return None
        if found.size > limit:
            raise MoverError("Damaged", f"{key} has {found.size} bytes, more than {limit}", retry=False)
        if found.size == 0:
            return b""
        try:
            return bytes(await obstore.get_range_async(self._store, key, start=0, end=found.size))
        except FileNotFoundError:
            await self._absent(key)
            return None
        except ERRORS as error:
            raise explained(error, self._where, f"read {key}") from error

    async def head(self, key: str) -> Stored | None:
        """See store.Store."""
        try:
            meta = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            await self._absent(key)
            return None
        except ERRORS as error:
            raise explained(error, self._where, f"look at {key}") from error
        return Stored(key, meta["size"], meta["last_modified"])

    async def _absent(self, key: str) -> None:
        """A bucket that is gone is no proof that an object is; both are a 404 without a word, and only a listing tells."""
        async for _found in self.list(key):
            return

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """By ranges, one ahead: a slow reader holds no request open, and each is retried for itself."""
        found = await self.head(key)
        if found is None:
            raise MissingError(key, self._where)
        ahead = self._range(key, 0, found.size)
        try:
            for start in range(0, found.size, RANGE):
                chunk = await ahead
                ahead = self._range(key, start + RANGE, found.size)
                yield chunk
        finally:
            ahead.cancel()

    def _range(self, key: str, start: int, size: int) -> asyncio.Task[bytes]:
        return asyncio.create_task(self._read(key, start, min(start + RANGE, size)))

    async def _read(self, key: str, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        try:
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=end))
        except FileNotFoundError:
            raise MissingError(key, self._where) from None
        except ERRORS as error:
            raise explained(error, self._where, f"read {key}") from error

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        """See store.Store."""
        try:
            async for page in obstore.list(self._store, prefix=prefix or None):
                for meta in page:
                    yield Stored(meta["path"], meta["size"], meta["last_modified"])
        except ERRORS as error:
            raise explained(error, self._where, f"list {prefix}") from error

    async def delete(self, keys: Iterable[str]) -> None:
        """One request each: stores that speak S3 differ in how they answer a bulk."""
        for key in keys:
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError:
                await self._absent(key)
            except ERRORS as error:
                raise explained(error, self._where, f"delete {key}") from error

    async def sweep(self, prefix: str, before: datetime | None = None) -> int:
        """Parts of broken uploads are hidden; only the bucket's lifecycle rule removes them."""
        return 0

    async def room(self) -> int | None:
        """Buckets do not tell."""
        return None

    async def clock(self) -> datetime | None:
        """By the Date header of any answer, also of a refusal."""
        return await asyncio.to_thread(_date_of, self._address)


def _date_of(address: str) -> datetime | None:
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 the address comes from the destination
    try:
        with urllib.request.urlopen(request, timeout=CLOCK_SECONDS) as answer:  # noqa: S310
            text = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        with error:
            text = error.headers.get("Date")
    except (OSError, ValueError):
        return None
    try:
        return parsedate_to_datetime(text) if text else None
    except ValueError:
        return None


class _Stopped(Exception):
    """Nobody wants the upload any more."""


async def _awaited(stream: AsyncIterator[bytes]) -> bytes | None:
    """The next chunk; None at the end, which a task cannot raise."""
    async for chunk in stream:
        return chunk
    return None


class _Kept:
    """An iterator that keeps its own error: the library reports it as a text of its own."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._next: asyncio.Task[bytes | None] | None = None
        self._stopped = False
        self.error: BaseException | None = None

    def stop(self) -> None:
        """The next chunk is an error."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()

    def __aiter__(self) -> _Kept:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._chunk()
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self.error = error
            raise

    async def _chunk(self) -> bytes:
        if self._stopped:
            raise _Stopped
        self._next = asyncio.ensure_future(_awaited(self._stream))
        try:
            found = await self._next
        except asyncio.CancelledError:
            if self._stopped:
                raise _Stopped from None
            raise
        if found is None:
            raise StopAsyncIteration
        return found


def explained(error: Exception, where: str, doing: str) -> MoverError:
    """What went wrong with a store, and what to do."""
    text = _short(error)
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    if _NO_BUCKET.search(str(error)):
        return MoverError("BucketMissing", f"{where} does not exist; create it, or correct destination", retry=False)
    if denied or _NO_ACCESS.search(str(error)):
        need = "check the store's Secret and the rights of its account (list, get and put; delete only for clean-up)"
        return MoverError("AccessDenied", f"{where} refused to {doing}; {need}: {text}", retry=False)
    if _FULL.search(str(error)):
        return MoverError("StoreFull", f"{where} takes no more data; free or raise its space: {text}")
    if _NO_IDENTITY.search(str(error)):
        need = "give destination a secretRef, or the pod's ServiceAccount an identity of the cloud"
        return MoverError("AccessDenied", f"no credentials for {where}; {need}: {text}", retry=False)
    if _NO_NETWORK.search(str(error)) and "status code" not in str(error):
        need = "check the endpoint, DNS, and that a NetworkPolicy lets the mover out"
        return MoverError("StoreUnreachable", f"{where} does not answer; {need}: {text}")
    return MoverError("StoreError", f"{where} failed to {doing}: {text}")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
