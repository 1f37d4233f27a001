"""`noria replay`: reads an Endpoint from the cluster and its past from Prometheus, and prints what the loop would have done."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from noria.api.endpoint import Endpoint
from noria.api.modelversion import ModelVersion
from noria.plan.contract import Answer, Query, Ref, Row, Settings
from noria.plan.wheel import measures
from noria.plan.wheel.replay import Happening, replay, with_thresholds
from noria.runtime.answers import split
from noria.runtime.cluster import Cluster

POINTS = 10_000
"""Most evaluations of one query that Prometheus answers in one piece (its limit is 11,000)."""


class NoHistory(Exception):
    """Prometheus did not answer a query."""


async def replayed(
    namespace: str,
    name: str,
    url: str,
    *,
    since: timedelta,
    step: timedelta,
    thresholds: Mapping[str, float],
    cycle_seconds: int,
) -> AsyncIterator[Happening]:
    """What would have happened to the Endpoint until now. Raises ApiError, NoHistory, KeyError for an unknown signal."""
    cluster = await Cluster.connect()
    try:
        endpoint = Endpoint.model_validate(await cluster.get("Endpoint", namespace, name))
        found, _ = await cluster.list("ModelVersion", namespace)
    finally:
        await cluster.close()
    endpoint = with_thresholds(endpoint, thresholds)
    versions = tuple(ModelVersion.model_validate(each) for each in found)
    end = datetime.now(UTC).replace(microsecond=0)
    times = [end - since + number * step for number in range(int(since / step) + 1)]
    asked = {query for each in endpoint.spec.monitoring.signals for query in measures.queries(each, namespace)}
    key = Ref("Endpoint", namespace, name)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        recorded = {query: await _range(session, url, query, key, times, step) for query in asked}
    settings = Settings(agent_image="", trainer_image="", serving_runtime="", server_image="", prometheus_url=url)
    for happening in replay(endpoint, versions, settings, recorded, times, cycle_seconds):
        yield happening


async def _range(
    session: aiohttp.ClientSession, url: str, query: Query, key: Ref, times: list[datetime], step: timedelta
) -> dict[datetime, Answer]:
    """The answer at each of `times`."""
    rows: dict[datetime, list[Row]] = {each: [] for each in times}
    for first in range(0, len(times), POINTS):
        part = times[first : first + POINTS]
        asked = {
            "query": query.promql,
            "start": str(part[0].timestamp()),
            "end": str(part[-1].timestamp()),
            "step": str(step.total_seconds()),
        }
        for series in await _matrix(session, url, asked):
            for at, value in series["values"]:
                rows[datetime.fromtimestamp(at, UTC)].append(Row(series["metric"], float(value)))
    return {at: split(query, each, at).about(key) for at, each in rows.items()}


async def _matrix(session: aiohttp.ClientSession, url: str, asked: Mapping[str, str]) -> Any:
    try:
        async with session.post(f"{url.rstrip('/')}/api/v1/query_range", data=asked) as response:
            document = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise NoHistory(f"Prometheus at {url} does not answer: {error}") from error
    if document.get("status") != "success":
        raise NoHistory(f"Prometheus refuses {asked['query']}: {document.get('error', response.status)}")
    return document["data"]["result"]
