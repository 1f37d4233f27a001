"""The API server as everybody but the operator uses it: users, the kubelet, the Job controller, KServe and the gateway."""

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp

from noria.plan.contract import KINDS, Manifest
from noria.plan.manifests import MANAGED_BY

PATIENCE_SECONDS = 60
"""For so long an API server that does not answer is asked again, as every client does."""


class Api:
    """Plain requests as administrator. What is said by `put` and `status` is noted in `wrote`: the newest
    resourceVersion by plural of what the operator watches."""

    def __init__(self, server: str, certificate: Path, token: str = "token-admin") -> None:
        self._server, self._certificate = server, certificate
        self._headers = {"Authorization": f"Bearer {token}"}
        self.wrote: dict[str, int] = {}
        self.said_of: list[tuple[float, Manifest]] = []
        """Objects as they were when their status was said, and when (time.monotonic)."""
        self.forgets = False
        """Whether versions may go back, so that nothing is to be concluded from them."""

    async def __aenter__(self) -> Self:
        trusted = ssl.create_default_context(cafile=str(self._certificate))
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted), headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(self, method: str, path: str, body: Any = None, media: str = "application/json") -> Manifest:
        """The answer. LookupError if there is no such thing; AssertionError with the API server's words for all else."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, said = await self.said(method, path, body, media)
            if status not in (429, 500, 503, 504) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)  # an API server that just begins, or is not there at all
        if status == 404:
            raise LookupError(path)
        assert status < 300, f"{method} {path}: {said.get('message', said)}"
        return said

    async def said(
        self, method: str, path: str, body: Any = None, media: str = "application/json"
    ) -> tuple[int, Manifest]:
        """The answer as it is; without one 503."""
        text = None if body is None else json.dumps(body)
        try:
            async with self._session.request(
                method, self._server + path, data=text, headers={"Content-Type": media}
            ) as answer:
                return answer.status, await answer.json(content_type=None)
        except aiohttp.ClientError as error:
            return 503, {"message": repr(error)}

    async def create(self, manifest: Manifest) -> Manifest:
        """Make it."""
        metadata = manifest["metadata"]
        return self._noted(await self.send("POST", path(manifest["kind"], metadata.get("namespace")), manifest))

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None."""
        try:
            return await self.send("GET", path(kind, namespace, name))
        except LookupError:
            return None

    async def list(self, kind: str, namespace: str | None) -> list[Manifest]:
        """All of a kind, sorted by name; none where the kind is not served."""
        try:
            found = await self.send("GET", path(kind, namespace))
        except LookupError:
            return []
        named = ({"apiVersion": KINDS[kind].api_version, "kind": kind, **each} for each in found["items"])
        return sorted(named, key=lambda each: each["metadata"]["name"])

    async def patch(self, manifest: Manifest, change: Manifest, subresource: str = "") -> Manifest:
        """Merge `change` into it, or into what it is `status` of."""
        metadata = manifest["metadata"]
        place = path(manifest["kind"], metadata.get("namespace"), metadata["name"]) + subresource
        return self._noted(await self.send("PATCH", place, change, "application/merge-patch+json"))

    async def replace(self, manifest: Manifest) -> tuple[int, Manifest]:
        """Put it as somebody who edits it, whatever its version is by now: the answer as it is."""
        metadata = manifest["metadata"]
        place = path(manifest["kind"], metadata.get("namespace"), metadata["name"])
        status = 409
        while status == 409:
            live = await self.send("GET", place)
            metadata = metadata | {"resourceVersion": live["metadata"]["resourceVersion"]}
            status, said = await self.said("PUT", place + "?fieldValidation=Strict", manifest | {"metadata": metadata})
        return status, self._noted(said) if status < 300 else said

    async def status(self, manifest: Manifest, status: Manifest) -> Manifest:
        """Merge `status` into its status."""
        told = await self.patch(manifest, {"status": status}, "/status")
        self.said_of.append((time.monotonic(), told))
        return told

    async def delete(self, manifest: Manifest) -> None:
        """Delete it, without any time of grace, if it is still that one."""
        metadata = manifest["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        try:
            await self.send("DELETE", path(manifest["kind"], metadata.get("namespace"), metadata["name"]), options)
        except LookupError:
            return

    def _noted(self, manifest: Manifest) -> Manifest:
        kind = KINDS.get(manifest["kind"])
        ours = manifest["metadata"].get("labels", {}).get(MANAGED_BY) == "noria"
        if kind and not self.forgets and (ours or kind.api_version.startswith("noria.dev/")):
            self.wrote[kind.plural] = int(manifest["metadata"]["resourceVersion"])
        return manifest


class Moment(Api):
    """The cluster as it is now: each kind is listed once, for whoever asks for it in any namespace."""

    def __init__(self, api: Api) -> None:
        vars(self).update(vars(api))
        self._listed: dict[str, list[Manifest]] = {}

    async def list(self, kind: str, namespace: str | None) -> list[Manifest]:
        """Of the one list of the kind."""
        if kind not in self._listed:
            self._listed[kind] = await super().list(kind, None)
        everywhere = namespace is None or not KINDS[kind].namespaced
        return [each for each in self._listed[kind] if everywhere or each["metadata"]["namespace"] == namespace]

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """Of the one list of the kind."""
        found = await self.list(kind, namespace)
        return next((each for each in found if each["metadata"]["name"] == name), None)


def path(kind: str, namespace: str | None = None, name: str = "", **query: str) -> str:
    """Where it lies."""
    known = KINDS[kind]
    place = f"/apis/{known.api_version}" if "/" in known.api_version else f"/api/{known.api_version}"
    place += f"/namespaces/{namespace}" if namespace and known.namespaced else ""
    return place + f"/{known.plural}" + (f"/{name}" if name else "") + (f"?{urlencode(query)}" if query else "")
