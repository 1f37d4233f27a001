"""Speaks to the API server: the only module that imports kubernetes, and the place where an answer becomes an error."""

import asyncio
import copy
import os
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import NamedTuple, Self
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from kubernetes.aio import client, config
from pydantic_core import from_json

from noria.plan.contract import KINDS, Kind, Manifest
from noria.runtime.errors import Fenced, Unreachable, error_of
from noria.runtime.metrics import API_REQUESTS
from noria.runtime.parsing import parsed

MANAGER = "noria"
PAGE = 500
READ_SECONDS, WRITE_SECONDS = 60, 5
"""A write ends within the time between a leader's renew deadline and the end of its lease, so that none comes late."""
ANSWER_SECONDS = 4
"""The API server is asked to have answered a write by then: a webhook that hangs is told, in its words, not met with silence."""
LINE = 2**23
"""Half of the longest line that a watch may have: an object of 1.5 MiB, of which JSON makes six times as much (`<` is `\\u003c`)."""
# asyncio keeps a buffer of 256 KiB for each TLS connection, and writes zeros into all of it: 8 MiB for those that watch. A
# record of TLS has 16 KiB at most.
SSLProtocol.max_size = 2**15
_GROUPS = Kind("APIGroup", "", "apis", namespaced=False)
SILENCE_SECONDS = 90
"""A watch without even a bookmark, which the API server sends every minute, is taken for dead."""


def _words(kind: Kind, namespace: str | None, name: str, body: Manifest | None) -> str:
    name = name.partition("/")[0] or (body or {}).get("metadata", {}).get("name", "")
    return f"{kind.name} {namespace}/{name}" if namespace and name else f"{kind.name} {name}".strip()


class Credentials(NamedTuple):
    """How to reach the API server, for another client."""

    server: str
    insecure: bool
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None
    proxy_url: str | None


def _proxy(server: str) -> str | None:
    """That of HTTPS_PROXY, unless NO_PROXY names the host; unlike kubectl's, it may hold no CIDR. A kubeconfig's own goes before."""
    url = urlsplit(server)
    return None if proxy_bypass(url.netloc) else getproxies().get(url.scheme)


