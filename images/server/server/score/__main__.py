"""Scores and leaves a message. Exit code 0 whenever one was written, a failure's too: the gate reads it, not the code."""

import json
import logging
import os
import sys
from pathlib import Path

from server.score import held_out
from server.score.answers import Answers, ask, in_their_words
from server.score.request import CHALLENGER, CHAMPION, DATA, Candidate, Request, ScoreError, read_request
from server.score.result import message, result

log = logging.getLogger("score")

MAX_ERROR = 600
"""Characters of an error's text: each may take six bytes of the message."""


def main() -> int:
    """Command line: `python3 -m server.score`, told by NORIA_SCORE_FILE and NORIA_TERMINATION_LOG."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    request = read_request()
    try:
        text = scored(request)
    except ScoreError as error:
        told = {"error": error.code, "whose": error.whose, "message": str(error)[:MAX_ERROR]}
        text = json.dumps(told, separators=(",", ":"))
    log.info("%s", text)
    Path(os.environ.get("NORIA_TERMINATION_LOG", "/dev/termination-log")).write_text(text, encoding="utf-8")
    return 0


def scored(request: Request) -> str:
    """The message about both models. Raises ScoreError."""
    test = held_out.read(request)
    answers = {role: _asked(role, candidate, test) for role, candidate in request.models.items()}
    if len({one.is_number for one in answers.values()}) > 1:
        error = ScoreError("InvalidSignature", f"{CHAMPION} and {CHALLENGER}: one predicts a class, the other a number")
        error.whose = CHALLENGER
        raise error
    answers = in_their_words(answers, test)
    return message(result(answers, request.metrics, test.slices, held_out.digest(request.test)))


def _asked(role: str, candidate: Candidate, test: held_out.HeldOut) -> Answers:
    try:
        return ask(role, candidate, test)
    except ScoreError as error:
        # Data that do not even fit the champion are not as they should be; if they fit it, it is for the challenger to fit them.
        error.whose = DATA if role == CHAMPION and error.code == "InvalidData" else role
        raise


if __name__ == "__main__":
    sys.exit(main())
