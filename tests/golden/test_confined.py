"""A user's queries as they are asked, confined to namespace a, and why others are not asked, word by word in confined.txt."""

import time
from pathlib import Path

import pytest
from queries import ACCEPTED, REFUSED

from noria.plan.wheel.confinement import confined
from noria.plan.wheel.promql import InvalidQuery

TOLD = Path(__file__).parent / "confined.txt"


def told(query: str) -> str:
    try:
        return "asks    " + confined(query, "a")
    except InvalidQuery as refusal:
        return f"refused: {refusal}"


def test_what_becomes_of_a_query_is_told_word_by_word(request: pytest.FixtureRequest) -> None:
    text = "".join(f"{each[:60]!r}\n    {told(each)}\n" for each in (*ACCEPTED, *REFUSED))
    if request.config.getoption("--rewrite"):
        TOLD.write_text(text)
    assert text == TOLD.read_text()


@pytest.mark.parametrize(
    ("most", "one_more"),
    [
        ("a" * 4096, "a" * 4097),
        ("a" + " or a" * 200, "a" + " or a" * 201),
        ("(" * 50 + "a" + ")" * 50, "(" * 51 + "a" + ")" * 51),
        ("a{b=~'c'}" + "+a{b!~'c'}" * 15, "a{b=~'c'}" + "+a{b!~'c'}" * 16),
        (r"""a{b=~"\\pL{49}"}""", r"""a{b=~"\\pL{50}"}"""),
        (r"""a{b=~"(.{5}){99}"}""", r"""a{b=~"(.{5}){101}"}"""),
        (r"""a{b=~"\\w\u007b49\u007d"}""", r"""a{b=~"\\w\u007b50\u007d"}"""),
        (r"""a{b=~"[{(]\\w{49}[^^][^]]"}""", r"""a{b=~"[{(]\\w{50}[^^][^]]"}"""),
        (r"""a{b=~"(?x)(\\d ?{ 7 }){7}"}""", r"""a{b=~"(?x)(\\d ?{ 7 }){8}"}"""),
    ],
    ids=[
        "characters",
        "operators",
        "brackets",
        "regular expressions",
        "classes",
        "repetitions",
        "characters by number",
        "brackets in classes",
        "spaces",
    ],
)
def test_what_is_as_costly_as_allowed_is_asked(most: str, one_more: str) -> None:
    assert told(most).startswith("asks") and told(one_more).startswith("refused: the query has ")


@pytest.mark.parametrize(
    "query",
    [
        r"""sum(rate(x{instance=~"[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}:[0-9]{4}"}[5m]))""",
        r"""x{pod=~"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"}""",
        r"""x{host=~"(\\d{1,3}\\.){3}\\d{1,3}", code=~"5\\d{2}"}""",
    ],
)
def test_ordinary_expressions_are_asked(query: str) -> None:
    assert told(query).startswith("asks"), told(query)


@pytest.mark.parametrize("part", ["[", "[[", "[a[", "{", "\\\\p{", "[^]", "(", "(?x) {"])
def test_what_is_never_closed_takes_no_time(part: str) -> None:
    began = time.process_time()
    told('a{b=~"' + part * (4000 // len(part)) + '"}')
    assert time.process_time() - began < 1