class Cluster:
    """Requests for objects as plain JSON, by kind."""

    def __init__(self, api: client.ApiClient, may_write: Callable[[], bool] = lambda: True) -> None:
        self._api, self._may_write = api, may_write

    @classmethod
    async def connect(cls) -> Self:
        """With KUBECONFIG or ~/.kube/config, else with the pod's service account. Raises Unreachable if there is neither."""
        configuration = client.Configuration()
        # aiohttp would look for a proxy and for ~/.netrc at each request, each in a thread: a fifth of the operator's CPU.
        configuration.client_session_kwargs = {"trust_env": False, "read_bufsize": LINE}
        # No limit (100 by default): each watch keeps a connection, and what waits for one would be behind all looks that hang,
        # the lease among it. Looks are bounded by the workers.
        configuration.connection_pool_maxsize = 0
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException as error:
            raise Unreachable(0, "NoCluster", f"{error}; set KUBECONFIG to a kubeconfig file", "the cluster") from error
        configuration.proxy = configuration.proxy or _proxy(configuration.host)
        return cls(client.ApiClient(configuration))

    def fenced(self, may_write: Callable[[], bool]) -> "Cluster":
        """The same connection, which refuses to write unless `may_write`."""
        return Cluster(self._api, may_write)

    async def close(self) -> None:
        """End all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def credentials(self) -> Credentials:
        """Those in use now; a token may have been renewed since the last time."""
        settings, headers = self._api.configuration, await self._headers()
        # "Bearer x" from a kubeconfig, "bearer x" from a service account.
        token = headers.get("authorization", "").rpartition(" ")[2] or None
        return Credentials(
            server=settings.host,
            insecure=not settings.verify_ssl,
            ca_path=settings.ssl_ca_cert,
            certificate_path=settings.cert_file,
            private_key_path=settings.key_file,
            token=token,
            proxy_url=settings.proxy,
        )

    async def get(self, kind: str, namespace: str | None, name: str) -> Manifest:
        """One object."""
        return await self._request("GET", KINDS[kind], namespace, name)

    async def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        kept: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    ) -> tuple[list[Manifest], str]:
        """All objects in the namespace (None: in all), and the resourceVersion to watch from; of each what `kept` gives, page by
        page: a thousand whole pods are 50 MiB."""
        of, items = KINDS[kind], []
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields, "continue": ""}
        while True:
            page = await self._request("GET", of, namespace, query=query, verb="LIST")
            items += [kept({"apiVersion": of.api_version, "kind": of.name, **item}) for item in page["items"]]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return items, page["metadata"]["resourceVersion"]

    async def groups(self) -> frozenset[str]:
        """The API groups that are served."""
        timeout = aiohttp.ClientTimeout(total=READ_SECONDS)
        response = await self._send("GET", f"{self._api.configuration.host}/apis", "LIST", _GROUPS, timeout)
        try:
            return frozenset(each["name"] for each in parsed(await response.read(), _GROUPS.plural)["groups"])
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(0, "Unreachable", f"the answer broke off: {error!r}", _GROUPS.plural) from error

    async def watch(
        self, kind: str, namespace: str | None, since: str, seconds: int, *, labels: str = "", fields: str = ""
    ) -> AsyncGenerator[tuple[str, Manifest], None]:
        """What changes from `since` on, bookmarks included, for so many seconds, or until nothing was heard for 90 s; Gone
        when `since` is too old."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(seconds),
        }
        query |= {"labelSelector": labels, "fieldSelector": fields}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS)
        url, of = self._url(KINDS[kind], namespace, query=query), KINDS[kind]
        response = await self._send("GET", url, "WATCH", of, timeout)
        try:
            async for line in response.content:
                event = parsed(line, of.plural)
                if event["type"] == "ERROR":
                    raise error_of(event["object"].get("code", 0), event["object"], of.plural)
                yield event["type"], event["object"]
        except TimeoutError:
            return  # silent for so long: nothing happened to a kind without bookmarks, or the connection is lost
        except (aiohttp.ClientError, LineTooLong) as error:
            raise Unreachable(0, "Unreachable", f"the watch broke: {error!r}", of.plural) from error
        finally:
            if response.connection and response.connection.transport:
                response.connection.transport.abort()  # no farewell by TLS, which would outlive `close`
            response.close()

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Manifest:
        """Server-side apply as the manager `noria`: the fields given are ours, and those given before but not now go."""
        kind, metadata = KINDS[manifest["kind"]], manifest["metadata"]
        query, media = {"fieldManager": MANAGER, "force": str(force).lower()}, "application/apply-patch+yaml"
        return await self._write(
            "PATCH", kind, metadata.get("namespace"), metadata["name"], body=manifest, query=query, media=media
        )

    async def replace_status(self, manifest: Manifest) -> Manifest:
        """Put `status`, all of it; Conflict if the object is no longer at the manifest's resourceVersion."""
        kind, metadata, query = KINDS[manifest["kind"]], manifest["metadata"], {"fieldManager": MANAGER}
        name = metadata["name"] + "/status"
        return await self._write("PUT", kind, metadata.get("namespace"), name, body=manifest, query=query)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create; AlreadyExists if something has that name."""
        kind, namespace = KINDS[manifest["kind"]], manifest["metadata"].get("namespace")
        return await self._write("POST", kind, namespace, body=manifest, query={"fieldManager": MANAGER})

    async def replace(self, manifest: Manifest) -> Manifest:
        """Put the whole object; Conflict if it is no longer at the manifest's resourceVersion."""
        kind, metadata = KINDS[manifest["kind"]], manifest["metadata"]
        return await self._write("PUT", kind, metadata.get("namespace"), metadata["name"], body=manifest)

    async def unannotate(self, manifest: Manifest, annotations: Iterable[str]) -> Manifest:
        """Remove annotations, whoever set them; Conflict if the object is no longer at the manifest's resourceVersion."""
        kind, metadata = KINDS[manifest["kind"]], manifest["metadata"]
        gone = {"annotations": dict.fromkeys(annotations), "resourceVersion": metadata["resourceVersion"]}
        media, query = "application/merge-patch+json", {"fieldManager": MANAGER}
        return await self._write(
            "PATCH",
            kind,
            metadata.get("namespace"),
            metadata["name"],
            body={"metadata": gone},
            query=query,
            media=media,
        )

    async def delete(self, manifest: Manifest) -> Manifest:
        """Delete that very object, by its uid; what it owns follows in the background."""
        kind, metadata = KINDS[manifest["kind"]], manifest["metadata"]
        options = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
        return await self._write("DELETE", kind, metadata.get("namespace"), metadata["name"], body=options)

    async def _write(
        self,
        method: str,
        kind: Kind,
        namespace: str | None,
        name: str = "",
        *,
        body: Manifest,
        query: Mapping[str, str] = {},
        media: str = "application/json",
    ) -> Manifest:
        if not self._may_write():
            raise Fenced(0, "Fenced", "this process does not hold the lease", _words(kind, namespace, name, body))
        return await self._request(method, kind, namespace, name, query=query, body=body, media=media)

    async def _request(
        self,
        method: str,
        kind: Kind,
        namespace: str | None,
        name: str = "",
        *,
        query: Mapping[str, str] = {},
        body: Manifest | None = None,
        media: str = "application/json",
        verb: str = "",
    ) -> Manifest:
        # aiohttp lets what takes 5 s or more end with a full second.
        timeout = aiohttp.ClientTimeout(total=WRITE_SECONDS if body else READ_SECONDS, ceil_threshold=READ_SECONDS)
        query = {**query, "timeout": f"{ANSWER_SECONDS}s"} if body else query
        url, label = self._url(kind, namespace, name, query), _words(kind, namespace, name, body)
        response = await self._send(method, url, verb or method, kind, timeout, body, media, label)
        try:
            answer: Manifest = parsed(await response.read(), label)
            return answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(0, "Unreachable", f"the answer broke off: {error!r}", label) from error

    async def _send(
        self,
        method: str,
        url: str,
        verb: str,
        kind: Kind,
        limit: aiohttp.ClientTimeout,
        body: Manifest | None = None,
        media: str = "application/json",
        label: str = "",
    ) -> aiohttp.ClientResponse:
        """The one place that sends and that turns an answer into an error."""
        code = "none"
        try:
            headers = await self._headers() | {"Content-Type": media, "Accept": "application/json"}
            sent = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers, body, _request_timeout=limit
            )
            response: aiohttp.ClientResponse = sent.response
            code = str(response.status)
            if response.status < 300:
                return response
            text = await response.read()
        # OSError and ConfigException: of the file with the token, which is read anew every minute.
        except (
            aiohttp.ClientError,
            TimeoutError,
            asyncio.IncompleteReadError,
            OSError,
            config.ConfigException,
        ) as error:
            raise Unreachable(0, "Unreachable", f"no answer: {error!r}", label or kind.plural) from error
        finally:
            API_REQUESTS.labels(verb, kind.name, code).inc()
        try:
            status = from_json(text)
        except ValueError:
            status = {"message": text.decode(errors="replace")[:500]}
        raise error_of(response.status, status if isinstance(status, dict) else {}, label or kind.plural)

    async def _headers(self) -> dict[str, str]:
        headers = copy.copy(self._api.default_headers)
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], "", "GET", None)
        return dict(headers)

    def _url(self, kind: Kind, namespace: str | None, name: str = "", query: Mapping[str, str] = {}) -> str:
        path = f"/apis/{kind.api_version}" if "/" in kind.api_version else f"/api/{kind.api_version}"
        path += f"/namespaces/{quote(namespace)}" if namespace and kind.namespaced else ""
        path += f"/{kind.plural}" + (f"/{quote(name)}" if name else "")
        given = urlencode({key: value for key, value in query.items() if value})
        return f"{self._api.configuration.host}{path}" + (f"?{given}" if given else "")
