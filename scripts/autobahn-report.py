#!/usr/bin/env python3
"""Prints the result of a run of the Autobahn suite.

usage: scripts/autobahn-report.py INDEX_JSON

Prints one line for all cases and one for each that failed. Exit status: 1 if a case failed, was not
closed cleanly, or is missing.
"""

import collections
import json
import pathlib
import sys

CASES_COUNT = 301
# NON-STRICT is a failure here. The suite uses it for behaviour that the RFC allows but could be
# stricter, such as a close only at the end of an invalid text message (cases 6.4.1 to 6.4.4).
BEHAVIORS = {"OK", "INFORMATIONAL"}
CLOSES = {"OK", "INFORMATIONAL"}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    index = json.loads(pathlib.Path(sys.argv[1]).read_text())
    cases = [case for agent in index.values() for case in agent.items()]
    cases.sort(key=lambda case: [int(part) for part in case[0].split(".")])

    failed = [
        f"  case {name}: {case['behavior']}, closed {case['behaviorClose']}"
        for name, case in cases
        if case["behavior"] not in BEHAVIORS or case["behaviorClose"] not in CLOSES
    ]
    if len(cases) != CASES_COUNT:
        failed.append(f"  {len(cases)} cases were run, not {CASES_COUNT}")
    print(
        f"autobahn: {len(cases)} cases; behaviour {summary(cases, 'behavior')};"
        f" close {summary(cases, 'behaviorClose')}"
    )
    print("\n".join(failed) if failed else "autobahn: none failed, no unclean close")
    sys.exit(1 if failed else 0)


def summary(cases, key):
    """Returns the number of cases for each result, such as `298 OK, 3 INFORMATIONAL`."""
    counts = collections.Counter(case[key] for _, case in cases)
    return ", ".join(f"{count} {result}" for result, count in counts.most_common())


main()
