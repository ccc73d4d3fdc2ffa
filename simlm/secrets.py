"""Passwords and tokens: they belong into the environment, never into a configuration, a file of results or a message."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote, unquote

_ADDRESS = re.compile(r"(?P<scheme>\b[A-Za-z][\w+.-]*://)(?:(?P<user>[^\s/?#]*)@)?(?P<rest>[^\s?#'\"]*)(?:\?(?P<query>[^\s#'\"]*))?")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|credential|signature|api[_-]?key|access[_-]?key|^(key|sig|auth|pw)$", re.IGNORECASE)
_TOKEN = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|(AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|sk-[A-Za-z0-9_-]{20,}|dapi[0-9a-f]{32})\b")
"""Tokens that their makers gave a form to be recognised by: Hugging Face, Amazon, GitHub, OpenAI, Databricks."""

_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def what_is_secret(text: str) -> str | None:
    """What of a setting must not be written down, or None.

    >>> what_is_secret("https://me:hunter2@mlflow.example/"), what_is_secret("postgresql://db/x?user=me&password=hunter2")
    ('a password', "a secret ('password')")
    >>> what_is_secret("postgresql://me@db/x?sslmode=require"), what_is_secret("owner/name@main")
    (None, None)
    """
    if _TOKEN.search(text):
        return "a token"
    for address in _ADDRESS.finditer(text):
        if ":" in (address["user"] or "") or _no_port(address["rest"]):
            return "a password"
        if address["user"] and address["scheme"].lower().startswith("http"):
            return "a user or token"
        named = [part.partition("=")[0] for part in re.split("[&;]", address["query"] or "")]
        if secret := next((name for name in named if _SECRET_NAME.search(unquote(name))), None):
            return f"a secret ('{secret}')"
    return None


def find_secret(values: Any, place: tuple[str | int, ...] = ()) -> tuple[tuple[str | int, ...], str] | None:
    """Place and kind of the first secret in plain values of a configuration.

    >>> find_secret({"corpus": {"path": "data"}, "tracking": {"uri": "http://me:hunter2@host"}})
    (('tracking', 'uri'), 'a password')
    """
    if isinstance(values, str):
        found = what_is_secret(values)
        return (place, found) if found else None
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    # A key may be as careless as a value; it is named by the mapping that holds it.
    spoken = (find_secret(key, place) or find_secret(value, (*place, key)) for key, value in items)
    return next(filter(None, spoken), None)


def without_secrets(text: str, *more: str | None) -> str:
    """A text with the passwords of its addresses, the values of their queries, known tokens and ``more`` as ``***``.

    >>> without_secrets("cannot reach postgresql://me:hunter2@db/x?sslmode=require: refused")
    'cannot reach postgresql://me:***@db/x?sslmode=***: refused'
    >>> without_secrets("password 'p@ss' is wrong", "p@ss")
    "password '***' is wrong"
    """
    known = [secret for secret in (*more, *map(os.environ.get, _VARIABLES)) if secret and len(secret) > 2]
    forms = {form for secret in known for form in (secret, unquote(secret), quote(secret, safe=""))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return _TOKEN.sub("***", _ADDRESS.sub(_shown, text))


def _shown(address: re.Match[str]) -> str:
    user, query = address["user"], address["query"]
    # The name of a user is no secret; alone before the @ of a web address it is a token.
    if user is not None:
        name, colon, _ = user.partition(":")
        user = f"{name}:***@" if colon else "***@" if address["scheme"].lower().startswith("http") else f"{name}@"
    rest = re.sub(r"^([^/:]*):.*", r"\1:***", address["rest"]) if _no_port(address["rest"]) else address["rest"]
    if user and ":" in user and "@" in rest:
        rest = rest.rpartition("@")[2]  # a password with a slash and an @ in it
    # A message may end its sentence behind the address.
    asked = "" if query is None else "?" + re.sub(r"=[^&;]*?(?=[:.,)]*$|[&;])", "=***", query)
    return f"{address['scheme']}{user or ''}{rest}{asked}"


def _no_port(rest: str) -> bool:
    """Whether what stands where a port should be is none: a password with a slash in it ends the host too early."""
    host, colon, port = rest.partition("/")[0].partition(":")
    return bool(colon and not host.startswith("[") and port.rstrip(".:,)") and not port.rstrip(".:,)").isdigit() and "@" in rest)
