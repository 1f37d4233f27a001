"""Queries to try the confinement on: what an attacker would write, what the grammar knows, and any mixture of it."""

from hypothesis import strategies as st

ACCEPTED = (
    "foo",
    "foo{}",
    '{__name__="foo"}',
    '{__name__=~".+"}',
    '{"foo"}',
    "{'foo'}",
    '{"foo.bar", a="b"}',
    '{"__name__"="foo"}',
    '{"__name__"=~".+"}',
    'foo{"a.b"="x"}',
    'foo{or="x", and="y", by="z", namespaces="w", Namespace="v"}',
    'foo{a="b\\"} or bar{c=\\"d"}',
    "foo{a='x\"} or bar{c=\"d'}",
    'foo{a=`x"} or bar{c="d`}',
    'foo{a="\\\\"}',
    "foo{a='\\'} or bar{b=\\''}",
    'foo{a="\\u006eamespace", b="\\n\\t\\U0001F600"}',
    'foo{a="é☃\u2028\x7f"}',
    'foo{a="#"} # {namespace="b"}',
    "foo # or bar\n or baz",
    "foo # \r or bar",
    'foo{ # }\na="b"}',
    'foo{a="b",}',
    'foo{namespace="a"}',
    'foo{"namespace"="a"}',
    'foo{a=~"x\\\\.y|z{2}", a!~"(?i)q", a!=""}',
    "sum",
    "by",
    "offset",
    "start",
    'end{a="b"}',
    "and",
    ":foo",
    "SUM(foo) BY (a)",
    "sum without () (foo)",
    "sum by () (foo)",
    'sum by ("a.b", by, on) (foo)',
    "topk by (a) (5, foo)",
    "quantile(0.99, foo)",
    'count_values by (z) ("x", foo)',
    'label_replace(foo, "namespace", "b", "x", "(.*)")',
    'label_replace(foo, "a", "$1\\\\d\\"}", "x", "([a-z]+)\\\\.")',
    'label_join(foo, "namespace", ",", "x", "y")',
    'absent(foo{a="b"})',
    "absent_over_time(foo[5m])",
    'rate(foo{a="b"}[5m] offset 1m)',
    "rate(foo[5m] @ start())",
    "rate(foo[300] @ end() offset -1h)",
    "foo @ 1609746000.123",
    "foo offset 5m @ 10",
    "max_over_time(rate(foo[5m])[1h:1m] @ 100 offset 5m)",
    "max_over_time(rate(foo[5m])[1h:])",
    "rate(foo[1y2w3d4h5m6s7ms] offset -7ms)",
    "rate(foo[7ms])",
    "1",
    "0x1F",
    "-Inf",
    "NaN",
    "1e-7",
    "123456789.123456789",
    "-foo",
    "-1 ^ 2",
    "-foo ^ 2",
    "(-foo) ^ 2",
    "--foo",
    "2 ^ 3 ^ 2",
    "(2 ^ 3) ^ 2",
    "1 - (2 - 3) * 4",
    "foo == bool 1",
    "foo == bool on (a) bar",
    'foo / on (a) group_left (b, "c.d") bar',
    "foo / ignoring (a) group_right bar",
    "foo / on () bar",
    "foo and bar unless on (a) baz or qux",
    "foo atan2 bar % 2 >= 3",
    "histogram_quantile(0.9, sum by (le) (rate(foo[5m])))",
    "scalar(foo) + time() + vector(1)",
)
"""Of namespace a."""

REFUSED = {
    "": "the query is empty",
    " \n": "the query is empty",
    "# foo": "not PromQL",
    "foo bar": "not PromQL",
    "foo{": "not PromQL",
    "foo) or (bar": "not PromQL",
    'foo{a="b} or bar': "not PromQL",
    "foo{a=`\\`}": "double quotes",
    "foo{a=`\\n`}": "double quotes",
    "foo{a=`\\`} or bar{b=`}": "double quotes",
    'foo{a="\\xc3\\xa9"}': r"escape .x; write the character itself",
    'foo{a="\\303\\251"}': r"escape .3; write the character itself",
    "unheard_of(foo)": "unheard_of",
    "foo[5m]": r'foo\{namespace="a"\}\[300s\] gives a range of samples; .* avg_over_time',
    "(foo[5m])": "gives a range of samples",
    "rate(foo[5m])[1h:]": "gives a range of samples",
    '"foo"': '"foo" is a string',
    "('foo')": "is a string",
    'foo{namespace="b"}': r'selector foo\{namespace="b"\}: only series of namespace a may be read; leave',
    'foo{namespace="a"} or bar{namespace="b"}': r"selector bar\{",
    'foo{namespace="a", namespace="b"}': "only series of namespace a",
    'foo{namespace=~"a"}': 'selector foo{namespace=~"a"}'.replace("{", r"\{").replace("}", r"\}"),
    'foo{namespace=~"a|b"}': "only series of namespace a",
    'foo{namespace!="a"}': "only series of namespace a",
    'foo{namespace!~"a"}': "only series of namespace a",
    'foo{namespace=""}': "only series of namespace a",
    'foo{"namespace"="b"}': "only series of namespace a",
    "foo{'namespace'=`b`}": "only series of namespace a",
    'foo{"n\\u0061mespace"="b"}': "only series of namespace a",
    '{"foo", namespace="b"}': "only series of namespace a",
    'rate(foo{namespace="b"}[5m] @ end() offset 1h)': "only series of namespace a",
    'max_over_time(sum(foo{namespace="b"})[1h:])': "only series of namespace a",
    'absent(foo{namespace="b"})': "only series of namespace a",
    'topk(scalar(foo{namespace="b"}), bar)': "only series of namespace a",
    'foo{a="b" or c="d"}': "no `or` in braces",
    '{a="b" or namespace="b"}': "no `or` in braces",
    "info(foo)": "info",
    'info(foo, {namespace="a"})': "info",
    "foo @ -5": "not a time after 1970",
    "foo @ 0": "not a time after 1970",
    "foo @ 1700000000000": "not a time after 1970 in seconds",
    "rate(foo[1e300])": "cannot be read: .* smaller numbers and durations",
    "foo offset 1e18": "number too large",
    "rate(foo[2800000y])": "not PromQL: days",
    "foo + fill(0) bar": "fill",
    "a + " * 1024 + "a": "4097 characters",
    "-" * 4000 + "a": "4000 operators and parentheses",
    "(" * 2000 + "a" + ")" * 2000: "2000 operators and parentheses",
    "abs(" * 198 + "a" + ")" * 198: "198 brackets within each other",
    "a" + " or a" * 800: "800 operators and parentheses",
    "a{" + ",".join(['a=~"\\\\w{60}"'] * 200) + "}": "200 regular expressions",
}
"""For namespace a, with a part of what the user is told (a regular expression)."""

