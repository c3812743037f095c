#!/usr/bin/env python3
"""Counts the instructions of the hot paths on small data: two commits can be compared on a busy machine.

    cargo build --release --locked -p distbackup
    bench/instructions.py > before          at one commit
    bench/instructions.py --beside before   at another: the same table, with what changed
    bench/instructions.py --dsb PATH        another program

Needs valgrind and Python 3.9. Older valgrinds know no SHA instructions, so hashing weighs more here
than it does. The data are the same each time, but threads share work as it comes and folders have
other names, so less than one percent of difference means nothing.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import data

ROOT = Path(__file__).resolve().parent.parent
FILES = 2000
# Name, words after `dsb -d CATALOG`; {disk} and {restored} are folders.
STEPS = [
    ("first update", ["update"]),
    ("second update", ["update"]),
    ("backup", ["backup", "red"]),
    ("nothing-to-do backup", ["backup", "red"]),
    ("verify", ["verify", "red"]),
    ("status", ["status"]),
    ("next", ["next"]),
    ("ls of a folder", ["ls", "/data/folder-00001"]),
    ("restore", ["restore", "--to", "{restored}"]),
]
ROW = re.compile(r"\| ([a-z -]+?) +\| +([0-9,]+) \|")


def counted(command, environment, work):
    """Instructions that a command took, those of the kernel apart."""
    out = work / "callgrind.out"
    grind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *map(str, command)]
    done = subprocess.run(grind, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
    for line in out.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("summary:", "totals:")):
            return int(line.split()[1])
    return sys.exit(f"valgrind counted nothing for {' '.join(map(str, command))}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dsb", type=Path, default=ROOT / "target/release/dsb", help="the program (%(default)s)")
    parser.add_argument("--files", type=int, default=FILES, help="small files (%(default)s)")
    parser.add_argument("--beside", type=Path, help="an earlier table, to compare with")
    return parser.parse_args()


def main():
    options = arguments()
    if not shutil.which("valgrind"):
        sys.exit("no valgrind: apt-get install valgrind")
    before = {}
    if options.beside:
        found = ROW.findall(options.beside.read_text(encoding="utf-8"))
        before = {name: int(number.replace(",", "")) for name, number in found}
    with tempfile.TemporaryDirectory(prefix="dsb-instructions-") as work:
        work = Path(work)
        folders = {name: work / name for name in ("source", "disk", "catalog", "restored", "home")}
        data.make_small(folders["source"], options.files, 1)
        for name in ("disk", "catalog", "restored", "home"):
            folders[name].mkdir(mode=0o700)
        environment = {"PATH": os.environ["PATH"], "HOME": str(folders["home"]), "NO_COLOR": "1", "TERM": "dumb"}
        call = [options.dsb.resolve(), "-q", "-d", folders["catalog"]]
        for words in (["source", "map", "/data", folders["source"]], ["disk", "add", "red", folders["disk"]]):
            subprocess.run([*map(str, call), *map(str, words)], env=environment, check=True, stdout=subprocess.DEVNULL)
        print(f"| {options.files:,} small files   |    instructions |  each file |" + (" against before |" if before else ""))
        print("|---|---:|---:|" + ("---:|" if before else ""))
        for name, words in STEPS:
            count = counted([*call, *(word.format(**folders) for word in words)], environment, work)
            change = f" {100 * count / before[name] - 100:+.1f} % |" if before.get(name) else (" – |" if before else "")
            print(f"| {name:21} | {count:15,} | {count // options.files:10,} |{change}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
