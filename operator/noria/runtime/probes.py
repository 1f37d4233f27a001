"""/healthz and /metrics over HTTP."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from noria.runtime.informer import RELIST_SECONDS
from noria.runtime.metrics import RESYNC_AGE

STALE_SECONDS = 3 * RELIST_SECONDS
"""A process that could not list one of its kinds for so long is started anew."""


async def serve(port: int, age: Callable[[], float], refresh: Callable[[], None]) -> web.AppRunner:
    """Serve on `port`: `age` gives the seconds since the last good resync, `refresh` sets gauges before they are read."""

    async def healthz(_: web.Request) -> web.Response:
        seconds = age()
        status = 200 if seconds < STALE_SECONDS else 503
        return web.Response(status=status, text=f"all kinds were listed within the last {seconds:.0f} s\n")

    async def exposition(_: web.Request) -> web.Response:
        RESYNC_AGE.set(age())
        refresh()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/metrics", exposition)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
