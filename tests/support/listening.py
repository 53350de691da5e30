"""How a server of this process stops listening."""

import asyncio


async def stop(server: asyncio.Server) -> None:
    """
    Close a server without losing what it is just accepting.

    CPython accepts in two steps, and cannot make the transport of a connection whose server was closed between them
    (`Server._attach`): its socket is never closed, and the warning fails whichever test runs when it is collected.
    """
    loop = asyncio.get_running_loop()
    for socket in server.sockets:
        loop.remove_reader(socket)
    await asyncio.sleep(0)
    server.close()
