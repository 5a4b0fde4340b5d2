"""python3 -m fault run | check | matrix | regress | sweep: see docs/fault-testing.md."""
import argparse
import pathlib
import sys


def common(command):
    command.add_argument("--engine", default="netns", choices=("netns", "docker", "auto"))
    command.add_argument("--before", type=pathlib.Path, help="a build folder: nodes begin with it, and the fault membership "
                         "restarts them with the one that is tested")


def parser():
    top = argparse.ArgumentParser(prog="fault", description="Runs a cluster, breaks things, and judges what it did.")
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="one run, and the judgement of it")
    run.add_argument("--workload", required=True, help="quota, freeze, registers, spool, addresses or web")
    run.add_argument("--fault", default="none", help="a fault's name, several joined by +, or none")
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--seconds", type=float, default=60)
    common(run)
    run.add_argument("--out", type=pathlib.Path, required=True, help="folder for the history, logs and the report")
    run.add_argument("--no-check", action="store_true", help="only write the history")
    check = commands.add_parser("check", help="judges a history")
    check.add_argument("history", type=pathlib.Path)
    matrix = commands.add_parser("matrix", help="all workloads with all faults, one run after another")
    matrix.add_argument("--workloads", default="all", help="names with commas between")
    matrix.add_argument("--faults", default="all", help="names with commas between; a+b for two at once")
    matrix.add_argument("--seed", type=int, default=1)
    matrix.add_argument("--seconds", type=float, default=60)
    common(matrix)
    matrix.add_argument("--out", type=pathlib.Path, default=pathlib.Path("fault-runs"))
    matrix.add_argument("--jobs", type=int, default=1, help="runs at a time; each needs about half a core")
    matrix.add_argument("--short", action="store_true", help="4 faults, 20 s: the volume for every change")
    matrix.add_argument("--pairs", type=int, default=0, metavar="COUNT", help="so many runs with two faults each, by the seed")
    matrix.add_argument("--junit", type=pathlib.Path, help="a report for CI")
    matrix.add_argument("--again", type=int, default=1, help="how often a run that proved nothing is repeated with another "
                        "seed; if not 0, one that was only late is repeated once, alone")
    regress = commands.add_parser("regress", help="what was found once, again and again")
    regress.add_argument("names", nargs="*", help="of the list; all of it if there are none")
    regress.add_argument("--list", action="store_true", help="only show what there is")
    regress.add_argument("--directed", action="store_true", help="only the tests made for them, not the runs that found them")
    regress.add_argument("--times", type=int, default=100)
    regress.add_argument("--jobs", type=int, default=1)
    regress.add_argument("--out", type=pathlib.Path, default=pathlib.Path("fault-runs"))
    commands.add_parser("sweep", help="removes what runs left that were killed together with their janitors")
    return top


def main():
    options = parser().parse_args()
    if options.command == "sweep":
        from .cleanup import sweep_stale
        for name in sweep_stale():
            print(f"swept {name}")
        return 0
    if options.command == "matrix":
        from .matrix import SHORT, matrix
        if options.short:
            options.faults, options.seconds = SHORT, 20
        return matrix(options)
    if options.command == "regress":
        from .regress import regress
        return regress(options)
    from .judge import judge
    if options.command == "check":
        return judge(options.history)
    from .engine import EngineError, usable
    from .run import Failed, Run, catalogue, clash, workloads
    faults = [name for name in options.fault.split("+") if name != "none"]
    for name, known in [(f, catalogue()) for f in faults] + [(options.workload, workloads())]:
        if name not in known:
            sys.exit(f"there is no {name!r}: {', '.join(known)}")
    if clash(faults):
        sys.exit(clash(faults))
    engines = workloads()[options.workload].engines
    if options.engine not in ("auto", *engines):
        sys.exit(f"{options.workload} needs --engine {engines[0]}")
    try:
        wanted = engines[0] if options.engine == "auto" and len(engines) == 1 else options.engine
        run = Run(options.workload, faults, options.seed, options.seconds, options.out, usable(wanted), options.before)
        run.carry_out()
    except (Failed, EngineError) as error:
        print(f"not carried out: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted; what it started is gone", file=sys.stderr)
        return 130
    return 0 if options.no_check else judge(run.history_path)


sys.exit(main())
