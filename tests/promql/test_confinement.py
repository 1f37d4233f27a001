"""What Prometheus itself reads in a confined query, and what it then answers."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from queries import ACCEPTED, expressions

from noria.plan.wheel.confinement import confined
from noria.plan.wheel.promql import InvalidQuery

if TYPE_CHECKING:
    from conftest import Promtool

DATA = {
    'foo{namespace="a",x="1"}': "1x60",
    'foo{namespace="b",x="1"}': "100x60",
    'foo{x="1"}': "1000x60",
    'secret{namespace="b",password="p"}': "10000x60",
}
OWN = {"namespace": "a", "x": "1"}


@pytest.mark.parametrize("query", ACCEPTED)
def test_prometheus_reads_the_query_as_its_own_tool_confines_it(promtool: "Promtool", query: str) -> None:
    assert promtool.formatted(confined(query, "a")) == promtool.with_namespace(query, "a")


@settings(max_examples=200)
@given(expressions)
def test_so_it_is_for_any_expression(promtool: "Promtool", query: str) -> None:
    assert promtool.formatted(confined(query, "a")) == promtool.with_namespace(query, "a")


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ('{__name__=~".+", __name__!="wanted"}', [(OWN, 1)]),
        ('sum({__name__=~"foo|secret"})', [({}, 1)]),
        ("count by (namespace) (foo)", [({"namespace": "a"}, 1)]),
        ("sum without (namespace) (foo)", [({"x": "1"}, 1)]),
        ('label_replace(foo, "namespace", "b", "x", ".*") + 0', [({"namespace": "b", "x": "1"}, 1)]),
        ('label_replace(foo, "namespace", "b", "", "") * on (namespace) group_left (password) secret', []),
        ("secret or on () foo + 0", [(OWN, 1)]),
        ("secret # {\n or on () foo + 0", [(OWN, 1)]),
        ('foo{x="\\"} or secret{namespace=\\"b"}', []),
        ("foo{x='\"} or secret{password=\"p'}", []),
        ("absent(secret)", [({"namespace": "a"}, 1)]),
        ("absent(foo)", []),
        ("max_over_time(foo[30m:1m] offset 5m)", [(OWN, 1)]),
        ("sum(foo @ 60) + sum(foo @ start())", [({}, 2)]),
        ("scalar(sum(foo)) * vector(1)", [({}, 1)]),
        ("group without () (secret)", []),
    ],
)
def test_only_the_namespace_is_read(promtool: "Promtool", query: str, rows: list[tuple[dict[str, str], float]]) -> None:
    promtool.expect(DATA, confined(query, "a"), rows)


def test_what_the_library_reads_otherwise_is_refused(promtool: "Promtool") -> None:
    """To Prometheus the first string ends at the second backtick; to the library it would go on."""
    query = "foo{x=`\\`} or secret{password!=`\\`}"
    assert "secret" in promtool.formatted(query)
    with pytest.raises(InvalidQuery, match="double quotes"):
        confined(query, "a")
