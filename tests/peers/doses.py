"""Says whether any dose was doubled or lost, knowing nothing of labloop but what its manual says.

    labloop export --what steps --format json --state DIR > steps.json
    doses.py EFFECTS.jsonl steps.json

Reads what the instruments wrote down themselves when they were told something (one JSON object a
line: instrument, effect) and what the laboratory exports of its runs. Each dose that the export
calls done must have happened, and no other but those whose sample was given up. Exit code 1, and a
line for each instrument that does not agree. What failed in a run that failed may have happened.
"""

import collections
import json
import sys

# Actions that count, and what an instrument calls them.
DOSES = {"dispense": "dispense", "refill": "refill"}


def happened(lines):
    count = collections.Counter()
    for line in lines:
        if line.strip():
            effect = json.loads(line)
            if effect["effect"] in DOSES.values():
                count[effect["instrument"], effect["effect"]] += 1
    return count


def reported(runs):
    done, given_up, open_ends = (collections.Counter() for _ in range(3))
    for run in runs:
        for step in run["steps"]:
            if step["action"] not in DOSES:
                continue
            key = step["instrument"], DOSES[step["action"]]
            outcome = step["outcome"]
            if outcome.startswith("done"):
                done[key] += 1
            elif outcome.startswith("discard"):
                given_up[key] += 1
            elif not outcome:
                open_ends[key] += 1
            elif run["ending"] != "complete" and not outcome.startswith("not done"):
                # A run that has failed asks no witness any more.
                given_up[key] += 1
    return done, given_up, open_ends


def main(effects_file, steps_file):
    with open(effects_file, encoding="utf-8") as file:
        real = happened(file)
    with open(steps_file, encoding="utf-8") as file:
        done, given_up, open_ends = reported(json.load(file))
    wrong = 0
    for key in sorted(set(real) | set(done) | set(given_up) | set(open_ends)):
        name = "%s %s" % key
        if open_ends[key]:
            wrong += 1
            print(f"{name}: {open_ends[key]} have no outcome")
        if real[key] < done[key]:
            wrong += 1
            print(f"{name}: LOST: {done[key]} reported done, {real[key]} happened")
        if real[key] > done[key] + given_up[key]:
            wrong += 1
            print(f"{name}: DOUBLED: {real[key]} happened, {done[key]} reported done, "
                  f"{given_up[key]} given up")
    total = sum(real.values())
    print(f"{total} doses happened, {sum(done.values())} reported done: "
          f"{'WRONG' if wrong else 'they agree'}")
    return 1 if wrong or not total else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
