"""What goes wrong on purpose: rules, and the chance by which they strike."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import psutil

from gcs_server.uploads import sent_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gcs_server.calls import Call
    from gcs_server.messages import Reply, Request

FAULTS = (
    "status",  # an answer with a status of an error: 503, 429 with Retry-After, 403 ...
    "reset",  # the connection is cut before anything is done
    "reset_after_write",  # what was asked is done, and the connection cut before the answer
    "truncate",  # half of the body under a Content-Length of all of it, then a cut
    "short",  # half of the body under a Content-Length of half of it: well formed
    "corrupt",  # one byte of the body is another, under the true hashes; also of an upload's
    "stall",  # no answer, for some seconds or for ever
    "slow",  # the body in ten pieces, over some seconds
)
"""Kinds of faults."""

_OF_A_BODY = ("truncate", "short", "slow")
_WITH_A_BODY = ("media", "part", "info", "list")


@dataclass(frozen=True, slots=True)
class Rule:
    """When a fault strikes, and which.

    Attributes
    ----------
    fault
        One of ``FAULTS``.
    method, kind, name
        Regular expressions, searched for in the request's method, its kind (see
        ``calls.KINDS``) and its object's name.
    probability
        Chance that it strikes a request that matches.
    count
        How often it strikes at most; ``None`` for ever.
    client
        Only requests of this process (its id), or from this address.
    status, retry_after, message
        Of the fault ``status``.
    seconds
        Of ``stall`` and ``slow``; a stall without them lasts until the server is reset.
    """

    fault: str
    method: str = ""
    kind: str = ""
    name: str = ""
    probability: float = 1.0
    count: int | None = None
    client: int | str | None = None
    status: int = 503
    retry_after: float | None = None
    message: str = "injected fault"
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse a kind of fault that there is not."""
        if self.fault not in FAULTS:
            raise ValueError(f"{self.fault!r} is no fault; try {', '.join(FAULTS)}")

    def matches(self, call: Call, peer: tuple[str, int]) -> bool:
        """Tell whether the rule is about a request."""
        if not re.search(self.method, call.method) or not re.search(self.kind, call.kind):
            return False
        if not re.search(self.name, call.name):
            return False
        if self.fault in _OF_A_BODY and call.kind not in _WITH_A_BODY:
            return False
        return self.client is None or is_client(self.client, peer)


class Faults:
    """The rules in force; the first that strikes a request is the one."""

    def __init__(self, seed: int = 0, rules: Iterable[dict[str, Any]] = ()) -> None:
        self._seed = seed
        self._rules = [Rule(**given) for given in rules]
        self._left = [rule.count for rule in self._rules]

    def strike(self, call: Call, peer: tuple[str, int], before: int) -> Rule | None:
        """Return the fault that strikes a request of which ``before`` the like came already.

        Chance depends on the seed, the request and how often it was made before: not on the
        order in which requests of several clients come, and not on the bucket's name.
        """
        for number, rule in enumerate(self._rules):
            left = self._left[number]
            if left == 0 or not rule.matches(call, peer):
                continue
            told = (self._seed, number, call.method, call.kind, call.name, before)
            if _chance(told) < rule.probability:
                self._left[number] = left and left - 1
                return rule
        return None


def _chance(told: tuple[object, ...]) -> float:
    """Return a number of 0 to 1 that hangs on nothing but what is told."""
    digest = hashlib.blake2b(repr(told).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@cache  # a connection has one client for all of its life
def is_client(client: int | str, peer: tuple[str, int]) -> bool:
    """Tell whether a connection comes from a process, or from an address."""
    if isinstance(client, str):
        return peer[0] == client
    try:
        connections = psutil.Process(client).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(each.laddr and each.laddr.port == peer[1] for each in connections)


def spoilt_reply(rule: Rule, reply: Reply) -> Reply:
    """Return an answer with another body under the same headers."""
    if rule.fault == "corrupt":
        return replace(reply, body=_flipped(reply.body))
    if rule.fault == "short":
        return replace(reply, body=reply.body[: len(reply.body) // 2])
    return reply


def spoilt_request(request: Request) -> Request:
    """Return an upload with one byte of its content changed on the way."""
    content = sent_by(request).content if "upload_id" not in request.query else request.body
    at = request.body.rindex(content)
    body = request.body[:at] + _flipped(content) + request.body[at + len(content) :]
    return replace(request, body=body)


def _flipped(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :] if content else content
