"""The faults of faults.txt, and copies of the sources with one of them in.

    table.py names           all of them
    table.py files NAME      the files that it is in
    table.py write NAME DIR  these, with the fault, under DIR
    table.py check           does each still fit its source?
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Mutant:
    """One fault. `files` has for each file its changes, pairs of text: what is there once, what takes its place."""

    def __init__(self, name, group):
        self.name, self.group = name, group
        self.rule, self.by, self.files = "", [], {}

    def source(self, path):
        text = "\n" + (ROOT / path).read_text()
        for before, after in self.files[path]:
            if text.count("\n" + before) != 1 or before == after:
                raise SystemExit(f"{self.name}: this is {text.count(chr(10) + before)} times in {path}, and should be once, "
                                 f"to be changed; mend test/mutants/faults.txt:\n{before}")
            text = text.replace("\n" + before, "\n" + after)
        return text[1:]


def load():
    mutants, group, one, hunks, hunk = {}, "", None, None, None
    for number, line in enumerate((HERE / "faults.txt").read_text().splitlines(), 1):
        if hunks is not None and line[:1] in ("-", "+", " "):
            if hunk is None:
                hunk = ["", ""]
                hunks.append(hunk)
            hunk[0] += "" if line[0] == "+" else line[1:] + "\n"
            hunk[1] += "" if line[0] == "-" else line[1:] + "\n"
            continue
        hunk = None
        key, _, value = line.partition(" ")
        if key == "##":
            group = value
        elif key == "==":
            if value in mutants:
                raise SystemExit(f"faults.txt:{number}: {value} is there twice")
            one, hunks = mutants.setdefault(value, Mutant(value, group)), None
        elif key == "rule:":
            one.rule = value
        elif key == "in:":
            hunks = one.files.setdefault(value, [])
        elif key == "by:":
            one.by.append(value.split())
        elif line and key != "#":
            raise SystemExit(f"faults.txt:{number}: not understood: {line}")
    return mutants


def main(argv):
    mutants = load()
    if argv == ["names"]:
        print("\n".join(mutants))
    elif argv == ["check"]:
        for one in mutants.values():
            if not (one.rule and one.by and one.files and all(one.files.values())):
                raise SystemExit(f"{one.name}: not a fault, or not said by what it is found")
            for path in one.files:
                one.source(path)
        print(f"{len(mutants)} faults fit")
    elif len(argv) > 1 and argv[1] not in mutants:
        raise SystemExit(f"there is no fault {argv[1]} in test/mutants/faults.txt")
    elif argv[0] == "files" and len(argv) == 2:
        print(";".join(mutants[argv[1]].files))
    elif argv[0] == "write" and len(argv) == 3:
        for path in mutants[argv[1]].files:
            to = pathlib.Path(argv[2]) / path
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_text(mutants[argv[1]].source(path))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
