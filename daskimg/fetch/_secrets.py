"""Secrets in addresses: signatures, tokens, passwords; told apart from what names a thing.

``shown`` leaves out a query as a whole, for people. What is stored must still tell one picture
from another, so here only parameters go whose names say that they are secret.
"""

from __future__ import annotations

import re

from daskimg.fetch._paths import place_of

MAY_HOLD = r"^[A-Za-z][A-Za-z0-9+.-]+://.*[@?]"
"""A regular expression of the locations that are worth a closer look."""

_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@?#]*@")
_NO_USER = ("gs://", "gcs://", "s3://", "s3a://", "az://", "abfs://", "abfss://", "adl://")
_WEB = ("http://", "https://")
_SECRET = re.compile(
    r"x-(goog|amz|ms|oss|cos)-.*|.*(token|secret|passw|signature|credential|session|api-?key).*"
    r"|sig|sign|key|key-pair-id|policy|expires|googleaccessid|(aws)?accesskey(id)?|auth.*|pass|pwd"
    r"|jwt|hdnea|hdnts",
    re.IGNORECASE,
)
_SAS = re.compile("s[a-z]{1,2}|sk[a-z]{1,3}|s(dd|ip|uoid|aoid|cid)", re.IGNORECASE)


def public(location: str) -> str:
    """Return a location without what is secret in it.

    >>> public("https://me:password@host/a.jpg?id=7&X-Goog-Signature=12ab")
    'https://host/a.jpg?id=7'
    >>> public("https://host/a.jpg?sv=2024&sp=r&sig=ab%3D"), public("abfs://in@account/a.jpg")
    ('https://host/a.jpg', 'abfs://in@account/a.jpg')
    >>> public("gs://bucket/what?token=1.jpg"), public("zip://a.jpg::https://u@host/x.zip?sig=1")
    ('gs://bucket/what?token=1.jpg', 'zip://a.jpg::https://host/x.zip')
    """
    if "://" not in location:
        return location
    place = place_of(location)
    if place:
        archive = public(place.archive)
        return location if archive == place.archive else str(place._replace(archive=archive))
    if location.startswith(_NO_USER):  # a container@account is no user, a ? part of a name
        return location
    found = _USER.sub(r"\1", location)
    found = _without_parameters(found) if found.startswith(_WEB) else found
    return location if found == location else found


def _without_parameters(location: str) -> str:
    address, mark, rest = location.partition("?")
    if not mark:
        return location
    query, hash_, fragment = rest.partition("#")
    named = [(text.partition("=")[0].replace("_", "-"), text) for text in query.split("&")]
    shared = any(name.lower() == "sig" for name, _ in named)  # Azure's: names of two letters
    kept = [
        text
        for name, text in named
        if not _SECRET.fullmatch(name) and not (shared and _SAS.fullmatch(name))
    ]
    return f"{address}{'?' * bool(kept)}{'&'.join(kept)}{hash_}{fragment}"
