"""/healthz and /metrics over HTTP; /alerts, where Alertmanager may say that it is time to look."""

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


async def serve(
    port: int, age: Callable[[], float], refresh: Callable[[], None], push: Push | None = None
) -> web.AppRunner:
    """Serve on `port`: `age` gives the seconds since the last good resync, `refresh` sets gauges before they are read."""

    async def healthz(_: web.Request) -> web.Response:
        seconds = age()
        status = 200 if seconds < STALE_SECONDS else 503
        return web.Response(status=status, text=f"all kinds were listed within the last {seconds:.0f} s\n")

    async def exposition(_: web.Request) -> web.Response:
        RESYNC_AGE.set(age())
        refresh()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def alerts(request: web.Request) -> web.Response:
        if push is None:
            raise web.HTTPNotFound
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), push.token.read_bytes().strip()):
            raise web.HTTPUnauthorized(text="the bearer token is not the one in the chart's alerts.tokenSecret\n")
        push.wake()
        return web.Response(status=202)

    application = web.Application(client_max_size=1 << 20)
    application.add_routes([web.get("/healthz", healthz), web.get("/metrics", exposition), web.post("/alerts", alerts)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
