#!/bin/sh
# Builds Turnpike with each fault of test/mutants/faults.txt and sees that the tests find it: test/mutants/run.py.
exec /usr/bin/python3 "$(dirname -- "$0")/mutants/run.py" "$@"
