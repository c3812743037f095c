#!/usr/bin/env python3
"""Breaks the program on purpose, one place at a time, and looks whether a test turns red.

    tests/mutations/run.py                 all mutations (half an hour on two cores)
    tests/mutations/run.py --quick 3       three of the fast ones, others for every commit
    tests/mutations/run.py NAME…           these
    tests/mutations/run.py --list          what there is

`mutations.toml` beside this file says for each mutation what is replaced, what that breaks, which hazard it is,
and which tests have to notice. Nothing in the checkout is touched: the tree is copied to target/mutations/tree
and built there, in a target folder of its own.

Ends with 1 if a mutation survives, does not apply any more, or does not build, or if a test is red without any.
A mutation whose tests cannot run on this machine (no root, no loop devices) is reported as not tried.
"""

import argparse
import filecmp
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "mutations"
TREE, TARGET = WORK / "tree", WORK / "target"
# A mutation may make the program wait for ever; that is noticed, too.
TEST_SECONDS_MAX = 600
OURS = re.compile(r"^(lib)?(distbackup|dsb)")


class Broken(Exception):
    """The list of mutations and the sources do not fit together, or the tests are red anyway."""


def load():
    text = (Path(__file__).parent / "mutations.toml").read_bytes()
    mutations = tomllib.loads(text.decode())["mutation"]
    names = [mutation["name"] for mutation in mutations]
    if len(set(names)) != len(names):
        raise Broken("two mutations have one name")
    return mutations


def edits(mutation):
    """(file, old, new) of each place that a mutation changes."""
    for edit in mutation.get("edit", [mutation]):
        yield edit.get("file", mutation.get("file")), edit["old"].strip("\n"), edit["new"].strip("\n")


def mutated(mutation, tree):
    """The new text of each file of a tree; the old text must stand there exactly once."""
    texts = {}
    for file, old, new in edits(mutation):
        text = texts.get(file)
        if text is None:
            if not (tree / file).is_file():
                raise Broken(f"{mutation['name']}: there is no {file}")
            text = (tree / file).read_text()
        count = text.count(old)
        if count != 1:
            raise Broken(f"{mutation['name']}: its text stands {count} times in {file}, not once:\n{old}")
        texts[file] = text.replace(old, new)
    return texts


def copy_tree():
    """Brings the copy to the state of the checkout; what is the same keeps its time, so cargo need not build it again."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    files = {name for name in os.fsdecode(listed).split("\0") if name and (ROOT / name).is_file()}
    for name in files:
        source, copy = ROOT / name, TREE / name
        if not copy.is_file() or not filecmp.cmp(source, copy, shallow=False):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    for path in list(TREE.rglob("*")):
        if path.is_file() and str(path.relative_to(TREE)) not in files:
            path.unlink()


def borrow_dependencies():
    """Takes over what is built of other people's crates; only ours are built with other paths."""
    built = ROOT / "target" / "debug"
    if TARGET.exists() or not built.is_dir():
        return
    for kind in (".fingerprint", "build", "deps"):
        folder = TARGET / "debug" / kind
        folder.mkdir(parents=True)
        for path in (built / kind).iterdir() if (built / kind).is_dir() else ():
            if not OURS.match(path.name):
                # The times tell cargo that nothing has changed.
                copy = shutil.copytree if path.is_dir() else shutil.copy2
                copy(path, folder / path.name)


