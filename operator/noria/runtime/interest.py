"""Knows whose plan a change concerns: the object's own, its owner's, and those that said they need to see it."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from noria.plan.contract import Look, Manifest, Needs, Query, Ref, Selector, marks
from noria.runtime.answers import Answers


class Interests:
    """The reverse of what each key needs."""

    def __init__(self) -> None:
        self._needs: dict[Ref, Needs] = {}
        self._needed_by: dict[Ref | Selector, set[Ref]] = defaultdict(set)
        self.asking: dict[Query, set[Ref]] = defaultdict(set)
        """Questions to Prometheus, and who asks."""

    def remember(self, key: Ref, needs: Needs) -> bool:
        """From now on `key` needs exactly this; whether something is asked that nobody asked before."""
        if needs == self._needs.get(key):
            return False
        news = any(query not in self.asking for query in needs.queries)
        self.forget(key)
        self._needs[key] = needs
        for need in needs.objects():
            self._needed_by[need].add(key)
        for query in needs.queries:
            self.asking[query].add(key)
        return news

    def forget(self, key: Ref) -> None:
        """`key` is gone."""
        needs = self._needs.pop(key, Needs())
        for query in needs.queries:
            self.asking[query].discard(key)
            if not self.asking[query]:
                del self.asking[query]
        for need in needs.objects():
            self._needed_by[need].discard(key)
            if not self._needed_by[need]:
                del self._needed_by[need]

    def look(self, key: Ref, query: Query, answers: Answers) -> Look:
        """How soon `key` is to be looked at since there is a new answer to `query`."""
        needs = self._needs[key]
        if needs.fresh and query in needs.fresh:
            return Look.NOW
        if (steady := needs.steady.get(query)) is None:
            return Look.NEWS
        if (answer := answers.one(key, query)) and len(answer.rows) == 1:
            labels, value = answer.rows[0]
            if steady.low <= value <= steady.high and labels.get("version") == steady.version:
                return Look.NONE
        return max(each.look(partial(answers.one, key)) for each in steady.judges)

    def in_change(self, ref: Ref, *versions: Manifest | None) -> set[Ref]:
        """Keys that need to see an object which has, or had, these versions."""
        return {key for need in _matching(ref, versions) if need in self._needed_by for key in self._needed_by[need]}


def _matching(ref: Ref, versions: tuple[Manifest | None, ...]) -> Iterator[Ref | Selector]:
    yield ref
    yield Selector(ref.kind, ref.namespace)
    for version in filter(None, versions):
        for label, value in marks(version).items():
            yield Selector(ref.kind, ref.namespace, label, value)
