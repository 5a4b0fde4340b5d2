"""What a checker says of a history."""
import dataclasses

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
EVIDENCE_MAX = 40
NS = 1_000_000_000


@dataclasses.dataclass(slots=True)
class Verdict:
    invariant: str
    outcome: str
    why: str
    evidence: list = dataclasses.field(default_factory=list)  # events
    figures: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.evidence = self.evidence[:EVIDENCE_MAX]


class Judge:
    """Gathers what speaks against a history, and what makes it worthless, while a checker goes through it."""

    def __init__(self, invariant):
        self.invariant = invariant
        self.broken, self.doubts, self.evidence, self.figures = [], [], [], {}

    def violation(self, why, events=()):
        if len(self.broken) < 1000:
            self.broken.append(why)
            self.evidence.extend(events)

    def doubt(self, why):
        if why not in self.doubts:
            self.doubts.append(why)

    def verdict(self, good):
        """`good` says what was looked at when nothing was found."""
        if self.broken:
            more = len(self.broken) - 3
            why = "; ".join(self.broken[:3]) + (f"; and {more} more" if more > 0 else "")
            return Verdict(self.invariant, FAIL, why, self.evidence, self.figures)
        if self.doubts:
            return Verdict(self.invariant, INCONCLUSIVE, "; ".join(self.doubts), [], self.figures)
        return Verdict(self.invariant, PASS, good, [], self.figures)


def overall(verdicts):
    outcomes = {verdict.outcome for verdict in verdicts}
    return FAIL if FAIL in outcomes else INCONCLUSIVE if INCONCLUSIVE in outcomes else PASS
