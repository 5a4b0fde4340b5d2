#!/usr/bin/env python3
"""Back-off against Postfix: a sink that answers 421 to the third connection for a while, then is well. Both servers get the
same mail at the same rate; how often each was turned away, and what had arrived when. As root, for Postfix.

    test/bench/backoff.py --build build/release
"""
import argparse
import asyncio
import pathlib
import smtplib
import tempfile
import threading
import time

import servers

TAKES_S = 0.1  # of the sink, for each message
POSTFIX_DEFAULTS = "default_destination_concurrency_limit = 20\ninitial_destination_concurrency = 5\n"


class Sink:
    """Two connections at a time while it is ill; any number later."""

    def __init__(self):
        self.port, self.ill = servers.free_port(), True
        self.open = self.taken = self.refused = self.most = 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait()

    def run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self.session, "127.0.0.1", self.port))
        self.loop.call_soon(ready.set)
        self.loop.run_forever()

    async def session(self, reader, writer):
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            if self.ill and self.open > 2:
                self.refused += 1
                writer.write(b"421 4.7.0 sink.test Error: too many connections from your network\r\n")
                await writer.drain()
                return
            writer.write(b"220 sink.test ESMTP\r\n")
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    while (await reader.readline()) not in (b".\r\n", b""):
                        pass
                    await asyncio.sleep(TAKES_S)
                    self.taken += 1
                writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                await writer.drain()
                if verb == b"QUIT":
                    return
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


def send(port, count, rate):
    begin = time.monotonic()
    with smtplib.SMTP("127.0.0.1", port) as client:
        for number in range(count):
            time.sleep(max(0, begin + number / rate - time.monotonic()))
            client.sendmail("a@bench.test", [f"r{number}@example.net"], "Subject: x\r\n\r\nx\r\n")


def measure(make, options):
    sink = Sink()
    with tempfile.TemporaryDirectory(prefix="tp-backoff-") as folder:
        server = make(pathlib.Path(folder), sink.port)
        count, begin = options.rate * options.seconds, time.monotonic()
        sender = threading.Thread(target=send, args=(server.port, count, options.rate))
        sender.start()
        row, healed = {}, None
        try:
            while (now := time.monotonic() - begin) < options.limit and sink.taken < count:
                if healed is None and now >= options.ill:
                    sink.ill, healed = False, now
                    row.update(refused=sink.refused, taken_ill=sink.taken)
                time.sleep(0.05)
            row.update(taken=sink.taken, all_s=time.monotonic() - begin if sink.taken >= count else None, count=count)
        finally:
            sender.join()
            server.stop()
            sink.stop()
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rate", type=int, default=20, help="messages a second")
    parser.add_argument("--seconds", type=int, default=60, help="how long they come")
    parser.add_argument("--ill", type=int, default=30, help="seconds until the sink is well")
    parser.add_argument("--limit", type=int, default=150, help="seconds until the end")
    options = parser.parse_args()

    def turnpike(folder, port):
        folder.chmod(0o755)
        return servers.Turnpike(folder / "t", port, ("", ""), False, False, options.build)

    def postfix(folder, port):
        folder.chmod(0o755)
        return servers.Postfix(folder / "p", port, ("", ""), False, False)

    servers.POSTFIX_MAIN = servers.POSTFIX_MAIN.replace(
        "default_destination_concurrency_limit = 50\ninitial_destination_concurrency = 50\n", POSTFIX_DEFAULTS)
    servers.TURNPIKE = servers.TURNPIKE.replace(
        "delivery: {{ connections_start: {conns}, connections_max: {conns}, messages_per_connection: 10000, tls: none }}",
        "delivery: {{ tls: none }}")
    begin, end = servers.TURNPIKE.index("  - kind: submission"), servers.TURNPIKE.index("relay_clients:")
    servers.TURNPIKE = servers.TURNPIKE[:begin] + servers.TURNPIKE[end:]
    print(f"| | 421 while the site was ill ({options.ill} s) | arrived by then | arrived after {options.limit} s | all arrived after |")
    print("|---|---|---|---|---|")
    for name, make in (("Turnpike", turnpike), ("Postfix", postfix)):
        row = measure(make, options)
        done = f"{row['all_s']:.0f} s" if row["all_s"] else "-"
        print(f"| {name} | {row['refused']} | {row['taken_ill']} | {row['taken']} of {row['count']} | {done} |", flush=True)


if __name__ == "__main__":
    main()
