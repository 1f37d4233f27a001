"""`noria lineage` and `noria graph`: read from the cluster what they show, and nothing else."""

import asyncio

from noria.plan.contract import Manifest, Ref
from noria.plan.lineage.trace import trace
from noria.plan.lineage.tree import Node
from noria.runtime.cluster import Cluster
from noria.runtime.errors import NotFound


async def manifest(ref: Ref) -> Manifest:
    """One object. Raises ApiError."""
    cluster = await Cluster.connect()
    try:
        return await cluster.get(*ref)
    finally:
        await cluster.close()


async def lineage(root: Ref) -> Node:
    """The tree below an object. Raises ApiError, NotFound if the object itself is not there."""
    cluster = await Cluster.connect()
    try:
        known: dict[Ref, Manifest | None] = {root: await cluster.get(*root)}
        while True:
            node, missing = trace(root, known)
            if not missing:
                return node
            asked = sorted(missing)
            known |= zip(asked, await asyncio.gather(*(_found(cluster, each) for each in asked)), strict=True)
    finally:
        await cluster.close()


async def _found(cluster: Cluster, ref: Ref) -> Manifest | None:
    try:
        return await cluster.get(*ref)
    except NotFound:
        return None
