"""The server itself: latency, faults, counting, and the answers of the two APIs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gcs_server.buckets import Buckets, Numbered
from gcs_server.calls import call_of
from gcs_server.counts import Counts
from gcs_server.faults import Faults, spoilt_reply, spoilt_request
from gcs_server.json_api import JsonApi
from gcs_server.messages import Refusal, Reply, Request
from gcs_server.permissions import Permissions
from gcs_server.xml_api import XmlApi

if TYPE_CHECKING:
    from gcs_server.calls import Call
    from gcs_server.faults import Rule

_LARGE, _STEP = 1 << 20, 1 << 18  # bytes
_WRITES = ("put", "create", "chunk")


class Server:
    """All state, and what is done with a request."""

    def __init__(self) -> None:
        self._buckets = Buckets()
        self._permissions = Permissions(self._buckets)
        self._json = JsonApi(self._buckets, self._permissions)
        self._xml = XmlApi(self._buckets)
        self._counts = Counts()
        self._faults = Faults()
        self._latency = 0.0
        self._released = asyncio.Event()

    async def answer(self, asked: web.Request) -> web.StreamResponse:
        """Answer one request of HTTP."""
        path = asked.rel_url.raw_path
        if path.startswith("/_"):
            return _plain(self._control(path, await asked.json() if asked.body_exists else {}))
        sent = 0
        self._counts.arrived()
        try:
            body = await asked.read()
            request = Request(asked.method, path, _query(asked), asked.headers, body, asked.host)
            call = call_of(request, self._buckets, self._json.uploads)
            before = self._counts.asked(call, len(body))
            await asyncio.sleep(self._latency)
            rule = self._faults.strike(call, _peer(asked), before)
            if rule is not None:
                self._counts.struck(rule.fault)
                return await self._faulty(asked, request, rule, writes=call.kind in _WRITES)
            reply = self._reply(request, call)
            sent = len(reply.body)
            return _plain(reply) if sent < _LARGE else await _streamed(asked, reply)
        finally:
            self._counts.left(sent)

    def _reply(self, request: Request, call: Call | None = None) -> Reply:
        if request.path == "/":
            return Reply(body=b"OK")
        try:
            if call is not None:
                self._permissions.check(request, call)
            return self._json.reply(request) or self._xml.reply(request)
        except Refusal as refusal:
            return refusal.reply()

    async def _faulty(
        self, asked: web.Request, request: Request, rule: Rule, *, writes: bool
    ) -> web.StreamResponse:
        if rule.fault == "status":
            reply = Refusal(rule.status, rule.message).reply()
            if rule.retry_after is not None:
                reply.headers["Retry-After"] = f"{rule.retry_after:g}"
            return _plain(reply)
        if rule.fault == "reset":
            return _cut(asked)
        if rule.fault == "stall":
            return await self._stalled(asked, rule, request)
        reply = self._reply(
            spoilt_request(request) if writes and rule.fault == "corrupt" else request
        )
        if rule.fault == "reset_after_write":
            return _cut(asked)
        if writes or not reply.body or reply.status >= 400:
            return _plain(reply)  # there is no body to spoil
        if rule.fault == "truncate":
            return await _truncated(asked, reply)
        if rule.fault == "slow":
            step, pause = -(-len(reply.body) // 10), (rule.seconds or 1.0) / 10
            return await _streamed(asked, reply, step, pause)
        return _plain(spoilt_reply(rule, reply))

    async def _stalled(
        self, asked: web.Request, rule: Rule, request: Request
    ) -> web.StreamResponse:
        """Say nothing: for some seconds, then answer; or until a reset, then cut."""
        try:
            async with asyncio.timeout(rule.seconds):
                await self._released.wait()
        except TimeoutError:
            return _plain(self._reply(request))
        return _cut(asked)

    def _control(self, path: str, given: dict[str, Any]) -> Reply:
        """Do what a test asks of the server itself, outside the two APIs."""
        if path == "/_faults":
            self._faults = Faults(given.get("seed", 0), given["rules"])
        elif path == "/_latency":
            self._latency = float(given["seconds"])
        elif path == "/_deny":
            self._permissions.deny(given["bucket"], given["permissions"], told=given["told"])
        elif path == "/_numbered":
            bucket = self._buckets.create({"name": given["bucket"]})
            bucket.numbered = Numbered(given["pattern"], given["count"])
        elif path == "/_drop":
            self._buckets.delete(given["bucket"], full=True)
        elif path == "/_forget":
            self._counts.forget()
            self._buckets.hasty.clear()
        elif path == "/_calm":
            self._calm()
        elif path != "/_stats":
            return Reply(404)
        return Reply.of({**self._counts.to_json(), "hasty": self._buckets.hasty})

    def _calm(self) -> None:
        """End all faults, also those under way, and all latency."""
        self._faults, self._latency = Faults(), 0.0
        self._released.set()
        self._released = asyncio.Event()


def _peer(asked: web.Request) -> tuple[str, int]:
    assert asked.transport is not None
    host, port = asked.transport.get_extra_info("peername")[:2]
    return host, port


def _query(asked: web.Request) -> dict[str, str]:
    """Return the query, with repeated names as one list: ``testPermissions`` has those."""
    return {name: ",".join(asked.query.getall(name)) for name in asked.query}


def _plain(reply: Reply) -> web.StreamResponse:
    return web.Response(status=reply.status, body=reply.body or None, headers=reply.headers)


async def _begun(asked: web.Request, reply: Reply) -> web.StreamResponse:
    """Send the head of an answer, for all of its body."""
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = len(reply.body)
    await response.prepare(asked)
    return response


async def _streamed(
    asked: web.Request, reply: Reply, step: int = _STEP, pause: float = 0.0
) -> web.StreamResponse:
    """Send a body bit by bit: asyncio would copy what the line does not take at once."""
    response, body = await _begun(asked, reply), memoryview(reply.body)
    for start in range(0, len(body), step):
        if pause:
            await asyncio.sleep(pause)
        await response.write(body[start : start + step])
    return response


def _cut(asked: web.Request) -> web.StreamResponse:
    """Cut the connection: the client sees a reset, and no answer."""
    if asked.transport is not None:
        asked.transport.abort()
    return web.Response()


async def _truncated(asked: web.Request, reply: Reply) -> web.StreamResponse:
    """Send half of a body, and cut the connection."""
    response = await _begun(asked, reply)
    await response.write(reply.body[: len(reply.body) // 2])
    await asyncio.sleep(0.02)  # for the half to leave before the cut
    return _cut(asked)


def application() -> web.Application:
    """Return the server as aiohttp runs it."""
    app = web.Application(client_max_size=1 << 31)
    app.router.add_route("*", "/{tail:.*}", Server().answer)
    return app