def cargo(arguments, seconds=None):
    """Runs cargo in the copy; returns its exit code (None: it took too long) and what it said."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET), "CARGO_INCREMENTAL": "1", "CARGO_TERM_COLOR": "never"}
    process = subprocess.Popen(
        ["cargo", *arguments], cwd=TREE, env=environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        said, _ = process.communicate(timeout=seconds)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return None, said


class Verdict:
    """What the tests said: names of the red ones, number of the green ones, and whether they could run at all."""

    def __init__(self, command):
        package, target, *names = command.split()
        target = ["--lib"] if target == "lib" else ["--test", target]
        build = ["test", "--locked", "--quiet", "-p", package, *target]
        code, said = cargo([*build, "--no-run"])
        self.builds, self.said = code == 0, said
        self.red, self.green, self.skipped = [], 0, False
        if not self.builds:
            return
        code, self.said = cargo([*build, "--", *names], TEST_SECONDS_MAX)
        for passed in re.findall(r"^test result: .*?(\d+) passed", self.said, re.M):
            self.green += int(passed)
        self.red = sorted(set(re.findall(r"^    ([\w:]+)$", self.said, re.M)))
        if code is None:
            self.red.append("(it did not end)")
        elif code != 0 and not self.red:
            self.red.append("(the test program ended with an error)")
        self.skipped = "SKIPPED: " in self.said


def baseline(commands):
    """Without a mutation every test has to be there and green: else red would mean nothing."""
    for command in commands:
        before = time.monotonic()
        verdict = Verdict(command)
        if not verdict.builds or verdict.red or not verdict.green:
            raise Broken(f"without any mutation: {command}\n{verdict.said[-4000:]}")
        print(f"{'green':9} {time.monotonic() - before:4.0f} s  {command}", flush=True)


def attempt(mutation):
    """One mutation: ("caught", by what), ("survived", …), ("not tried", …) or ("broken", why)."""
    # The copy counts from here on: somebody may be working in the checkout.
    texts = mutated(mutation, TREE)
    originals = {file: (TREE / file).read_text() for file in texts}
    try:
        for file, text in texts.items():
            (TREE / file).write_text(text)
        skipped = False
        for command in mutation["tests"]:
            verdict = Verdict(command)
            if not verdict.builds:
                return "broken", "it does not build:\n" + verdict.said[-3000:]
            if verdict.red:
                return "caught", ", ".join(verdict.red[:3]) + (" and others" if verdict.red[3:] else "")
            skipped |= verdict.skipped
        return ("not tried", "its tests cannot run here") if skipped else ("survived", mutation["breaks"])
    finally:
        for file, text in originals.items():
            (TREE / file).write_text(text)


def rotation(mutations, count):
    """`count` of the fast mutations, in turn from commit to commit."""
    fast = [mutation for mutation in mutations if not mutation.get("slow")]
    head = subprocess.run(["git", "rev-list", "--count", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    start = int(head.stdout or 0) * count
    return [fast[(start + at) % len(fast)] for at in range(min(count, len(fast)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--quick", type=int, metavar="N", help="N of the fast ones, in turn from commit to commit")
    parser.add_argument("--list", action="store_true", help="only list them")
    options = parser.parse_args()
    mutations = load()
    # All of them have to apply, also those that are not tried now.
    for mutation in mutations:
        mutated(mutation, ROOT)
    if options.list:
        for mutation in mutations:
            print(f"{mutation['name']:38} {mutation['hazard']:9} {mutation['breaks']}")
        return 0
    if options.names:
        unknown = set(options.names) - {mutation["name"] for mutation in mutations}
        if unknown:
            raise Broken("there is no mutation " + ", ".join(sorted(unknown)))
        mutations = [mutation for mutation in mutations if mutation["name"] in options.names]
    elif options.quick is not None:
        mutations = rotation(mutations, options.quick)
    borrow_dependencies()
    copy_tree()
    baseline(dict.fromkeys(command for mutation in mutations for command in mutation["tests"]))
    counts = {}
    for mutation in mutations:
        before = time.monotonic()
        what, why = attempt(mutation)
        counts[what] = counts.get(what, 0) + 1
        print(f"{what:9} {time.monotonic() - before:4.0f} s  {mutation['name']} ({mutation['hazard']}): {why}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 1 if counts.get("survived") or counts.get("broken") else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Broken as broken:
        sys.exit(f"mutations: {broken}")
