"""Prints the results of an Autobahn run by section; fails if a case did.

Runs on Python 2.7, which the suite itself needs.
"""
from __future__ import print_function

import json
import sys

SECTIONS = {
    1: "text and binary messages",
    2: "ping and pong",
    3: "reserved bits",
    4: "opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "limits and throughput",
    10: "fragments of any size",
}
# The suite's own words: NON-STRICT fails late where RFC 6455 lets a server choose
# when; INFORMATIONAL cases have no right answer.
PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")


def order(case):
    return [int(part) for part in case.split(".")]


def main(path):
    with open(path) as report:
        results = list(json.load(report).values())[0]
    failed = [
        case
        for case in sorted(results, key=order)
        if results[case]["behavior"] not in PASSED
        or results[case]["behaviorClose"] not in PASSED
    ]

    print("%-4s %-26s %6s %6s %12s %14s %6s" % ("", "section", "cases", "ok", "non-strict", "informational", "failed"))
    for number in sorted({order(case)[0] for case in results}):
        cases = [case for case in results if order(case)[0] == number]
        count = lambda word: sum(
            1 for case in cases if case not in failed and results[case]["behavior"] == word
        )
        print("%-4d %-26s %6d %6d %12d %14d %6d" % (
            number,
            SECTIONS.get(number, ""),
            len(cases),
            count("OK"),
            count("NON-STRICT"),
            count("INFORMATIONAL"),
            sum(1 for case in cases if case in failed),
        ))
    for case in failed:
        print("failed: %s: %s, closing %s" % (
            case, results[case]["behavior"], results[case]["behaviorClose"]))
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
