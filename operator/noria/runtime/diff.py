"""Tells whether a live object already is as it should be, so that an apply that would change nothing is not sent."""

import re
from decimal import Decimal
from typing import Any

from noria.plan.contract import Manifest
from noria.plan.manifests import digest

APPLIED = "noria.dev/applied"
"""Annotation with the hash of the object as it was applied: by it a field is noticed that is no longer wished."""

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,2}))?")
_SCALE = {suffix: Decimal(1000) ** (place - 3) for place, suffix in enumerate(("n", "u", "m", "", "k", *"MGTPE"))}
_SCALE |= {f"{suffix}i": Decimal(1024) ** place for place, suffix in enumerate("KMGTPE", start=1)}


def stamped(desired: Manifest, live: Manifest | None) -> Manifest:
    """`desired` with the annotation of its own hash. One that is just as `live` keeps the hash that it was made with:
    it was taken from there, defaults and all."""
    metadata = desired["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != APPLIED}
    if live and _body(live) == _body(desired):
        mark = (live["metadata"].get("annotations") or {}).get(APPLIED)
    else:
        mark = digest(desired | {"metadata": metadata | {"annotations": annotations}})[7:23]
    return desired | {"metadata": metadata | {"annotations": annotations | ({APPLIED: mark} if mark else {})}}


def _body(manifest: Manifest) -> Manifest:
    return {key: value for key, value in manifest.items() if key not in ("metadata", "status")}


def contains(live: Any, desired: Any) -> bool:
    """Whether everything that `desired` states is so in `live`; what it leaves open may be anything."""
    match live, desired:
        case dict(), dict():
            return all(contains(live.get(key), value) for key, value in desired.items())
        case list(), list():
            return len(live) == len(desired) and all(map(contains, live, desired))
        case None, _:
            return not desired
    return bool(live == desired) or (_quantity(live) is not None and _quantity(live) == _quantity(desired))


def _quantity(value: Any) -> Decimal | None:
    """The value of a Kubernetes quantity: the API server writes 1000m as 1."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    if not (found := _QUANTITY.fullmatch(str(value))):
        return None
    number, suffix, exponent = found.groups()
    return Decimal(number) * (Decimal(10) ** int(exponent) if exponent else _SCALE[suffix or ""])
