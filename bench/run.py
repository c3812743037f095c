#!/usr/bin/env python3
"""Times dsb beside cp, rsync and distbackup 1.x on the same data in the same run.

    cargo build --release --locked
    sudo bench/run.py                      100,000 small files, then 6 GiB in 200 large ones
    bench/run.py --scale 0.01 --runs 1     a try in seconds

Needs Python 3.9 and nothing beside it. As root, each tool gets a fresh ext4 in a loop-mounted image
as its disk; otherwise a fresh folder. The tools take turns, so that a slow minute of the machine
hits all of them; ratios are medians of the ratios within a turn. The source is read once before
each turn (warm cache: what is measured are the programs, not the disk they happen to run on), and
every time includes `sync -f` of what was written. The result is printed as Markdown.
"""

import argparse
import contextlib
import datetime
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

V1 = "distbackup==1.0.20"
STEPS = ["update", "second update", "backup", "second backup", "verify", "restore"]
# What a copier does in one go: only the sum may be held against it.
FIRST_BACKUP = "update + backup"
SMALL_BYTES_MAX = 16 << 10
FILES_PER_FOLDER = 100
DUPLICATES = 0.1


# Data

def make_small(root, files, seed):
    """`files` files of 0 to 16 KiB in folders of a hundred, one in ten a duplicate of another."""
    contents = []
    draw = random.Random(f"small {seed}")
    for number in range(files):
        folder = root / f"folder-{number // FILES_PER_FOLDER:05}"
        if number % FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True)
        content = number
        if contents and draw.random() < DUPLICATES:
            content = draw.choice(contents)
        contents.append(content)
        drawn = random.Random(f"content {seed} {content}")
        (folder / f"file-{number:07}.bin").write_bytes(drawn.randbytes(drawn.randint(0, SMALL_BYTES_MAX)))


def make_large(root, files, total_bytes, seed):
    """`files` different files of equal size, `total_bytes` together."""
    root.mkdir(parents=True)
    for number in range(files):
        drawn = random.Random(f"large {seed} {number}")
        left = total_bytes // files
        with open(root / f"film-{number:04}.mov", "wb") as out:
            while left > 0:
                part = min(left, 1 << 20)
                out.write(drawn.randbytes(part))
                left -= part


def in_child(function, *arguments):
    """Calls a function in a process of its own, so that this one stays small: the kernel counts the
    memory of whoever starts a program as the program's own."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
        except BaseException as error:
            print(f"{function.__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(f"{function.__name__} failed")


def read_all(root):
    """Reads every file once: the cache is warm afterwards, if it is large enough."""
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def usage_of(root):
    """Number of files, and bytes in them."""
    sizes = [os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(root) for name in names]
    return len(sizes), sum(sizes)


# Running and measuring

class Failed(Exception):
    """A command ended with another code than 0: its times mean nothing."""


def measure(commands, environment):
    """Runs commands one after the other; returns seconds of all and the largest peak memory in bytes."""
    peak = 0
    started = time.monotonic()
    for command in commands:
        with tempfile.TemporaryFile() as output:
            child = subprocess.Popen(
                [str(part) for part in command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            peak = max(peak, usage.ru_maxrss * 1024)
            if child.returncode != 0:
                output.seek(0, os.SEEK_END)
                output.seek(max(0, output.tell() - 2000))
                text = output.read().decode(errors="backslashreplace")
                raise Failed(f"{' '.join(map(str, command))}\nended with {child.returncode}:\n{text}")
    return time.monotonic() - started, peak


@contextlib.contextmanager
def fresh_disk(work, disk_bytes):
    """A mount point of a new ext4 for root, else a new folder."""
    path = work / "disk"
    path.mkdir()
    image = work / "disk.image"
    mounted = False
    try:
        if os.geteuid() == 0:
            with open(image, "wb") as out:
                out.truncate(disk_bytes)
            # No tables left to be filled in by the kernel while something else is measured.
            quiet = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
            subprocess.run(["mkfs.ext4", *quiet, str(image)], check=True)
            subprocess.run(["mount", "-o", "loop", str(image), str(path)], check=True)
            mounted = True
        yield path
    finally:
        if mounted:
            subprocess.run(["umount", str(path)], check=True)
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            image.unlink()


# The tools. Each says what to run for a step: a list of commands, or None if it has no such step.

class Copier:
    """cp or rsync: a plain copy of the tree."""

    def __init__(self, name, command, repeats):
        self.name, self.command, self.repeats = name, command, repeats

    def prepare(self, turn):
        return []

    def step(self, name, turn):
        copy = [[*self.command, f"{turn.source}/.", turn.disk / "copy"], ["sync", "-f", turn.disk]]
        if name == "backup" or (name == "second backup" and self.repeats):
            return copy
        if name == "restore":
            return [[*self.command, f"{turn.disk}/copy/.", turn.destination], ["sync", "-f", turn.destination]]
        return None

    def restored(self, turn):
        return turn.destination


class Distbackup:
    """dsb, of this repository."""

    name = "dsb"
    where = "/data"

    def __init__(self, program):
        self.program = program

    def call(self, turn):
        return [self.program, "-d", turn.catalog]

    def restore(self, turn):
        return ["restore", "--to", turn.destination]

    def prepare(self, turn):
        call = self.call(turn)
        return [[*call, "source", "map", self.where, turn.source], [*call, "disk", "add", "red", turn.disk]]

    def step(self, name, turn):
        call, sync = self.call(turn), ["sync", "-f", turn.disk]
        return {
            "update": [[*call, "update"]],
            "second update": [[*call, "update"]],
            "backup": [[*call, "backup", "red"], sync],
            "second backup": [[*call, "backup", "red"], sync],
            "verify": [[*call, "verify", "red"]],
            "restore": [[*call, *self.restore(turn)], ["sync", "-f", turn.destination]],
        }[name]

    def restored(self, turn):
        return turn.destination / self.where.strip("/")


class DistbackupV1(Distbackup):
    """distbackup 1.x from PyPI."""

    name = "distbackup 1.0.20"
    where = "/"

    def call(self, turn):
        return [self.program, "-L", "-d", turn.catalog]

    def restore(self, turn):
        return ["restore", "red", turn.destination]

    def restored(self, turn):
        return turn.destination


def install_v1(work):
    """Installs distbackup 1.x into a venv of its own; None, with a line, if that is not possible."""
    venv = work / "v1"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, capture_output=True)
        subprocess.run([str(venv / "bin/pip"), "install", "-q", V1], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"SKIPPED: distbackup 1.x cannot be installed: {error}", file=sys.stderr)
        return None
    return venv / "bin/dsb"


class Turn:
    """One tool's folders in one run: all of them fresh."""

    def __init__(self, source, work, disk):
        self.source, self.disk = source, disk
        self.catalog, self.destination, self.home = work / "catalog", work / "restored", work / "home"

    def __enter__(self):
        self.catalog.mkdir(mode=0o700)
        self.destination.mkdir()
        self.home.mkdir()
        return self

    def __exit__(self, *_):
        for folder in (self.catalog, self.destination, self.home):
            shutil.rmtree(folder, ignore_errors=True)

    def environment(self):
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        return {**kept, "HOME": str(self.home), "NO_COLOR": "1", "TERM": "dumb"}


