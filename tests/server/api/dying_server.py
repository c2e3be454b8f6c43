"""A server process that dies, as by kill -9, once a frame is written and before it is answered.

python dying_server.py FOLDER PORT_FILE FRAMES: it dies at the frame with this number, from 0.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import uvicorn

import transit
from transit import Durability
from transit.server.app import App

EXIT = 137


def main(folder: str, port_file: str, frames: int) -> None:
    """Serve until the frame that is the last."""
    app = App(transit.open(folder, durability="os"))
    reach, left = app.service.reach, frames

    async def reach_or_die(durability: Durability) -> None:
        nonlocal left
        if left == 0:
            # The frame is written; nothing of it was answered. No handler and no close runs.
            os._exit(EXIT)
        left -= 1
        await reach(durability)

    app.service.reach = reach_or_die  # type: ignore[method-assign]
    asyncio.run(_serve(app, port_file))


async def _serve(app: App, port_file: str) -> None:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    # Under another name first: who waits for the file finds all of it.
    Path(port_file + ".part").write_text(str(port))
    Path(port_file + ".part").rename(port_file)
    await serving


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
