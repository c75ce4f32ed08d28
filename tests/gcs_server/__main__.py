"""``python -m gcs_server PORT_FILE [HOST]``: serve, on loopback unless told otherwise."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from gcs_server.server import application


async def _serve(port_file: Path, host: str = "127.0.0.1") -> None:
    """Serve until a signal; the port is written into a file."""
    # A stalled request is to end with its client, and with the server.
    runner = web.AppRunner(
        application(), access_log=None, shutdown_timeout=0.5, handler_cancellation=True
    )
    await runner.setup()
    await web.TCPSite(runner, host, 0, backlog=1024).start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    half = port_file.with_suffix(".half")
    half.write_text(str(runner.addresses[0][1]))
    half.replace(port_file)  # whoever sees the file sees the whole number
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), *sys.argv[2:]))
