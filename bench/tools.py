"""The programs that are compared. Each says what to run for a step, or None where it has no such step.

A step is a list of commands. All that write end with a flush of what they wrote.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

V1 = "distbackup==1.0.20"

FIRST_UPDATE = "first update"
SECOND_UPDATE = "second update"
BACKUP = "backup"
SECOND_BACKUP = "nothing-to-do backup"
VERIFY = "verify"
RESTORE = "restore"
ONE_GO = "first backup in one go"
# These are for what the medium holds, so memory must not answer.
FROM_THE_MEDIUM = [VERIFY, RESTORE]
# In this order; the last one begins with a fresh disk and a fresh catalog.
STEPS = [FIRST_UPDATE, SECOND_UPDATE, BACKUP, SECOND_BACKUP, VERIFY, RESTORE]
ALONE = [ONE_GO]


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
            subprocess.run(["chmod", "-R", "u+w", folder], check=False)
            shutil.rmtree(folder, ignore_errors=True)

    def environment(self):
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        return {**kept, "HOME": str(self.home), "NO_COLOR": "1", "TERM": "dumb",
                "RESTIC_PASSWORD": "bench", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}


def flush(folder):
    return ["sync", "-f", folder]


class Tool:
    """What all have in common."""

    name = "?"
    # Takes so long that a turn or two have to do: only its order of size matters.
    slow = False

    def prepare(self, turn):
        """Commands before the first step; not measured."""
        return []

    def restored(self, turn):
        """Where `restore` put the tree; None if it cannot be compared."""
        return turn.destination


class Floor(Tool):
    """The least work that has to be done: `bench/floor`."""

    name = "floor"

    def __init__(self, program):
        self.program = program

    def step(self, name, turn):
        copy = [[self.program, "copy", turn.source, turn.disk / "objects"]]
        return {
            FIRST_UPDATE: [[self.program, "hash", turn.source]],
            SECOND_UPDATE: [[self.program, "stat", turn.source]],
            BACKUP: copy,
            VERIFY: [[self.program, "hash", turn.disk / "objects"]],
            ONE_GO: copy,
        }.get(name)

    def restored(self, turn):
        return None


class SafeFloor(Floor):
    """The least work of a copy of which a power cut leaves no name before its content."""

    name = "safe floor"

    def step(self, name, turn):
        if name in (BACKUP, ONE_GO):
            return [[self.program, "store", turn.source, turn.disk / "objects"]]
        return None


class Copier(Tool):
    """cp or rsync: a plain copy of the tree."""

    def __init__(self, name, command, repeats):
        self.name, self.command, self.repeats = name, command, repeats

    def step(self, name, turn):
        copy = [[*self.command, f"{turn.source}/.", turn.disk / "copy"], flush(turn.disk)]
        if name in (BACKUP, ONE_GO) or (name == SECOND_BACKUP and self.repeats):
            return copy
        if name == RESTORE:
            return [[*self.command, f"{turn.disk}/copy/.", turn.destination], flush(turn.destination)]
        return None


class Distbackup(Tool):
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
        call = self.call(turn)
        return {
            FIRST_UPDATE: [[*call, "update"]],
            SECOND_UPDATE: [[*call, "update"]],
            BACKUP: [[*call, "backup", "red"], flush(turn.disk)],
            SECOND_BACKUP: [[*call, "backup", "red"], flush(turn.disk)],
            VERIFY: [[*call, "verify", "red"]],
            RESTORE: [[*call, *self.restore(turn)], flush(turn.destination)],
            ONE_GO: [[*call, "backup", "--update", "red"], flush(turn.disk)],
        }[name]

    def restored(self, turn):
        return turn.destination / self.where.strip("/")


class DistbackupV1(Distbackup):
    """distbackup 1.x from PyPI."""

    name = "distbackup 1.0.20"
    slow = True
    where = "/"

    def call(self, turn):
        return [self.program, "-L", "-d", turn.catalog]

    def restore(self, turn):
        return ["restore", "red", turn.destination]

    def step(self, name, turn):
        return None if name == ONE_GO else super().step(name, turn)

    def restored(self, turn):
        return turn.destination


class Restic(Tool):
    """restic, without compression: what is compared is the reading, hashing and writing."""

    name = "restic"
    slow = True

    def call(self, turn):
        return ["restic", "-q", "--compression", "off", "-r", turn.disk / "repository"]

    def prepare(self, turn):
        return [[*self.call(turn), "init"]]

    def step(self, name, turn):
        backup = [[*self.call(turn), "backup", turn.source], flush(turn.disk)]
        return {
            BACKUP: backup,
            SECOND_BACKUP: backup,
            VERIFY: [[*self.call(turn), "check", "--read-data"]],
            RESTORE: [[*self.call(turn), "restore", "latest", "--target", turn.destination], flush(turn.destination)],
            ONE_GO: backup,
        }.get(name)

    def restored(self, turn):
        return Path(f"{turn.destination}{turn.source}")


class Borg(Tool):
    """borg, without compression and encryption."""

    name = "borg"
    slow = True

    def repository(self, turn):
        return turn.disk / "repository"

    def prepare(self, turn):
        return [["borg", "init", "-e", "none", self.repository(turn)]]

    def create(self, turn, archive):
        return [["borg", "create", "-C", "none", f"{self.repository(turn)}::{archive}", turn.source], flush(turn.disk)]

    def step(self, name, turn):
        return {
            BACKUP: self.create(turn, "first"),
            SECOND_BACKUP: self.create(turn, "second"),
            VERIFY: [["borg", "check", "--verify-data", self.repository(turn)]],
            RESTORE: [["sh", "-c", 'cd "$1" && borg extract "$2" && sync -f .', "sh", turn.destination,
                       f"{self.repository(turn)}::first"]],
            ONE_GO: self.create(turn, "first"),
        }.get(name)

    def restored(self, turn):
        return Path(f"{turn.destination}{turn.source}")


class GitAnnex(Tool):
    """git-annex: a copy of the tree is made its repository (not measured), then added, and copied to a directory remote."""

    name = "git-annex"
    slow = True

    def git(self, turn, *words):
        return ["git", "-C", turn.home / "annex", "-c", "user.name=bench", "-c", "user.email=bench@localhost", *words]

    def prepare(self, turn):
        (turn.disk / "remote").mkdir(exist_ok=True)
        annex = turn.home / "annex"
        return [
            ["cp", "-a", turn.source, annex],
            ["git", "init", "-q", annex],
            self.git(turn, "annex", "init", "bench"),
            self.git(turn, "annex", "initremote", "disk", "type=directory", f"directory={turn.disk}/remote",
                     "encryption=none"),
        ]

    def step(self, name, turn):
        copy = [self.git(turn, "annex", "copy", "-q", "-J2", "--to", "disk", "."), flush(turn.disk)]
        return {
            FIRST_UPDATE: [self.git(turn, "annex", "add", "-q", "-J2", "."),
                           self.git(turn, "commit", "-q", "-m", "bench")],
            SECOND_UPDATE: [self.git(turn, "annex", "add", "-q", "-J2", ".")],
            BACKUP: copy,
            SECOND_BACKUP: copy,
            VERIFY: [self.git(turn, "annex", "fsck", "-q", "-J2", "--from", "disk")],
        }.get(name)

    def restored(self, turn):
        return None


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


INSTALLED = {"restic": Restic, "borg": Borg, "git-annex": GitAnnex}


OWN = {"dsb": Distbackup, "floor": Floor, "safe-floor": SafeFloor}


def chosen(names, dsb, floor, v1, work):
    """The tools of a list of names; what is not installed is told and left out."""
    tools = []
    for name in names:
        if name in OWN:
            program = dsb if name == "dsb" else floor
            if not program.exists():
                sys.exit(f"no {program}: cargo build --release --locked -p distbackup -p distbackup-floor")
            tools.append(OWN[name](program.resolve()))
        elif name == "v1":
            program = v1 or install_v1(work)
            if program:
                tools.append(DistbackupV1(Path(program).absolute()))
        elif name == "cp":
            tools.append(Copier("cp -a", ["cp", "-a"], repeats=False))
        elif name == "rsync":
            if shutil.which("rsync"):
                tools.append(Copier("rsync -a", ["rsync", "-a"], repeats=True))
            else:
                print("SKIPPED: no rsync", file=sys.stderr)
        elif name in INSTALLED:
            if shutil.which(name):
                tools.append(INSTALLED[name]())
            else:
                print(f"SKIPPED: no {name}", file=sys.stderr)
        else:
            sys.exit(f"unknown tool {name}: dsb, floor, safe-floor, cp, rsync, v1, restic, borg or git-annex")
    return tools