texts = st.text(
    st.characters(min_codepoint=1, max_codepoint=0x2FF, exclude_categories=["Cs"]), max_size=8
) | st.sampled_from(["", '"', "\\", "`", "'", "}", '"} or secret{a="', "#", "\n", "\\u0022", "namespace", "😀"])
labels = st.sampled_from(["a", "b_c", "le", "or", "by", "on", "namespaces", "a.b", "é", 'q"', "x{"])
metrics = st.sampled_from(["foo", "foo:bar", "sum", "by", "without", "offset", "start", "end", "and", "or", "secret"])
durations = st.sampled_from(["5m", "300", "1h30m", "7ms", "2d"])


def escaped(text: str) -> str:
    """A string literal, with the escapes that Go knows."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{plain}"'


def literal(text: str) -> st.SearchStrategy[str]:
    """Any way to write it."""
    ways = [escaped(text), '"' + "".join(f"\\U{ord(one):08x}" for one in text) + '"']
    if not set(text) & set("`\\"):
        ways.append(f"`{text}`")
    if not set(text) & set("'\\\n"):
        ways.append(f"'{text}'")
    return st.sampled_from(ways)


@st.composite
def selectors(draw: st.DrawFn) -> str:
    """With the namespace that is one's own, or none."""
    name = draw(metrics | st.just(""))
    matchers = [] if name else [draw(st.sampled_from(['"foo"', '"foo.bar"', '__name__=~".+"', '"__name__"="foo"']))]
    for label in draw(st.lists(labels, max_size=3)):
        written = label if label.isascii() and label.replace("_", "").isalnum() else escaped(label)
        matchers.append(f"{written}{draw(st.sampled_from(['=', '!=']))}{draw(texts.flatmap(literal))}")
    matchers += draw(st.sampled_from([[], [], ['namespace="a"'], ["'namespace'=`a`"], ['b=~"x|y.*"']]))
    comment = draw(st.sampled_from(["", "", ' # } or secret{a="b"\n']))
    return f"{name}{{{comment}{', '.join(matchers)}}}" if matchers or draw(st.booleans()) else name


moved = st.sampled_from(["", "", " offset 5m", " offset -1h", " @ 1700000000", " @ end() offset 1m"])
ranges = st.builds("{}[{}]{}".format, selectors(), durations, moved)
scalars = st.sampled_from(["1", "-2.5", "1e9", "time()", "0x1F", "Inf"])
grouping = st.builds(
    "{} ({})".format,
    st.sampled_from([" by", " without"]),
    st.lists(st.sampled_from(["a", "by", '"a.b"', "le"]), max_size=2).map(", ".join),
)
operators = st.sampled_from(
    ["+", "-", "*", "/", "%", "^", "atan2", "==", "!= bool", "> on (a)", "/ on (a, b) group_left (c)"]
) | st.sampled_from(["* ignoring (le) group_right ()", "and", "or", "unless on ()", "AND ignoring (a)"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    simple = st.sampled_from(["abs", "absent", "sort", "timestamp"])
    over = st.sampled_from(["rate", "max_over_time", "absent_over_time", "deriv"])
    return st.one_of(
        st.builds("({}) {} ({})".format, inner, operators, inner),
        st.builds("({}) * {}".format, inner, scalars),
        st.builds("-{}".format, inner),
        st.builds("{}({})".format, simple, inner),
        st.builds("sum{} ({})".format, grouping, inner),
        st.builds("topk({}, {})".format, scalars, inner),
        st.builds("count_values({}, {})".format, st.just('"x"'), inner),
        st.builds("label_replace({}, {}, {}, {}, {})".format, inner, *[st.just('"namespace"')] * 3, st.just('"(.*)"')),
        st.builds("{}(({})[{}:{}]{})".format, over, inner, durations, durations | st.just(""), moved),
    )


expressions = st.recursive(
    st.builds("{}{}".format, selectors(), moved) | ranges.map("rate({})".format), _larger, max_leaves=6
).filter(lambda query: not {"`", "\\"} <= set(query))
"""Expressions of namespace a that give an instant vector."""
