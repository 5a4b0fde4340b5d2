"""Keeps the rules of docs/architecture.md and CONTRIBUTING.md that a program can check.

Who may include whom, pure files without clock and loop, lengths, a first comment in each file, no markers of
unfinished work. The checks are tried on bad samples first, so that a check which finds nothing is noticed.
Usage: style.py ROOT
"""
import pathlib
import re
import sys

SOURCES = ("base", "spool", "consensus", "gossip", "node", "cli", "test")
MAX_FILE_LINES = 700
MAX_FUNCTION_LINES = 90

# The four in the middle never include each other; a longer prefix comes before a shorter one.
LAYERS = (
    ("base/", ("base/",)),
    ("node/smtp/", ("base/", "node/smtp/")),
    ("spool/", ("base/", "spool/")),
    ("consensus/", ("base/", "consensus/")),
    ("gossip/", ("base/", "gossip/")),
    ("node/", ("base/", "spool/", "consensus/", "gossip/", "node/")),
    ("cli/", ("base/", "node/admin/", "cli/")),
    ("test/bench/histories.c", ("base/", "node/telemetry/", "spool/", "test/bench/")),
    ("test/bench/grants.c", ("base/", "consensus/", "node/", "test/bench/")),
    ("test/bench/", ("base/", "test/bench/")),
    ("test/", ("base/", "spool/", "consensus/", "gossip/", "node/", "cli/", "test/")),
)

# Parsers, session machines and schedules are given the time and perform nothing.
PURE = ("node/smtp/", "node/mail/", "node/bounce/", "node/queue/", "consensus/machine")
IMPURE = ("time.h", "sys/time.h", "uv.h", "raft.h", "sys/socket.h", "base/clock.h", "base/inbox.h")

# `cli` may see the admin API's description, not its server.
ADMIN_SERVER = re.compile(r"node/admin/.*(server|shell|handler|internal)")

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.M)
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


def allowed(path):
    return next((layers for prefix, layers in LAYERS if path.startswith(prefix)), ())


def check_includes(path, text):
    for name in INCLUDE.findall(text):
        if name.startswith(tuple(folder + "/" for folder in SOURCES)):
            if not name.startswith(allowed(path)):
                yield f"includes {name}, which its layer may not"
            if path.startswith("cli/") and ADMIN_SERVER.match(name):
                yield f"includes {name}: the command line sees the admin API's description only"
        if path.startswith(PURE) and name in IMPURE:
            yield f"is pure, but includes {name}"


def check_lengths(path, text):
    lines = text.split("\n")
    if len(lines) > MAX_FILE_LINES:
        yield f"has {len(lines)} lines; {MAX_FILE_LINES} are the limit"
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start + 1 > MAX_FUNCTION_LINES:
                name = lines[start - 2].strip()
                yield f"line {start}: a function of {number - start + 1} lines ({name})"
            start = None


def check_words(path, text):
    if not text.startswith("/*"):
        yield "does not begin with a comment that says what it is"
    for match in UNFINISHED.finditer(text):
        yield f"line {text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip() or "\t" in line:
            yield f"line {number}: a tab, or blanks at its end"


CHECKS = (check_includes, check_lengths, check_words)


def findings(path, text):
    return [f"{path}: {what}" for check in CHECKS for what in check(path, text)]


def try_on_bad_samples():
    head = "/* x */\n"
    long_function = head + "int f(void)\n{\n" + "    g();\n" * MAX_FUNCTION_LINES + "}\n"
    bad = (
        ("base/a.c", head + '#include "spool/spool.h"\n'),
        ("spool/a.c", head + '#include "node/smtp/server.h"\n'),
        ("node/smtp/a.c", head + '#include "spool/spool.h"\n'),
        ("node/smtp/a.c", head + "#include <uv.h>\n"),
        ("node/queue/a.c", head + '#include "base/clock.h"\n'),
        ("cli/a.c", head + '#include "node/core/worker.h"\n'),
        ("node/a.c", head + '#include "test/lib/x.h"\n'),
        ("base/a.c", head + "\n" * MAX_FILE_LINES),
        ("base/a.c", long_function),
        ("base/a.c", "int x;\n"),
        ("base/a.c", head + "/* TO" + "DO: finish */\n"),
    )
    good = (
        ("node/a.c", head + '#include "spool/spool.h"\n#include "node/smtp/server.h"\n#include <uv.h>\n'),
        ("cli/a.c", head + '#include "base/buf.h"\n#include "node/admin/api.h"\n'),
        ("base/a.c", long_function.replace("    g();\n", "", 3)),
    )
    missed = [path for path, text in bad if not findings(path, text)]
    wrong = [finding for path, text in good for finding in findings(path, text)]
    if missed or wrong:
        sys.exit(f"the style checks do not work: missed {missed}, wrong {wrong}")


def main():
    try_on_bad_samples()
    root = pathlib.Path(sys.argv[1])
    files = sorted(path for folder in SOURCES for suffix in ("c", "h") for path in (root / folder).rglob(f"*.{suffix}"))
    if not files:
        sys.exit(f"no sources under {root}")
    found = [line for path in files for line in findings(path.relative_to(root).as_posix(), path.read_text())]
    print("\n".join(found + [f"{len(files)} files, {len(found)} findings"]))
    sys.exit(1 if found else 0)


main()
