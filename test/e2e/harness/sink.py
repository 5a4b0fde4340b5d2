"""A next hop whose every answer a test can set: cooperative by default, awkward or hostile on request.

Answers are hooks by stage (banner ehlo helo starttls auth mail rcpt data dot bdat rset noop quit). A hook gets the
session and the command's argument and returns the reply line(s), or:
    None            the usual reply
    CLOSE           close the connection at once
    RESET           the same with a TCP reset
    HANG            never answer
    bytes           written as they are
    an iterator     of bytes, pauses (float, seconds) and CLOSE, until it ends or the client leaves
"""
import asyncio
import dataclasses
import re
import socket
import ssl
import struct
import threading
import time

CLOSE, RESET, HANG = object(), object(), object()


@dataclasses.dataclass
class Message:
    sender: str
    parameters: str
    recipients: list
    rcpt_parameters: list
    content: bytes  # dots unstuffed, terminator removed
    session: "Session"
    time: float

    @property
    def header(self):
        return self.content.split(b"\r\n\r\n", 1)[0].decode("utf-8", "replace")


class Ended(Exception):
    pass


class Session:
    def __init__(self, sink, reader, writer, number):
        self.sink, self.reader, self.writer, self.number = sink, reader, writer, number
        self.peer = writer.get_extra_info("peername")
        self.tls = None
        self.helo = None
        self.auth = None
        self.transcript = []
        self.messages = 0
        self.opened = time.monotonic()
        self.forget()

    def forget(self):
        self.sender, self.parameters, self.recipients, self.rcpt_parameters, self.content = None, "", [], [], b""

    # ---- answering

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, stage, argument, usual):
        """Sends the reply; returns whether it was positive."""
        hook = self.sink.hooks.get(stage)
        reply = hook(self, argument) if hook else None
        if reply is None:
            reply = usual
        delay = self.sink.delays.get(stage, 0)
        if delay:
            await asyncio.sleep(delay)
        while stage in self.sink.held:
            await asyncio.sleep(0.02)
        if reply is HANG:
            await asyncio.sleep(3600)
        if reply is RESET:
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                            struct.pack("ii", 1, 0))
            self.writer.transport.abort()
            raise Ended
        if reply is CLOSE:
            raise Ended
        if isinstance(reply, (bytes, str)):
            data = reply if isinstance(reply, bytes) else reply.replace("\n", "\r\n").encode() + b"\r\n"
            self.transcript.append(("S", data))
            await self.write(data)
            if data.startswith(b"421"):
                raise Ended
            return data[:1] in (b"2", b"3")
        for piece in reply:
            if piece is CLOSE:
                raise Ended
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                await self.write(piece)
        return False

    # ---- the session

    async def run(self):
        await self.answer("banner", "", f"220 {self.sink.name} ESMTP")
        while True:
            line = await self.reader.readline()
            if not line.endswith(b"\n"):
                return
            self.transcript.append(("C", line))
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            verb, _, argument = text.partition(" ")
            handler = getattr(self, "on_" + verb.lower(), None)
            if handler is None:
                await self.write(b"500 5.5.1 unknown\r\n")
            else:
                await handler(argument)

    async def on_ehlo(self, argument):
        self.helo = argument
        self.forget()
        lines = [self.sink.name] + [e for e in self.sink.extensions if e != "STARTTLS" or not self.tls]
        usual = "\n".join(f"250{'-' if i < len(lines) - 1 else ' '}{line}" for i, line in enumerate(lines))
        await self.answer("ehlo", argument, usual)

    async def on_helo(self, argument):
        self.helo = argument
        self.forget()
        await self.answer("helo", argument, f"250 {self.sink.name}")

    async def on_starttls(self, argument):
        if not await self.answer("starttls", argument, "220 2.0.0 go ahead"):
            return
        await self.writer.start_tls(self.sink.context)
        self.tls = self.writer.get_extra_info("ssl_object")
        self.helo = None
        self.forget()

    async def on_auth(self, argument):
        self.auth = argument
        await self.answer("auth", argument, "235 2.7.0 ok")

    async def on_mail(self, argument):
        self.forget()
        match = re.match(r"FROM:<(.*?)>\s*(.*)", argument, re.I)
        if await self.answer("mail", argument, "250 2.1.0 ok"):
            self.sender, self.parameters = match.group(1), match.group(2)

    async def on_rcpt(self, argument):
        match = re.match(r"TO:<(.*?)>\s*(.*)", argument, re.I)
        if await self.answer("rcpt", argument, "250 2.1.5 ok"):
            self.recipients.append(match.group(1))
            self.rcpt_parameters.append(match.group(2))

    async def on_data(self, argument):
        if not self.recipients:
            await self.write(b"503 5.5.1 no recipients\r\n")
            return
        if not await self.answer("data", argument, "354 go ahead"):
            return
        raw = bytearray(b"\r\n")
        while not raw.endswith(b"\r\n.\r\n"):
            piece = await self.reader.readuntil(b"\n")
            raw += piece
        raw = bytes(raw)
        self.transcript.append(("D", raw[2:]))
        self.content = re.sub(rb"(?m)^\.", b"", raw[2:-3])
        await self.finish()

    async def on_bdat(self, argument):
        size, _, last = argument.partition(" ")
        self.content += await self.reader.readexactly(int(size))
        if last.upper() == "LAST":
            await self.finish()
        else:
            await self.answer("bdat", argument, "250 2.0.0 go on")

    async def finish(self):
        message = Message(self.sender, self.parameters, self.recipients, self.rcpt_parameters, self.content, self,
                          time.monotonic())
        self.messages += 1
        if await self.answer("dot", message, "250 2.0.0 taken"):
            self.sink.messages.append(message)
        self.forget()

    async def on_rset(self, argument):
        self.forget()
        await self.answer("rset", argument, "250 2.0.0 ok")

    async def on_noop(self, argument):
        await self.answer("noop", argument, "250 2.0.0 ok")

    async def on_quit(self, argument):
        await self.answer("quit", argument, "221 2.0.0 bye")
        raise Ended


