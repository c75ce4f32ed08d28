"""Addresses and messages as people may see them: no passwords, no signatures."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from daskimg.errors import DaskimgError
from daskimg.fetch._options import known_secrets
from daskimg.fetch._paths import place_of
from daskimg.fetch._secrets import WEB, public, unchained

if TYPE_CHECKING:
    from collections.abc import Iterator

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)\]]+")
_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/]*@")  # a password may have an @
_QUERY = re.compile(r"\?[\w.%-]+=.*$", re.DOTALL)  # a ? may be part of an object's name
_PARAMETER = re.compile(  # of an address without its host, as urllib3 writes it
    r"([?&][\w.%-]*(?:token|secret|passw|signature|credential|key|sig)[\w.%-]*=)[^&\s'\"<>)\]]+",
    re.IGNORECASE,
)
_HIDDEN = "***"


def shown(location: str) -> str:
    """Return a location as it may be shown: without the query of a URL, or whose it is.

    >>> shown("https://me:password@host/a.jpg?X-Goog-Signature=12ab")
    'https://host/a.jpg'
    >>> shown("gs://bucket/what?.jpg"), shown("a?b=c.jpg")
    ('gs://bucket/what?.jpg', 'a?b=c.jpg')
    """
    if "://" not in location:
        return location
    chain, location = unchained(location)
    if chain:
        return chain + shown(location)
    place = place_of(location)
    if place:
        return str(place._replace(archive=shown(place.archive)))
    location = _USER.sub(r"\1", location)
    if WEB.match(location):
        return re.split(r"[?#]", public(location), maxsplit=1)[0]
    return _QUERY.sub("", location)


@contextmanager
def scrubbing() -> Iterator[None]:
    """Have no error of ours pass with an address in it that may not be shown."""
    try:
        yield
    except DaskimgError as error:
        told = [scrubbed(each) if isinstance(each, str) else each for each in error.args]
        if told == list(error.args):
            raise
        raise type(error)(*told) from None


def scrubbed(text: str) -> str:
    """Return a message of somebody else's, its addresses shown as ``shown`` does.

    What the storage options hold under the name of a key or a token is blotted out, and what a
    query has under such a name.

    >>> scrubbed("404, url='http://host/a.jpg?token=secret'")
    "404, url='http://host/a.jpg'"
    >>> scrubbed("no answer at /tokeninfo?access_token=secret&v=3")
    'no answer at /tokeninfo?access_token=***&v=3'
    """
    text = _URL.sub(lambda found: shown(found[0]), text)
    text = _PARAMETER.sub(rf"\1{_HIDDEN}", text)
    for secret in known_secrets():
        text = text.replace(secret, _HIDDEN).replace(quote(secret, safe=""), _HIDDEN)
    return text
