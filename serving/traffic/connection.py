"""Why a connection failed, in the words of a person."""

from __future__ import annotations

import os

import aiohttp


def reason_of(error: aiohttp.ClientError | TimeoutError) -> str:
    """`connection refused`, `timed out`, ..."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        return (os.strerror(number) if number > 0 else str(error.os_error.strerror)).lower()
    return "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
