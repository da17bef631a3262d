"""Calls the evidence service for a person at a terminal."""

from __future__ import annotations

import httpx

from model.errors import Fault, UserError

TIMEOUT_S = 30.0


def post(url: str, token: str | None, path: str, body: bytes) -> bool:
    """Sends JSON; returns whether something new was made. Raises UserError where it is refused, else Fault."""
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    try:
        answer = httpx.post(f"{url.rstrip('/')}{path}", content=body, headers=headers, timeout=TIMEOUT_S)
        told = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Fault(f"evidence service {url}: {error or type(error).__name__}") from error
    except ValueError:
        raise Fault(f"evidence service {url}: answers {answer.status_code} without JSON") from None
    if answer.is_success:
        return answer.status_code == httpx.codes.CREATED
    reason = f"evidence service {url}: {told.get('error') if isinstance(told, dict) else told} ({answer.status_code})"
    raise UserError(reason) if answer.is_client_error else Fault(reason)
