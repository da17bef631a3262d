"""Sessions: a signed cookie that says which token was shown, and the token against forged forms that goes with it.

The cookie holds no secret: the digest of a token in it is keyed, and worth nothing without the file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadSignature, URLSafeTimedSerializer

from model.errors import Fault, UserError

COOKIE = "mgoe_console"
LIFE_S = 12 * 3600
KEY_BYTES = 32


@dataclass(frozen=True)
class Session:
    """One browser. mark: of the token that it has shown; empty before that, and where no token is asked for."""

    id: str
    mark: str = ""


class Sessions:
    """Signs and reads cookies."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._signer = URLSafeTimedSerializer(key, salt="mgoe-console-session", signer_kwargs={"digest_method": _sha})

    def new(self, digest: bytes | None = None) -> Session:
        """A session under a new name; a name from before a login is never kept."""
        return Session(secrets.token_urlsafe(16), self.mark(digest) if digest else "")

    def mark(self, digest: bytes) -> str:
        """Of a token's digest: changes with the key."""
        return hmac.new(self._key, b"mark" + digest, hashlib.sha256).hexdigest()

    def cookie(self, session: Session) -> str:
        """As the browser keeps it."""
        return str(self._signer.dumps([session.id, session.mark]))

    def read(self, cookie: str | None) -> Session | None:
        """None: there is none, it was forged, signed with another key, or is too old."""
        if not cookie or len(cookie) > 512:
            return None
        try:
            name, mark = self._signer.loads(cookie, max_age=LIFE_S)
        except (BadSignature, ValueError, TypeError):
            return None
        return Session(str(name), str(mark))

    def form_token(self, session: Session) -> str:
        """What a form of this session carries."""
        return hmac.new(self._key, f"form {session.id} {session.mark}".encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, session: Session, token: str) -> bool:
        """Whether the form was made for this session."""
        return hmac.compare_digest(self.form_token(session).encode(), token.encode(errors="replace"))


def key_of(file: Path | None, *, make: bool = False) -> bytes:
    """The key of a file; a new one where none is named. make: the file is written where it is not there.

    Raises UserError for a file that is too short or cannot be read, Fault for one that cannot be written.
    """
    if file is None:
        return secrets.token_bytes(KEY_BYTES)
    if make and not file.exists():
        _write(file)
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise UserError(f"key {file}: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise UserError(f"key {file}: {len(key)} bytes, {KEY_BYTES} or more are needed (`openssl rand -hex 32`)")
    return key


def _write(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(secrets.token_hex(KEY_BYTES))
    except FileExistsError:
        return  # another process was faster
    except OSError as error:
        raise Fault(f"key {file} cannot be written: {error.strerror}") from error


def _sha(data: bytes = b"") -> hashlib._Hash:
    return hashlib.sha256(data)
