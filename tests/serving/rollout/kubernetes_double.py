"""A thin Kubernetes API in this process: versions, conflicts, finalizers, a status subresource; no cluster."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes import client

Object = dict[str, Any]


@dataclass
class KubernetesDouble:
    """Objects by (collection, namespace, name). Every refusal is one that the real server makes."""

    objects: dict[tuple[str, str, str], Object] = field(default_factory=dict)
    version: int = 100
    writes: list[str] = field(default_factory=list)
    """Method and path of every write that was accepted."""
    refuse: list[int] = field(default_factory=list)
    """Status codes for the next writes, in their order; 0: let it pass."""

    def application(self) -> web.Application:
        application = web.Application()
        for prefix in ("/apis/{group}/{version}", "/api/{version}"):
            at = prefix + "/namespaces/{namespace}/{collection}"
            application.router.add_get(prefix + "/{collection}", self._list)
            application.router.add_get(at, self._list)
            application.router.add_post(at, self._create)
            application.router.add_get(at + "/{name}", self._get)
            application.router.add_put(at + "/{name}", self._replace)
            application.router.add_put(at + "/{name}/status", self._replace_status)
            application.router.add_patch(at + "/{name}", self._patch)
            application.router.add_get(at + "/{name}/scale", self._scale)
            application.router.add_patch(at + "/{name}/scale", self._rescale)
            application.router.add_delete(at + "/{name}", self._delete)
        return application

    def put(self, collection: str, document: Object) -> Object:
        """An object from nowhere; a new spec is a new generation."""
        metadata = document["metadata"]
        key = (collection, metadata["namespace"], metadata["name"])
        old = self.objects.get(key)
        changed = old is None or old.get("spec") != document.get("spec")
        metadata["generation"] = (old["metadata"]["generation"] if old else 0) + int(changed)
        metadata.setdefault("uid", f"00000000-{len(self.objects):04d}")
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self.objects[key] = document
        return document

    def delete(self, collection: str, namespace: str, name: str, at: str) -> None:
        """As kubectl delete: an object with finalizers only gets its deletionTimestamp."""
        document = self.objects[collection, namespace, name]
        if not document["metadata"].get("finalizers"):
            del self.objects[collection, namespace, name]
            return
        document["metadata"]["deletionTimestamp"] = at
        self.put(collection, document)

    # Requests

    def _key(self, request: web.Request) -> tuple[str, str, str]:
        info = request.match_info
        return info["collection"], info["namespace"], info["name"]

    def _found(self, request: web.Request) -> Object:
        found = self.objects.get(self._key(request))
        if found is None:
            raise web.HTTPNotFound(text="{}", reason="Not Found")
        return copy.deepcopy(found)

    def _accept(self, request: web.Request) -> None:
        status = self.refuse.pop(0) if self.refuse else 0
        if status == 409:
            raise web.HTTPConflict(text="{}")
        if status:
            raise web.HTTPServiceUnavailable(text="{}")
        self.writes.append(f"{request.method} {request.path}")

    @staticmethod
    def _compare(old: Object, new: Object) -> None:
        wanted = new["metadata"].get("resourceVersion")
        if wanted is not None and wanted != old["metadata"]["resourceVersion"]:
            raise web.HTTPConflict(text="{}")

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):  # a stream on which nothing comes
            stream = web.StreamResponse()
            await stream.prepare(request)
            await asyncio.sleep(3600)
            return stream
        collection, namespace = request.match_info["collection"], request.match_info.get("namespace")
        items = [each for key, each in self.objects.items() if key[0] == collection and namespace in {None, key[1]}]
        label, _, value = request.query.get("labelSelector", "").partition("=")
        items = [each for each in items if not label or each["metadata"].get("labels", {}).get(label) == value]
        return web.json_response({"items": items, "metadata": {"resourceVersion": str(self.version)}})

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(request))

    async def _create(self, request: web.Request) -> web.Response:
        document = await request.json()
        collection, namespace = request.match_info["collection"], request.match_info["namespace"]
        if (collection, namespace, document["metadata"]["name"]) in self.objects:
            raise web.HTTPConflict(text='{"reason": "AlreadyExists"}')
        self._accept(request)
        document["metadata"]["namespace"] = namespace
        return web.json_response(self.put(collection, document), status=201)

    async def _replace(self, request: web.Request) -> web.Response:
        new = await request.json()  # first: between reading and writing the object nothing else may run
        old = self._found(request)
        self._compare(old, new)
        self._accept(request)
        people = {"labels", "annotations"}  # a replacement that leaves them out takes them away
        kept = {name: value for name, value in old["metadata"].items() if name not in people}
        new["metadata"] = {**kept, **new["metadata"]}
        return web.json_response(self.put(request.match_info["collection"], new))

    async def _replace_status(self, request: web.Request) -> web.Response:
        """Takes the status alone."""
        new = await request.json()  # first: between reading and writing the object nothing else may run
        old = self._found(request)
        self._compare(old, new)
        self._accept(request)
        old["status"] = new["status"]
        return web.json_response(self.put(request.match_info["collection"], old))

    async def _patch(self, request: web.Request) -> web.Response:
        """A merge patch (RFC 7386): lists are replaced whole. Or a server-side apply."""
        applies = request.content_type == "application/apply-patch+yaml"
        # What the client sends for built-in kinds; the same but for lists, and custom resources know it not.
        built_in = request.match_info["collection"] in {"horizontalpodautoscalers"}
        known = "application/strategic-merge-patch+json" if built_in else "application/merge-patch+json"
        assert applies or request.content_type == known, request.content_type
        change = json.loads(await request.text())
        old = self._found(request)
        change["metadata"].pop("managedFields", None)
        new = merged(old, change)
        self._compare(old, new)
        self._accept(request)
        if applies:
            assert request.query["force"] == "true"
            new["metadata"]["managedFields"] = _managed(new, request.query["fieldManager"], change["spec"])
        else:
            new["metadata"]["managedFields"] = _managed(new, None, {})
        collection, namespace, name = self._key(request)
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            del self.objects[collection, namespace, name]
            return web.json_response(new)
        return web.json_response(self.put(collection, new))

    async def _scale(self, request: web.Request) -> web.Response:
        """The scale subresource of a Deployment."""
        found = self._found(request)
        return web.json_response({"metadata": found["metadata"], "spec": {"replicas": found["spec"]["replicas"]}})

    async def _rescale(self, request: web.Request) -> web.Response:
        change = json.loads(await request.text())
        document = self._found(request)
        self._accept(request)
        document["spec"] = {**document["spec"], "replicas": change["spec"]["replicas"]}
        self.put(request.match_info["collection"], document)
        return await self._scale(request)

    async def _delete(self, request: web.Request) -> web.Response:
        self._found(request)
        self._accept(request)
        self.delete(*self._key(request), at="2026-11-22T13:00:00Z")
        return web.json_response({"kind": "Status", "status": "Success"})

    @asynccontextmanager
    async def served(self) -> AsyncIterator[client.ApiClient]:
        """A client of this API, on loopback."""
        runner = web.AppRunner(self.application(), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        settings = client.Configuration(host=f"http://127.0.0.1:{port}")
        settings.retries = 0
        with client.ApiClient(settings) as api:
            yield api
        await runner.cleanup()


def merged(old: Object, change: Object) -> Object:
    """A merge patch carried out."""
    new = dict(old)
    for name, value in change.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = merged(old.get(name) or {}, value) if isinstance(value, dict) else value
    return new


def _managed(document: Object, manager: str | None, spec: Object) -> list[Object]:
    """managedFields after a write: whoever's field has another value by now has lost it."""
    assert manager is None or len(manager) <= 128
    old = document["metadata"].get("managedFields") or []
    kept = [each for each in old if each["manager"] != manager and _has(document["spec"], each["fieldsV1"])]
    return kept if manager is None else [*kept, {"manager": manager, "operation": "Apply", "fieldsV1": spec}]


def _has(spec: Object, fields: Object) -> bool:
    return all(
        _has(spec.get(name) or {}, value) if isinstance(value, dict) else spec.get(name) == value
        for name, value in fields.items()
    )
