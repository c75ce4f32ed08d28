"""Secrets in addresses: signatures, tokens, passwords; told apart from what names a thing.

``shown`` leaves out a query as a whole, for people. What is stored must still tell one picture
from another, so here only parameters go whose names say that they are secret.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from daskimg.fetch._paths import place_of

MAY_HOLD = r"(?s)^[A-Za-z][A-Za-z0-9+.:-]+://.*[@?;#]"
"""A regular expression of the locations that are worth a closer look."""

WEB = re.compile("https?://", re.IGNORECASE)
"""A regular expression of how addresses begin that may have queries."""

_CHAIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*::)+(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")  # a password may have an @
_NO_USER = re.compile("(gs|gcs|s3|s3a|az|abfs|abfss|adl)://", re.IGNORECASE)
_SECRET = re.compile(
    r"x-(goog|amz|ms|oss|cos)-.*"
    r"|.*(token|secret|passw|signature|credential|session|api-?key|access-?key|hmac).*"
    r"|(.*-)?(hash|md5)(-.*)?"
    r"|sig|sign|key|key-pair-id|policy|expires|googleaccessid|auth.*|pass|pwd|jwt|hdnea|hdnts|st",
    re.IGNORECASE,
)
_BETWEEN = re.compile("(&|;(?=[^&;]*=))")  # a value may have a ; in it
_IN_PATH = re.compile(";([^;/=]*)=[^;/]*")
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
    chain, rest = unchained(location)
    if chain:
        found = chain + public(rest)
        return location if found == location else found
    place = place_of(location)
    if place:
        archive = public(place.archive)
        return location if archive == place.archive else str(place._replace(archive=archive))
    if _NO_USER.match(location):  # a container@account is no user, a ? part of a name
        return location
    found = _USER.sub(r"\1", location)
    found = _without_parameters(found) if WEB.match(found) else found
    return location if found == location else found


def unchained(location: str) -> tuple[str, str]:
    """Return the file systems that stand before an address, and the address.

    >>> unchained("simplecache::https://host/a.jpg"), unchained("zip://a.jpg::x.zip")
    (('simplecache::', 'https://host/a.jpg'), ('', 'zip://a.jpg::x.zip'))
    """
    found = _CHAIN.match(location)
    end = found.end() if found else 0
    return location[:end], location[end:]


def _without_parameters(location: str) -> str:
    """Return a web address without the secret ones in its path, its query and its fragment."""
    rest, hash_, fragment = location.partition("#")
    address, mark, query = rest.partition("?")
    address = _IN_PATH.sub(lambda found: "" if _is_secret(found[1]) else found[0], address)
    if query:
        query = _kept(query)
        mark = mark if query else ""
    if "=" in fragment:
        fragment = _kept(fragment)
        hash_ = hash_ if fragment else ""
    return f"{address}{mark}{query}{hash_}{fragment}"


def _kept(text: str) -> str:
    """Return parameters without the secret ones."""
    pieces = _BETWEEN.split(text)
    names = [piece.partition("=")[0] for piece in pieces[::2]]
    shared = any(name.lower() == "sig" for name in names)  # Azure's: names of two letters
    marks = ["", *pieces[1::2]]
    kept = [
        (mark, piece)
        for mark, piece, name in zip(marks, pieces[::2], names, strict=True)
        if not _is_secret(name) and not (shared and _SAS.fullmatch(name))
    ]
    return "".join(mark * (number > 0) + piece for number, (mark, piece) in enumerate(kept))


def _is_secret(name: str) -> bool:
    return _SECRET.fullmatch(unquote(name).replace("_", "-")) is not None
