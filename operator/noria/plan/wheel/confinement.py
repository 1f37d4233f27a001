"""A user's PromQL, confined to the namespace of the object that asks it: nobody's query reads another team's series.

The query is parsed and written anew from the parsed form, so that nothing reaches Prometheus that the parser has not seen:
no comment, no escape that two lexers read differently. (The library's own printing escapes no quotes: a label value could
end its string there and open a selector of its own.) Every series that an expression can read comes from a selector;
functions and aggregations that drop or forge labels work on what was read. The one exception is info(), which is refused.
"""

import math
import re
import sys
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache

import promql_parser as ast

from noria.plan.wheel.promql import InvalidQuery, quoted

LONGEST = 4096
MOST_OPERATORS = 200
"""The parser recurses on the machine's stack, and its time grows with the square of the depth."""
DEEPEST = 50
"""Brackets within each other: what is parsed is written anew by recursion, four calls of Python for each."""
MOST_EXPRESSIONS = 16
MOST_PARTS = 10_000
"""Of texts that may be regular expressions, for the parser compiles each: a class of Unicode such as \\w counts 200 (0.2 ms), any
other 20, a character 1, and each as often as it is repeated."""
PART = re.compile(r"\\[pP](?:\{[^}]*\}|.)|\\.|\{[\s\d,]*\}|.", re.DOTALL)
UNICODE = re.compile(r"\\[pPwWdDsS]")
CHARACTER = re.compile(r"\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})")
OPERATOR = re.compile(r"[-+*/%^(<>]|[=!]=|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
ASIDE = re.compile(r"""["](?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|#[^\n]*""", re.DOTALL)
"""Strings and comments: brackets there open nothing."""
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
AT = re.compile(r" ?@ (start\(\)|end\(\)|[0-9]{1,11}\.[0-9]{3})")
MATCH = ((ast.MatchOp.Equal, "="), (ast.MatchOp.NotEqual, "!="), (ast.MatchOp.Re, "=~"), (ast.MatchOp.NotRe, "!~"))
GROUP = ((ast.VectorMatchCardinality.ManyToOne, "group_left"), (ast.VectorMatchCardinality.OneToMany, "group_right"))


def confined(query: str, namespace: str) -> str:
    """The same query with the matcher namespace="<namespace>" in every selector.

    Raises InvalidQuery if it is empty, longer than 4,096 characters, cannot be parsed, names another namespace, gives a
    string or a range of samples, or is too costly to parse (200 operators and parentheses, 50 brackets within each other,
    16 regular expressions, 10,000 parts of them).
    """
    return _found(query, namespace)[0]


def is_scalar(query: str, namespace: str) -> bool:
    """Whether a query gives a number without labels and not a vector: a comparison of it is no alert. Raises as `confined`."""
    return _found(query, namespace)[1]


def _found(query: str, namespace: str) -> tuple[str, bool]:
    text, scalar, refusal = _judged(query, namespace)
    if refusal:
        raise InvalidQuery(refusal)
    return text, scalar


def _scalar(node: ast.Expr) -> bool:
    if isinstance(node, ast.ParenExpr | ast.UnaryExpr):
        return _scalar(node.expr)
    if isinstance(node, ast.BinaryExpr):
        return _scalar(node.lhs) and _scalar(node.rhs)
    if isinstance(node, ast.Call):
        return bool(node.func.return_type == ast.ValueType.Scalar)
    return isinstance(node, ast.NumberLiteral)


@lru_cache(maxsize=4096)
def _judged(query: str, namespace: str) -> tuple[str, bool, str]:
    """The confined query and whether it is a number, or why there is none: both are asked for again and again, and may have
    taken long to find."""
    try:
        return *_confined(query, namespace), ""
    except InvalidQuery as refusal:
        return "", False, str(refusal)


def _confined(query: str, namespace: str) -> tuple[str, bool]:
    if not query.strip():
        raise InvalidQuery("the query is empty; write a PromQL expression that gives one number")
    if len(query) > LONGEST:
        raise InvalidQuery(f"the query has {len(query)} characters, at most {LONGEST} are allowed; shorten it")
    _bounded(len(OPERATOR.findall(query)), MOST_OPERATORS, "operators and parentheses")
    _bounded(_depth(query), DEEPEST, "brackets within each other")
    _bounded(query.count("=~") + query.count("!~"), MOST_EXPRESSIONS, "regular expressions")
    _bounded(sum(map(_parts, ASIDE.findall(query))), MOST_PARTS, "parts of regular expressions (docs/signals.md)")
    _read_alike(query)
    tree, text = _parsed(query, namespace)
    inner = tree
    while isinstance(inner, ast.ParenExpr):
        inner = inner.expr
    if isinstance(inner, ast.MatrixSelector | ast.SubqueryExpr):
        raise InvalidQuery(f"{text} gives a range of samples; make a number of it, for example with avg_over_time()")
    if isinstance(inner, ast.StringLiteral):
        raise InvalidQuery(f"{text} is a string; write an expression that gives a number")
    return text, _scalar(tree)


def _parsed(query: str, namespace: str) -> tuple[ast.Expr, str]:
    """The query's tree, and the confined text."""
    try:
        tree = ast.parse(query)
        return tree, _Writer(namespace).expression(tree)
    except InvalidQuery:
        raise
    except RecursionError as error:
        raise InvalidQuery("the query is nested too deeply; record a part of it by a rule") from error
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(f"the query is not PromQL: {error}; correct it") from error
    except BaseException as panic:  # what the library in Rust panics with is no Exception, and has no importable name
        if type(panic).__name__ != "PanicException":
            raise
        raise InvalidQuery(f"the query cannot be read: {panic}; use smaller numbers and durations") from None


def _bounded(count: int, most: int, what: str) -> None:
    if count > most:
        text = (
            f"the query has {count} {what}, at most {most} are allowed; simplify it, or record a part of it by a rule"
        )
        raise InvalidQuery(text)


def _parts(text: str) -> int:
    """What it takes to compile a text as a regular expression."""
    text = CHARACTER.sub(lambda found: chr(min(int(found[1] or found[2], 16), sys.maxunicode)), text)
    if not text.startswith("`"):
        text = text.replace("\\\\", "\\")
    open_ones, costs, last, before = [""], [0], 0, ""
    """Which groups and classes are open, and what each takes; what stood last, which may be repeated; how a class has begun."""
    for each in PART.findall(text):
        within, begun, before = open_ones[-1] == "[", before, "[^" if (before, each) == ("[", "^") else ""
        if each == "[" or (each == "(" and not within):
            open_ones.append(each)
            costs.append(20 if each == "[" else 0)
            before = each
        elif (each == "]" and within and begun not in ("[", "[^")) or (each == ")" and open_ones[-1] == "("):
            open_ones.pop()
            last = costs.pop()
            costs[-1] += last
        elif len(each) > 1 and each[0] == "{" and not within:
            times = max(map(int, re.findall(r"\d+", each)), default=1)
            costs[-1] += last * max(times - 1, 0)
            last *= max(times, 1)
        elif within or not (each.isspace() or each in "?*+"):  # between a part and how often it is repeated
            last = 200 if UNICODE.match(each) else 20 if each == "." and not within else 1
            costs[-1] += last
    return sum(costs)


def _depth(query: str) -> int:
    """How many brackets are open at once, at most."""
    depth = deepest = 0
    for each in ASIDE.sub("", query):
        if each in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif each in ")]}":
            depth = max(0, depth - 1)
    return deepest


def _read_alike(query: str) -> None:
    """Refuses what the library reads otherwise than Prometheus: escapes between backticks, and bytes of UTF-8."""
    escapes = ESCAPE.findall(query)
    if escapes and "`" in query:
        raise InvalidQuery("the query has backticks and backslashes; write strings in double quotes, with \\\\ for \\")
    if bytes_of_text := [each for each in escapes if each in "x01234567"]:
        raise InvalidQuery(
            f"the query has the escape \\{bytes_of_text[0]}; write the character itself, or \\u and four digits"
        )


class _Writer:
    """Writes an expression as PromQL. Parentheses are nodes of their own, so what it writes is parsed to the same tree."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def expression(self, node: ast.Expr) -> str:
        match node:
            case ast.VectorSelector():
                return self._selector(node) + _moved(node)
            case ast.MatrixSelector():
                series = node.vector_selector
                return f"{self._selector(series)}[{_duration(node.range)}]{_moved(series)}"
            case ast.SubqueryExpr():
                span = f"[{_duration(node.range)}:{_duration(node.step)}]"
                return f"{self.expression(node.expr)}{span}{_moved(node)}"
            case ast.Call():
                return self._call(node)
            case ast.AggregateExpr():
                inner = [each for each in (node.param, node.expr) if each is not None]
                return f"{node.op}{_grouping(node.modifier)}({self._list(inner)})"
            case ast.BinaryExpr():
                left, right = self.expression(node.lhs), self.expression(node.rhs)
                return f"{left} {node.op}{_matching(node.modifier)} {right}"
            case ast.UnaryExpr():
                return f"-{self.expression(node.expr)}"
            case ast.ParenExpr():
                return f"({self.expression(node.expr)})"
            case ast.NumberLiteral():
                return _number(node.val)
            case ast.StringLiteral():
                return quoted(node.val)
        raise InvalidQuery(f"{type(node).__name__} is not supported in queries; write it in another way")

    def _list(self, nodes: Iterable[ast.Expr]) -> str:
        return ", ".join(self.expression(each) for each in nodes)

    def _call(self, node: ast.Call) -> str:
        if node.func.name == "info":
            raise InvalidQuery(
                "info() reads series that no selector names; join with the series that you mean, by `on`"
            )
        return f"{node.func.name}({self._list(node.args)})"

    def _selector(self, node: ast.VectorSelector) -> str:
        name, matchers = node.name or "", node.matchers.matchers
        own = [f"{_label(each.name)}{_operator(each)}{quoted(each.value)}" for each in matchers]
        if node.matchers.or_matchers:
            raise InvalidQuery(
                f"selector {name}{{... or ...}}: Prometheus knows no `or` in braces; write it between selectors"
            )
        if name and not METRIC.fullmatch(name):
            raise InvalidQuery(f"selector {quoted(name)}: this is no name of a metric; correct it")
        confinement = f"namespace={quoted(self._namespace)}"
        if any(each.name == "namespace" and text != confinement for each, text in zip(matchers, own, strict=True)):
            wrong = f"selector {name}{{{','.join(own)}}}: only series of namespace {self._namespace} may be read"
            raise InvalidQuery(f"{wrong}; leave the label namespace out")
        return f"{name}{{{','.join([*(text for text in own if text != confinement), confinement])}}}"


def _operator(matcher: ast.Matcher) -> str:
    return next(text for operator, text in MATCH if matcher.op == operator)


def _label(name: str) -> str:
    return name if LABEL.fullmatch(name) else quoted(name)


def _labels(names: Iterable[str]) -> str:
    return f"({', '.join(map(_label, names))})"


def _grouping(modifier: ast.AggModifier | None) -> str:
    if modifier is None:
        return ""
    return f" {'by' if modifier.type == ast.AggModifierType.By else 'without'} {_labels(modifier.labels)} "


def _matching(modifier: ast.BinModifier | None) -> str:
    if modifier is None:
        return ""
    if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
        raise InvalidQuery("fill() is not supported in queries; write `or` with a default")
    text = " bool" if modifier.return_bool else ""
    if (matching := modifier.matching) is not None:
        on = "on" if matching.type == ast.LabelModifierType.Include else "ignoring"
        text += f" {on} {_labels(matching.labels)}"
    for cardinality, group in GROUP:
        if modifier.card == cardinality:
            text += f" {group} {_labels(modifier.group_labels or [])}"
    return text


def _moved(node: ast.VectorSelector | ast.SubqueryExpr) -> str:
    """The modifiers @ and offset."""
    text = ""
    if node.at is not None:
        # The library gives times only as text without fault: its attribute panics before 1970 and fails after 9999.
        found = AT.fullmatch(str(node.at))
        if found is None or found[1] == "0.000":
            raise InvalidQuery(
                f"@{str(node.at).strip(' @')}: not a time after 1970 in seconds; use start(), end() or offset"
            )
        text = f" @ {found[1]}"
    return text + (f" offset {_duration(node.offset)}" if node.offset is not None else "")


def _duration(span: timedelta | None) -> str:
    if span is None:
        return ""
    seconds, milliseconds = divmod(round(abs(span) / timedelta(milliseconds=1)), 1000)
    return f"{'-' * (span < timedelta())}{seconds}s" + (f"{milliseconds}ms" if milliseconds else "")


def _number(value: float) -> str:
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value).removesuffix(".0")
