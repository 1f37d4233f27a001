"""Knows whose plan a change concerns: the object's own, its owner's, and those that said they need to see it."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from noria.plan.contract import Look, Manifest, Needs, Query, Ref, Selector, Steady, marks
from noria.runtime.answers import Answers

log = logging.getLogger(__name__)


class Interests:
    """The reverse of what each key needs."""

    def __init__(self) -> None:
        self._needs: dict[Ref, Needs] = {}
        self._needed_by: dict[Ref | Selector, set[Ref]] = defaultdict(set)
        self.asking: dict[Query, dict[Ref, Steady | None]] = defaultdict(dict)
        """Questions to Prometheus, who asks, and which answers leave it as it is."""

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
            self.asking[query][key] = None if query in needs.fresh else needs.steady.get(query)
        return news

    def forget(self, key: Ref) -> None:
        """`key` is gone."""
        needs = self._needs.pop(key, Needs())
        for query in needs.queries:
            self.asking[query].pop(key, None)
            if not self.asking[query]:
                del self.asking[query]
        for need in needs.objects():
            self._needed_by[need].discard(key)
            if not self._needed_by[need]:
                del self._needed_by[need]

    def looks(self, query: Query, answers: Answers) -> Iterator[tuple[Ref, Look]]:
        """Who is to be looked at since there is a new answer to `query`, and how soon; all others stay as they are.

        Of a thousand that ask nearly all do, so they are told by two comparisons before anybody is judged.
        """
        reply, unsteady = answers.reply(query), []
        for key, steady in self.asking.get(query, {}).items():
            if steady and len(rows := reply.rows_of(key)) == 1:
                labels, value = rows[0]
                if steady.low <= value <= steady.high and labels.get("version") == steady.version:
                    continue
            unsteady.append(key)
        for key in unsteady:
            yield key, self._look(key, query, answers)

    def _look(self, key: Ref, query: Query, answers: Answers) -> Look:
        """An object that cannot be judged here is looked at, and fails there by itself."""
        needs = self._needs.get(key, Needs())  # it may be gone by now
        if query in needs.fresh:
            return Look.NOW
        if (steady := needs.steady.get(query)) is None:
            return Look.NEWS
        try:
            return max(each.look(partial(answers.one, key)) for each in steady.judges)
        except Exception:
            log.exception("%s %s/%s cannot be judged by the newest answers", *key)
            return Look.NOW

    def in_change(self, ref: Ref, *versions: Manifest | None) -> set[Ref]:
        """Keys that need to see an object which has, or had, these versions."""
        return {key for need in _matching(ref, versions) if need in self._needed_by for key in self._needed_by[need]}


def _matching(ref: Ref, versions: tuple[Manifest | None, ...]) -> Iterator[Ref | Selector]:
    yield ref
    yield Selector(ref.kind, ref.namespace)
    for version in filter(None, versions):
        for label, value in marks(version).items():
            yield Selector(ref.kind, ref.namespace, label, value)
