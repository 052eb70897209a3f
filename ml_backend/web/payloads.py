"""Reading what a request carries, and refusing it by name where it is not what it should be.

Everything here raises werkzeug's HTTP exceptions (4xx); the app answers them as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from flask import Request
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    UnprocessableEntity,
    UnsupportedMediaType,
)

LARGEST_ID = 2**63 - 1
# Label Studio writes "<project id>.<its creation time>" in /setup and /predict.
PROJECT_NAME = re.compile(r"([0-9]{1,19})(\.[0-9]{1,19})?", re.ASCII)


def json_object(request: Request) -> dict[str, Any]:
    """Read the body as one JSON object.

    Raises 413 for a body over the limit, 415 for another content type, 400 for anything that is
    not JSON in UTF-8 (NaN is not), and 422 for JSON that is not an object.
    """
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("expected a body with Content-Type: application/json")
    try:
        document = json.loads(_body(request).decode(), parse_constant=_refuse)
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply") from None
    except ValueError as error:
        raise BadRequest(f"the body is not JSON in UTF-8: {_one_line(error)}") from None
    if not isinstance(document, dict):
        raise UnprocessableEntity(f"expected a JSON object, got {_name(document)}")
    return document


def _body(request: Request) -> bytes:
    """Read the whole body; raises 413, or 400 where it breaks off.

    werkzeug cuts a body of unknown length at the limit without a word, and what is left may well be
    JSON. So one that fills the limit is taken for one that was cut.
    """
    try:
        body = request.get_data(cache=False)
    except HTTPException:
        raise
    except Exception as error:  # each server has errors of its own for broken HTTP
        raise BadRequest("the body cannot be read to its end") from error
    limit = request.max_content_length
    if request.content_length is None and limit is not None and len(body) >= limit:
        raise RequestEntityTooLarge(f"a request must have fewer than {limit} bytes")
    return body


def row_id(value: object, where: str) -> int:
    """Read an id of Label Studio's: a whole number from 1 to 2**63 - 1. Raises 422."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_ID:
        raise UnprocessableEntity(f"{where}: expected a whole number from 1, got {_name(value)}")
    return value


def named_project(value: object) -> int:
    """Read the project of /setup and /predict: "7.1700000000", "7" or 7. Raises 422."""
    if isinstance(value, str) and (match := PROJECT_NAME.fullmatch(value)):
        return row_id(int(match[1]), "project")
    return row_id(value, "project")


def queried_project(request: Request) -> int | None:
    """Read `?project=7` of the URL; None where there is none. Raises 422."""
    values = request.args.getlist("project")
    if not values:
        return None
    if len(values) > 1 or not re.fullmatch(r"[0-9]{1,19}", values[0], re.ASCII):
        raise UnprocessableEntity("the URL's `project`: expected one number, as in ?project=7")
    return row_id(int(values[0]), "the URL's `project`")


def objects(value: object, where: str) -> Sequence[dict[str, Any]]:
    """Read a list of JSON objects. Raises 422."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise UnprocessableEntity(f"{where}: expected a list of objects")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _name(value: object) -> str:
    """Name a value without repeating it: it may be long, or somebody's secret."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int):
        return "a number out of range"
    names = {str: "a text", float: "a fraction", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _one_line(error: ValueError) -> str:
    """Say what is wrong with the JSON, and not what it says."""
    if isinstance(error, UnicodeDecodeError):
        return f"{error.reason} at byte {error.start}"
    return str(error).splitlines()[0][:200]


def basic_login(request: Request) -> tuple[str, str] | None:
    """Read the user and password of Basic authentication; None where there is none."""
    try:
        sent = request.authorization
    except ValueError:  # werkzeug's answer to a header that is not ASCII
        return None
    if sent is None or sent.type != "basic" or sent.username is None:
        return None
    return sent.username, sent.password or ""
