"""The server as tests see it: buckets to write to, faults to ask for, counts to look at."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TESTS = Path(__file__).resolve().parents[1]

_ENVIRONMENT = {
    # Read by gcsfs at its import, in every process: else each operation asks Google's gRPC
    # service for the bucket's type, and waits for a minute.
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    # Read by google-auth: else it looks for a metadata server before it goes without.
    "NO_GCE_CHECK": "true",
}


@dataclass(frozen=True)
class Stats:
    """What a server was asked.

    Attributes
    ----------
    calls
        (method, kind, bucket, name, count) of each request; the kinds are ``calls.KINDS``.
    faults
        How often each kind of fault struck.
    received, sent
        Bytes of bodies, of all requests and of all answers.
    most_in_flight
        Requests under way at once, at most.
    hasty
        How often a name was written again within a second of the last time, where it was.
    """

    calls: list[tuple[str, str, str, str, int]]
    faults: dict[str, int]
    received: int
    sent: int
    most_in_flight: int
    hasty: dict[str, int]

    def count(self, kind: str = "", name: str = "") -> int:
        """Return how many requests there were of some kinds for some names: two patterns."""
        return sum(self.by_name(kind, name).values())

    def by_name(self, kind: str = "", name: str = "") -> dict[str, int]:
        """Return the requests of some kinds by their object."""
        found: dict[str, int] = {}
        for _, of_kind, _, of_name, count in self.calls:
            if re.fullmatch(kind or ".*", of_kind) and re.search(name, of_name):
                found[of_name] = found.get(of_name, 0) + count
        return found

    def by_kind(self, name: str = "") -> dict[str, int]:
        """Return the requests for some names by their kind."""
        found: dict[str, int] = {}
        for _, kind, _, of_name, count in self.calls:
            if re.search(name, of_name):
                found[kind] = found.get(kind, 0) + count
        return dict(sorted(found.items()))


class Gcs:
    """A server of the GCS protocol that these tests did not start, or a real bucket.

    Parameters
    ----------
    url
        The server; empty for Google's own.
    within
        Bucket (and prefix) that the tests may write below; by default they make buckets.
    """

    def __init__(self, url: str = "", within: str = "") -> None:
        self.url = url
        self._within = within
        self._made: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs that is to talk to this server."""
        return {**_ENVIRONMENT, "STORAGE_EMULATOR_HOST": self.url} if self.url else {}

    @cached_property
    def storage_options(self) -> dict[str, Any]:
        """What gcsfs needs to talk to this server, without any environment."""
        if not self.url:
            return {"use_listings_cache": False}
        own = {"endpoint_url": self.url, "token": "anon", "project": "test"}
        return {**own, "use_listings_cache": False}

    @property
    def system(self) -> Any:
        """The file system of gcsfs."""
        import gcsfs

        return gcsfs.GCSFileSystem(**self.storage_options)

    def bucket(self, **facts: str) -> str:
        """Make a bucket (or a folder in the one that is given) and return its name.

        ``location`` and ``storageClass`` are what the server says of it.
        """
        name = f"t-{uuid.uuid4().hex[:12]}"
        if self._within:
            name = f"{self._within}/{name}"
        else:
            self._post("/storage/v1/b?project=test", {"name": name, **facts})
        self._made.append(name)
        return name

    def upload(self, folder: Path, bucket: str, names: Iterable[str]) -> list[str]:
        """Copy the files of a folder into a bucket, many at once; return their URLs."""
        places = {f"{bucket}/{name}": (folder / name).read_bytes() for name in names}
        self.system.pipe(places)
        return [f"gs://{place}" for place in places]

    def objects(self, place: str) -> dict[str, bytes]:
        """Return every object below a place, by its name there."""
        found = self.system.find(place)
        contents = self.system.cat(found) if found else {}
        return {name.removeprefix(f"{place}/"): contents[name] for name in sorted(contents)}

    def faults(self, *rules: dict[str, Any], seed: int = 0) -> None:
        """Set the faults from now on, each as the fields of ``faults.Rule``; none for none."""
        self._only_ours({"rules": rules, "seed": seed})

    def deny(self, bucket: str, *permissions: str, told: bool = True) -> None:
        """Have a bucket refuse some permissions, and say so when it is asked, unless not told."""
        self._only_ours((bucket, permissions, told))

    def latency(self, seconds: float) -> None:
        """Add some seconds to every request."""
        self._only_ours({"seconds": seconds})

    def numbered(self, count: int, pattern: str = "in/{:07d}.jpg") -> str:
        """Make a bucket of many objects that nobody stored; return its name."""
        return str(self._only_ours((count, pattern)))

    def stats(self) -> Stats:
        """Return what was asked since the test began, or ``forget`` was called."""
        return cast("Stats", self._only_ours(None))

    def forget(self) -> None:
        """Count from nothing again."""

    def calm(self) -> None:
        """End all faults and all latency."""

    def clear(self) -> None:
        """Delete what ``bucket`` made."""
        for place in self._made:
            if self.system.exists(place):
                self.system.rm(place, recursive=True)
        self._made.clear()

    def _only_ours(self, _: object) -> Any:
        pytest.skip("needs the tests' own server: only that has faults, latency and counts")

    def _post(self, path: str, content: object) -> Any:
        request = urllib.request.Request(
            self.url + path,
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


class OwnGcs(Gcs):
    """The server in this folder.

    Parameters
    ----------
    url
        Where it listens.
    pid
        Its process: what it takes from the cores is not the client's.
    """

    def __init__(self, url: str, pid: int) -> None:
        super().__init__(url)
        self.pid = pid

    def faults(self, *rules: dict[str, Any], seed: int = 0) -> None:
        self._post("/_faults", {"rules": rules, "seed": seed})

    def deny(self, bucket: str, *permissions: str, told: bool = True) -> None:
        self._post("/_deny", {"bucket": bucket, "permissions": permissions, "told": told})

    def latency(self, seconds: float) -> None:
        self._post("/_latency", {"seconds": seconds})

    def numbered(self, count: int, pattern: str = "in/{:07d}.jpg") -> str:
        name = f"n-{uuid.uuid4().hex[:12]}"
        self._post("/_numbered", {"bucket": name, "count": count, "pattern": pattern})
        self._made.append(name)
        return name

    def stats(self) -> Stats:
        found = self._post("/_stats", {})
        return Stats(**{**found, "calls": [tuple(call) for call in found["calls"]]})

    def forget(self) -> None:
        self._post("/_forget", {})

    def calm(self) -> None:
        self._post("/_calm", {})

    def clear(self) -> None:
        for name in self._made:
            self._post("/_drop", {"bucket": name})
        self._made.clear()


@contextmanager
def serving(folder: Path) -> Iterator[Gcs]:
    """Yield the server that the environment names, or one of our own, started in a process."""
    place, url = os.environ.get("DASKIMG_TEST_BUCKET"), os.environ.get("STORAGE_EMULATOR_HOST")
    if place or url:
        yield Gcs(_with_scheme(url or ""), (place or "").removeprefix("gs://").rstrip("/"))
        return
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gcs_server", str(folder / "port")],
            env={**os.environ, "PYTHONPATH": str(_TESTS)}, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield OwnGcs(f"http://127.0.0.1:{_port(process, folder)}", process.pid)
        finally:
            process.terminate()
            process.wait(10)


def _with_scheme(url: str) -> str:
    return f"http://{url}" if url and "://" not in url else url


def _port(process: subprocess.Popen[bytes], folder: Path) -> int:
    deadline = time.monotonic() + 20
    while not (folder / "port").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the GCS server did not start: {(folder / 'log').read_text()}")
        time.sleep(0.02)
    return int((folder / "port").read_text())