def run_turn(tool, source, work, disk_bytes, check):
    """All steps of a tool on a fresh disk; {step: (seconds, bytes of memory)}."""
    results = {}
    in_child(read_all, source)
    with fresh_disk(work, disk_bytes) as disk, Turn(source, work, disk) as turn:
        environment = turn.environment()
        measure(tool.prepare(turn), environment)
        for step in STEPS:
            commands = tool.step(step, turn)
            if commands is not None:
                # What the step before left to be written must not be paid by this one.
                os.sync()
                results[step] = measure(commands, environment)
                print(f"    {tool.name}: {step}: {results[step][0]:.2f} s", file=sys.stderr)
        if "backup" in results:
            parts = [results[step] for step in ("update", "backup") if step in results]
            results[FIRST_BACKUP] = (sum(seconds for seconds, _ in parts), max(peak for _, peak in parts))
        if check:
            compare = ["diff", "-r", "-q", "--no-dereference", source, tool.restored(turn)]
            measure([compare], environment)
    return results


# The report

def median_of(runs, step, index):
    values = [run[step][index] for run in runs if step in run]
    return statistics.median(values) if values else None


def ratio_to(runs, reference, step):
    """Median over the turns of this tool's time by the reference's, in the same turn."""
    ratios = [a[step][0] / b[step][0] for a, b in zip(runs, reference) if step in a and step in b and b[step][0] > 0]
    return statistics.median(ratios) if ratios else None


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def report_set(title, results, turns):
    """Times, ratios and memory of one data set; `results` maps a tool's name to its runs."""
    names = list(results)
    reference = names[0]

    def time_cell(name, step):
        seconds = median_of(results[name], step, 0)
        if seconds is None:
            return "–"
        if name == reference:
            spread = [run[step][0] for run in results[name] if step in run]
            return f"{seconds:.2f} s ({min(spread):.2f}–{max(spread):.2f})" if turns > 1 else f"{seconds:.2f} s"
        ratio = ratio_to(results[name], results[reference], step)
        return f"{seconds:.2f} s" + (f" (×{ratio:.2f})" if ratio else "")

    def memory_cell(name, step):
        memory = median_of(results[name], step, 1)
        return "–" if memory is None else f"{memory / 1e6:.0f} MB"

    steps = [step for step in [*STEPS, FIRST_BACKUP] if any(step in run for runs in results.values() for run in runs)]
    times = [[step, *(time_cell(name, step) for name in names)] for step in steps]
    memory = [[step, *(memory_cell(name, step) for name in names)] for step in steps]
    return "\n\n".join([
        f"## {title}",
        table(["time", *names], times),
        table(["peak memory", *names], memory),
    ])


