"""A TCP service with asyncio: every line it is sent is kept, and an empty one asks for all of them."""

import asyncio

from wit_world import exports

guests = []  # Kept for as long as the service runs.


async def serve(reader, writer):
    while line := await reader.readline():
        name = line.decode().strip()
        if name:
            guests.append(name)
            answer = f"welcome {name}, guest {len(guests)}\n"
        else:
            answer = ", ".join(guests) + "\n"
        writer.write(answer.encode())
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 7000)
    print("listening on 127.0.0.1:7000", flush=True)
    await server.serve_forever()


class Run(exports.Run):
    def run(self):
        asyncio.run(main())
