"""A scheduler that is there already: its address, its file, its certificates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from distributed import Client
from distributed.security import Security

from daskimg.errors import OptionError

if TYPE_CHECKING:
    from daskimg.build._cluster import ClusterOptions

_ANSWER = 10  # seconds that a scheduler has to answer, at the beginning and when it was lost


def client_of(options: ClusterOptions) -> Client:
    """Return a client of the scheduler that the options name.

    Raises
    ------
    OptionError
        If there is none, or it and the certificates do not go together.
    """
    assert options.scheduler is not None
    address = address_of(options.scheduler)
    security = security_of(options)
    if security is not None and not address.startswith("tls://"):
        raise OptionError(
            f"{address} is not encrypted, and certificates were given; try {_as_tls(address)}"
        )
    try:
        return Client(address, timeout=_ANSWER, security=security)
    except Exception as error:  # an address of anything, a peer of any kind
        said = " ".join(str(error).split())
        raise OptionError(
            f"no scheduler answers at {address} ({said}); {_advice(address)}"
        ) from error


def address_of(scheduler: str) -> str:
    """Return the address in a scheduler file, or the address that was given."""
    path = Path(scheduler)
    if not path.is_file():
        if ":" not in scheduler and ("/" in scheduler or path.suffix == ".json"):
            raise OptionError(
                f"there is no scheduler file {scheduler}: no such file; give an address like "
                f"tcp://host:8786, or the file that dask scheduler --scheduler-file wrote"
            )
        return scheduler
    try:
        return str(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"no scheduler answers at {scheduler} (it is no scheduler file: {error}); give an "
            f"address like tcp://host:8786, or the file that dask scheduler --scheduler-file wrote"
        ) from None


def security_of(options: ClusterOptions) -> Security | None:
    """Return the certificates that were given; without any, Dask's configuration has its say."""
    if options.tls_ca is None:
        return None
    return Security(
        tls_ca_file=options.tls_ca,
        tls_client_cert=options.tls_cert,
        tls_client_key=options.tls_key,
        require_encryption=True,
    )


def _as_tls(address: str) -> str:
    return f"tls://{address.rpartition('://')[2]}"


def _advice(address: str) -> str:
    if address.startswith("tls://"):
        return (
            "it and the client must trust one authority: give --tls-ca, --tls-cert and --tls-key, "
            "or Dask's configuration distributed.comm.tls"
        )
    return (
        f"give an address like tcp://host:8786, or the name of a scheduler file; one that wants "
        f"TLS is {_as_tls(address)}"
    )
