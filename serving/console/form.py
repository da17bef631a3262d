"""A form as a browser sends it: bounded, and made for this session."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from fastapi import Request

from model.errors import UserError

LARGEST = 16 * 1024
FIELDS = 20
_TYPE = "application/x-www-form-urlencoded"


class FormError(UserError):
    """What came is no form of ours."""


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields by name, the first of each. Raises FormError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise FormError(f"a form ({_TYPE}) is expected")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise FormError(f"the form is larger than {LARGEST} bytes")
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS)
    except ValueError as error:
        raise FormError(f"the form cannot be read: {' '.join(str(error).split())}") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields
