"""/healthz, /readyz and /metrics over HTTP; /alerts, where Alertmanager may say that it is time to look."""

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from noria.runtime.informer import RELIST_SECONDS
from noria.runtime.metrics import RESYNC_AGE

STALE_SECONDS = 3 * RELIST_SECONDS
"""A process that could not list one of its kinds for so long is started anew."""


class Push(NamedTuple):
    """Who may push alerts, and what follows. Nothing in the alert is believed: it only saves the wait for the next look."""

    token: Path
    """File with the bearer token; read at each request, since a Secret may be renewed."""
    wake: Callable[[], None]
    leads: Callable[[], bool]
    """Whether this process is the one that looks."""


async def serve(
    port: int,
    age: Callable[[], float],
    ready: Callable[[], bool],
    refresh: Callable[[], None],
    push: Push | None = None,
) -> web.AppRunner:
    """Serve on `port`: `age` gives the seconds since the last good resync, `ready` whether there was one of each kind, and
    `refresh` sets gauges before they are read."""

    async def healthz(_: web.Request) -> web.Response:
        seconds = age()
        status = 200 if seconds < STALE_SECONDS else 503
        return web.Response(status=status, text=f"all kinds were listed within the last {seconds:.0f} s\n")

    async def readyz(_: web.Request) -> web.Response:
        if ready():
            return web.Response(text="all kinds were listed\n")
        return web.Response(status=503, text="some kinds were not listed yet; the log says why\n")

    async def exposition(_: web.Request) -> web.Response:
        RESYNC_AGE.set(age())
        refresh()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def alerts(request: web.Request) -> web.Response:
        if push is None:
            raise web.HTTPNotFound
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        token = push.token.read_bytes().strip()
        if not token or not hmac.compare_digest(given.encode(), token):
            raise web.HTTPUnauthorized(text="the bearer token is not the one in the chart's alerts.tokenSecret\n")
        if not push.leads():
            raise web.HTTPServiceUnavailable(text="this replica stands by; ask again, and another may hear it\n")
        push.wake()
        return web.Response(status=202)

    application = web.Application(client_max_size=1 << 20)
    gets = {"/healthz": healthz, "/readyz": readyz, "/metrics": exposition}
    application.add_routes([*(web.get(path, handler) for path, handler in gets.items()), web.post("/alerts", alerts)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