class Sink:
    """Listens on the addresses given, all on one port."""

    def __init__(self, addresses=("127.0.0.1",), port=0, certificate=None, name="sink.test", wrapped=False):
        self.name = name
        self.extensions = ["PIPELINING", "8BITMIME", "SIZE 104857600", "ENHANCEDSTATUSCODES"]
        self.hooks, self.delays = {}, {}
        self.held = set()  # stages that are answered when they are taken out of it
        self.messages, self.sessions = [], []
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
            if not wrapped:
                self.extensions.append("STARTTLS")
        self.wrapped = wrapped
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.addresses = addresses
        self.port = port
        self.servers = []
        self.open()

    def open(self):
        """Starts to listen (again)."""
        asyncio.run_coroutine_threadsafe(self._open(), self.loop).result(10)

    async def _open(self):
        for address in self.addresses:
            server = await asyncio.start_server(self._session, address, self.port, limit=1 << 20, backlog=1024,
                                                ssl=self.context if self.wrapped else None)
            self.port = server.sockets[0].getsockname()[1]
            self.servers.append(server)

    def shut(self):
        """Stops to listen; open sessions go on."""
        async def stop():
            for server in self.servers:
                server.close()
            self.servers = []
        asyncio.run_coroutine_threadsafe(stop(), self.loop).result(10)

    async def _session(self, reader, writer):
        session = Session(self, reader, writer, len(self.sessions))
        self.sessions.append(session)
        if self.wrapped:
            session.tls = writer.get_extra_info("ssl_object")
        try:
            await session.run()
        except (Ended, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError, ValueError):
            pass
        finally:
            session.closed = time.monotonic()
            try:
                writer.close()
            except (OSError, RuntimeError):
                pass

    def close(self):
        async def end():
            for server in self.servers:
                server.close()
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(10)

    # ---- for tests

    def recipients(self):
        return [r for m in self.messages for r in m.recipients]

    def find(self, text):
        """Messages whose content has the text."""
        return [m for m in self.messages if text.encode() in m.content]
