"""A run of 60 s with 50,000 events is judged in some seconds."""
import time

from fault.check import check, overall
from fault.history import History, parse
from world import World

EVENTS, LIMIT_S = 50_000, 10


def test_fifty_thousand_events():
    world = World(1, "quota", seconds=60, rate=15)
    lines = [event.line() for event in sorted(world.events, key=lambda event: event.t)]
    assert len(lines) >= EVENTS, len(lines)
    begun = time.process_time()
    verdicts = check(History([parse(line) for line in lines]))
    took = time.process_time() - begun
    assert overall(verdicts) == "pass", [(v.invariant, v.why) for v in verdicts if v.outcome != "pass"]
    assert took < LIMIT_S, f"{took:.1f} s of processor time for {len(lines)} events"
    print(f"{len(lines)} events in {took:.2f} s")