def machine():
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{model}, {os.cpu_count()} cores, {memory / 1e9:.0f} GB of memory, Linux {platform.release()}"


def version_of(program):
    try:
        told = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
        return (told.stdout.splitlines() or ["unknown version"])[0]
    except OSError as error:
        return str(error)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--dsb", type=Path, default=root / "target/release/dsb", help="the program (%(default)s)")
    parser.add_argument("--v1", type=Path, help="an installed distbackup 1.x, instead of one from PyPI")
    parser.add_argument("--tools", default="dsb,v1,cp,rsync", help="which, the first is the measure (%(default)s)")
    parser.add_argument("--sets", default="small,large", help="which data (%(default)s)")
    parser.add_argument("--small-files", type=int, default=100_000)
    parser.add_argument("--large-files", type=int, default=200)
    parser.add_argument("--large-bytes", type=int, default=6 << 30, help="of all large files together")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies files and bytes of both sets")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="where data and disks go; needs three times the data")
    parser.add_argument("--out", type=Path, help="also write the report into this file")
    return parser.parse_args()


def chosen_tools(options, work):
    tools = []
    for name in options.tools.split(","):
        if name == "dsb":
            if not options.dsb.exists():
                sys.exit(f"no {options.dsb}: cargo build --release --locked, or --dsb PATH, or --tools without dsb")
            tools.append(Distbackup(options.dsb.resolve()))
        elif name == "v1":
            program = options.v1 or install_v1(work)
            if program:
                tools.append(DistbackupV1(Path(program).absolute()))
        elif name == "cp":
            tools.append(Copier("cp -a", ["cp", "-a"], repeats=False))
        elif name == "rsync":
            if shutil.which("rsync"):
                tools.append(Copier("rsync -a", ["rsync", "-a"], repeats=True))
            else:
                print("SKIPPED: no rsync", file=sys.stderr)
        else:
            sys.exit(f"unknown tool {name}: dsb, v1, cp or rsync")
    return tools


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="dsb-bench-", dir=options.work) as work:
        work = Path(work)
        tools = chosen_tools(options, work)
        small_files = max(1, round(options.small_files * options.scale))
        large_files = max(1, round(options.large_files * min(1.0, options.scale * 10)))
        large_bytes = max(large_files, round(options.large_bytes * options.scale))
        makers = {
            "small": lambda root: in_child(make_small, root, small_files, options.seed),
            "large": lambda root: in_child(make_large, root, large_files, large_bytes, options.seed),
        }
        floor = measure([["true"]], None)[1]
        disks = "fresh loop-mounted ext4" if os.geteuid() == 0 else "fresh folders (not root)"
        sections = [
            f"# Benchmark, {datetime.date.today()}",
            f"{machine()}. Disks: {disks}. Medians of {options.runs} turns, warm cache, times include"
            f" `sync -f`. In brackets: the range of {tools[0].name}; of the others, their time divided by that of"
            f" {tools[0].name} in the same turn. Memory under {floor / 1e6:.0f} MB cannot be told apart.",
            f"{version_of(options.dsb) if tools[0].name == 'dsb' else ''} `bench/run.py {' '.join(sys.argv[1:])}`".strip(),
        ]
        failures = []
        for name in options.sets.split(","):
            if name not in makers:
                sys.exit(f"unknown set {name}: small or large")
            source = work / "source"
            print(f"making the {name} set", file=sys.stderr)
            makers[name](source)
            files, total = usage_of(source)
            needed = 3 * total + (1 << 30)
            if shutil.disk_usage(work).free < needed - total:
                sys.exit(f"{needed / 1e9:.0f} GB are needed in {work.parent}: try --scale or --work")
            # Small files take a block and an inode each.
            disk_bytes = 2 * total + files * 8192 + (1 << 30)
            results = {tool.name: [] for tool in tools}
            for turn in range(options.runs):
                print(f"  turn {turn + 1} of {options.runs}", file=sys.stderr)
                first = turn % len(tools)
                for tool in tools[first:] + tools[:first]:
                    try:
                        results[tool.name].append(run_turn(tool, source, work, disk_bytes, check=turn == 0))
                    except Failed as error:
                        # An empty run keeps the turns of all tools paired.
                        results[tool.name].append({})
                        failures.append(f"{tool.name}: {error}")
                        print(f"FAILED: {failures[-1]}", file=sys.stderr)
            title = f"{files:,} {'file' if files == 1 else 'files'}, {total / 1e9:.2f} GB"
            sections.append(report_set(f"{name}: {title}", results, options.runs))
            shutil.rmtree(source)
        if failures:
            sections.append("## Failed\n\n" + "\n\n".join(f"```\n{failure}\n```" for failure in failures))
        report = "\n\n".join(sections) + "\n"
        print(report)
        if options.out:
            options.out.write_text(report, encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
