"""
What a node follows in its region's store: configuration documents, API keys, corrections.

The store is never on the way of an answer. While it is gone, the node serves on with what it knew last, which is also
on its disk for the next start.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import structlog

from addrmesh.errors import AddrmeshError, ConfigError
from addrmesh.node.access import Access
from addrmesh.node.corrections import Corrections
from addrmesh.settings import NodeSettings
from addrmesh.settings import Store as StoreSettings
from addrmesh.settings import Tls as TlsSettings
from addrmesh.store import keys
from addrmesh.store.connection import Endpoint, Tls
from addrmesh.store.documents import Document, Documents
from addrmesh.store.known_good import LastKnownGood
from addrmesh.store.redis import RedisStore
from addrmesh.store.store import Store
from addrmesh.store.validators import VALIDATORS
from addrmesh.topology.documents import FLEET, fleet


def open_store(settings: NodeSettings) -> RedisStore | None:
    """
    Return the store that the settings name, if they name one; it connects when it is first asked.

    Raises:
        ConfigError: A URL or the password file cannot be used.
    """
    store = settings.store
    if store.primary is None:
        return None
    return RedisStore(
        settings.server.region,
        _endpoint("store.primary", store.primary, store, settings.tls),
        {
            region: _endpoint(f"store.replicas.{region}", url, store, settings.tls)
            for region, url in store.replicas.items()
        },
    )


def _endpoint(key: str, url: str, settings: StoreSettings, tls: TlsSettings) -> Endpoint:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme not in ("redis", "rediss") or not host or not port or parts.username or parts.password:
        raise ConfigError(
            f"{key}: found something else than redis://HOST:PORT or rediss://HOST:PORT "
            "(passwords belong in store.password_file)"
        )
    files = None
    if parts.scheme == "rediss":
        if not (tls.certificate and tls.key and tls.ca):
            raise ConfigError(f"{key}: is rediss://, which needs tls.certificate, tls.key and tls.ca")
        files = Tls(tls.certificate, tls.key, tls.ca)
    password = None
    if settings.password_file:
        try:
            password = settings.password_file.read_text("utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"store.password_file: {settings.password_file} cannot be read ({error.strerror})"
            ) from error
    return Endpoint(host, port, keys.CLIENT_USER if password else None, password, files)


class Follower:
    """
    Keeps a node up to date with the store.

    Args:
        store: Its owner closes it.
        settings: Say where the last known good is kept.
        access: Fed with keys; None where none are required.
        corrections: Fed with what was approved.
        apply: By document, what to call with each that is accepted, as its validator has read it.
    """

    def __init__(
        self,
        store: Store,
        settings: StoreSettings,
        access: Access | None,
        corrections: Corrections,
        apply: Mapping[str, Callable[[Any], None]],
    ) -> None:
        self._store, self._access, self._corrections, self._apply = store, access, corrections, apply
        self._known_good = LastKnownGood(settings.last_known_good) if settings.last_known_good else None
        self._log = structlog.get_logger()
        self.revisions: dict[str, str] = {}
        """Of the documents that are applied, by name."""

    def restore(self) -> None:
        """Apply what was applied when this node last ran."""
        self._corrections.restore()
        for name in self._apply:
            if self._known_good and (document := self._known_good.load(name)):
                self._take(document)

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_documents())
            tasks.create_task(self._corrections.follow(self._store))
            if self._access is not None:
                tasks.create_task(self._access.follow(self._store))

    async def _follow_documents(self) -> None:
        async with aclosing(Documents(self._store, VALIDATORS).watch()) as documents:
            async for document in documents:
                if document.name == FLEET and self._access is not None:
                    self._access.quota.nodes = sum(len(region.nodes) for region in fleet(document.content).regions)
                elif document.name in self._apply and self._take(document) and self._known_good:
                    try:
                        self._known_good.save(document)
                    except ConfigError as error:
                        self._log.warning("document.not_kept", document=document.name, detail=str(error))

    def _take(self, document: Document) -> bool:
        try:
            self._apply[document.name](VALIDATORS[document.name](document.content))
        except AddrmeshError as error:
            self._log.warning("document.rejected", document=document.name, detail=str(error))
            return False
        self.revisions[document.name] = document.revision
        self._log.info("document.applied", document=document.name, revision=document.revision)
        return True
