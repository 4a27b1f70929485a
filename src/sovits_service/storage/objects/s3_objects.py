"""Files by key in an S3-compatible bucket: AWS, MinIO, Aliyun OSS and others."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sovits_service.errors import SettingsError, StorageError
from sovits_service.storage.objects.objects import ObjectInfo, StoredObject, check_key, is_key

if TYPE_CHECKING:  # obstore has these names for type checkers alone
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config

T = TypeVar("T")
# obstore raises the built-in errors where there is one: no such file, no permission.
_FAILURES = (BaseError, OSError)


class S3Objects:
    """A bucket, whose links are presigned.

    Args:
        endpoint_url: of a store that is not AWS, `http://minio:9000` or `https://oss-cn-hangzhou.aliyuncs.com`.
        public_url: the same store as clients reach it, where that is another address; links begin with it.
        access_key_id, secret_access_key: where empty, from `AWS_*` variables or the machine's role.
        prefix: a folder in the bucket that everything is kept in.
        virtual_hosted: whether the bucket is part of the host's name, as Aliyun OSS asks for.

    Raises:
        SettingsError: a setting that the client does not take.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint_url: str = "",
        public_url: str = "",
        region: str = "us-east-1",
        access_key_id: str = "",
        secret_access_key: str = "",
        prefix: str = "",
        virtual_hosted: bool = False,
        timeout_s: float = 10.0,
    ) -> None:
        if any(url and not url.startswith(("http://", "https://")) for url in (endpoint_url, public_url)):
            raise SettingsError("endpoint_url and public_url of the object store must begin with http:// or https://")
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        config: S3Config = {"bucket": bucket, "region": region, "virtual_hosted_style_request": virtual_hosted}
        if access_key_id:
            config |= {"access_key_id": access_key_id, "secret_access_key": secret_access_key}
        client: ClientConfig = {"timeout": timedelta(seconds=timeout_s), "connect_timeout": timedelta(seconds=2)}
        retry: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=timeout_s)}
        try:
            self._store = _connect(config, endpoint_url, client, retry)
            self._links = _connect(config, public_url, client, retry) if public_url else self._store
        except (BaseError, ValueError):
            raise SettingsError("the S3 settings cannot be used; check bucket, endpoint_url and region") from None

    async def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        path = self._path(key)
        await _guarded(obstore.put_async(self._store, path, data, attributes={"Content-Type": content_type}))

    async def get(self, key: str) -> StoredObject | None:
        path = self._path(key)
        try:
            result = await obstore.get_async(self._store, path)
            data = bytes(await result.bytes_async())
        except FileNotFoundError:
            return None
        except _FAILURES as error:
            raise _storage_error() from error
        if len(data) != result.meta["size"]:
            raise _storage_error()
        return StoredObject(data, _info(key, result.meta))

    async def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            return
        except _FAILURES as error:
            raise _storage_error() from error

    async def entries(self, prefix: str) -> list[ObjectInfo]:
        folder, _, _ = (self._prefix + prefix).rpartition("/")
        try:
            entries = await obstore.list(self._store, folder or None).collect_async()
        except _FAILURES as error:
            raise _storage_error() from error
        infos = [_info(entry["path"][len(self._prefix) :], entry) for entry in entries]
        # A bucket may hold what others put there: names that could not be ours are passed over.
        ours = (info for info in infos if info.key.startswith(prefix) and is_key(info.key))
        return sorted(ours, key=lambda info: info.key)

    async def url(self, key: str, expires_s: float) -> str:
        return await _guarded(
            obstore.sign_async(self._links, "GET", self._path(key), timedelta(seconds=int(expires_s)))
        )

    def _path(self, key: str) -> str:
        return self._prefix + check_key(key)


def _info(key: str, meta: ObjectMeta) -> ObjectInfo:
    modified_s = meta["last_modified"].timestamp()
    return ObjectInfo(key, meta["size"], modified_s, meta["e_tag"] or str(modified_s))


def _connect(config: S3Config, endpoint_url: str, client: ClientConfig, retry: RetryConfig) -> S3Store:
    if endpoint_url:
        config = {**config, "endpoint": endpoint_url}
        client = {**client, "allow_http": endpoint_url.startswith("http://")}
    return S3Store(config=config, client_options=client, retry_config=retry)


async def _guarded(work: Awaitable[T]) -> T:
    try:
        return await work
    except _FAILURES as error:
        raise _storage_error() from error


def _storage_error() -> StorageError:
    return StorageError("the object store does not answer; try again later")
