"""Prediction ids: what a label needs to be counted by any replica, which knows nothing of the others.

An id is opaque to clients: JSON of [version, seconds, slice, nonce, prediction, number] in base64url without padding. It is not
signed: whoever may send labels may send false ones too, so a forged id gains nothing but what `feedback` bounds.
"""

import binascii
import itertools
import re
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from server.baseline import Outcome
from server.signature import Array, InvalidRequest

HEADER = "noria-slice"
SLICE = re.compile(r"[A-Za-z0-9_.-]{1,40}")
MAX_SLICES = 32
OTHER = "other"
MAX_LENGTH = 1024
FIELDS = 6
LAST_SECOND = 1 << 40


class InvalidId(ValueError):
    """Not an id of a prediction; the text says why."""


class PredictionId(NamedTuple):
    """What an id says."""

    version: str
    seconds: int
    """When it was predicted, Unix time."""
    slice: str
    prediction: str | int | float


class Slices:
    """The slices that one process tells apart, at most 32: they become labels of metrics."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self.begins: Callable[[str], None] = lambda name: None
        """Hears of each when its first prediction or label comes."""

    def of(self, headers: Mapping[str, str] | None) -> str:
        """The slice of a request, by its header `noria-slice`; empty without. Raises InvalidRequest for other characters."""
        name = (headers or {}).get(HEADER, "")
        if name and not SLICE.fullmatch(name):
            raise InvalidRequest(
                f"header {HEADER!r}: expected 1 to 40 letters, digits, '_', '.' or '-', got {name[:50]!r}"
            )
        return self.admitted(name)

    def admitted(self, name: str) -> str:
        """`name`, or `other` if 32 others are known already."""
        if not name or name in self._known:
            return name
        if len(self._known) >= MAX_SLICES:
            name = OTHER
        else:
            self._known.add(name)
        self.begins(name)
        return name


class Ids:
    """Gives the predictions of one model their ids."""

    def __init__(self, version: str, outcome: Outcome | None) -> None:
        self._version, self._outcome = version, outcome
        self._process, self._requests = secrets.token_urlsafe(6), itertools.count()

    def issue(self, slice: str, outputs: Mapping[str, Array]) -> list[str]:
        """One id for each sample of an answer, no two the same; none if the model has no output with one value a sample."""
        values = self._outcome.of(outputs) if self._outcome else None
        if values is None:
            return []
        nonce = f"{self._process}{next(self._requests):x}"
        told = orjson.dumps([self._version, int(time.time()), slice, nonce])[:-1]
        texts = (b"%b,%b,%d]" % (told, orjson.dumps(value), number) for number, value in enumerate(values.tolist()))
        return [urlsafe_b64encode(text).rstrip(b"=").decode() for text in texts]


def read(text: object) -> PredictionId:
    """What the id says. Raises InvalidId; whether the version and the prediction can be is for the caller to check."""
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        raise InvalidId("expected the id of a prediction")
    try:
        told = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError) as error:
        raise InvalidId("is no id that a prediction was given") from error
    if not isinstance(told, list) or len(told) != FIELDS:
        raise InvalidId("is no id that a prediction was given")
    version, seconds, slice, _, prediction, _ = told
    if (
        not isinstance(version, str)
        or type(seconds) is not int
        or not 0 <= seconds < LAST_SECOND
        or not isinstance(slice, str)
        or not (slice == "" or SLICE.fullmatch(slice))
        or not isinstance(prediction, str | int | float)
    ):
        raise InvalidId("is no id that a prediction was given")
    return PredictionId(version, seconds, slice, prediction)
