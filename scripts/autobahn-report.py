#!/usr/bin/env python3
"""Says how a run of the Autobahn suite went.

usage: scripts/autobahn-report.py INDEX_JSON

Prints one line for all cases and one for each that failed. Exits with 1 if one failed, if one
was closed in another way than the suite wants, or if cases are missing.
"""

import collections
import json
import pathlib
import sys

CASES_COUNT = 301
# "Non-strict" is what the suite calls an answer that the standard allows but could be sooner, such
# as a close only when an invalid text has come whole (cases 6.4.1 to 6.4.4). Not here.
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
        f"autobahn: {len(cases)} cases; behaviour {tally(cases, 'behavior')};"
        f" close {tally(cases, 'behaviorClose')}"
    )
    print("\n".join(failed) if failed else "autobahn: none failed, no unclean close")
    sys.exit(1 if failed else 0)


def tally(cases, key):
    counts = collections.Counter(case[key] for _, case in cases)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


main()
