#!/usr/bin/env python3
"""restore.py: gets files back from the disks of a distbackup set, without distbackup.

It needs Python 3.8 or newer with SQLite 3.37 or newer, and nothing else. Where it lies is a disk:

    distbackup-objects/0ab/0ab3...   one file per content, named by the SHA-256 of that content
    distbackup.sqlite                the catalog: which names, owners, times... belong to which content
    distbackup-disk.json             the name of this disk and of the set that it belongs to

    python3 restore.py /mnt/new                       everything that this disk holds
    python3 restore.py /mnt/new '/photos/2011/*'      part of it (* also crosses /)
    python3 restore.py /mnt/new --disk /media/blue    from another disk, or from several at once
    python3 restore.py --list                         what there is, and which disks hold it

If not all is on one disk, run it again with the next disk: what is there already and has the right
hash is kept. At the end it lists what is missing and which disks hold it. Nothing is ever written
outside the destination or to the disks, and no file arrives whose content does not match its hash.

Exit code: 0 all is there; 3 something is missing, or could not be set or was kept (said above);
4 a damaged object was found; 1 failed; 2 wrong usage; 130 interrupted (run it again to continue).

What is not restored: the time of the last status change (ctime; no program can set it), time of last
access, flags of `chattr`. Extended attributes and ACLs need Linux with /proc; owners and devices
need root. An interrupted run may leave files `.dsb-restore-*` in the destination: delete them.

This text is a promise, not a masterpiece: the format is described in RESTORE.txt beside it.
"""
import argparse, errno, fnmatch, hashlib, json, os, pathlib, re, signal, sqlite3, stat, sys, tempfile, time

try:
    import grp, pwd
except ImportError:                             # not a Unix
    grp = pwd = None

APPLICATION_ID = 0x64736232                     # "dsb2"
SCHEMA = 105
OLDEST_SCHEMA = 100                             # what is read here is the same since then
BLOCK = 1 << 20
HOLES_MAX = 65536
# On Unix, everything is reached through an open folder: no symlink on the way can lead elsewhere.
DIR_FD = os.name == "posix" and {os.open, os.mkdir, os.stat, os.symlink, os.link, os.unlink} <= os.supports_dir_fd
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
OPEN_FOLDER = os.O_RDONLY | NO_FOLLOW | getattr(os, "O_DIRECTORY", 0)
OPEN_FILE = os.O_RDONLY | NO_FOLLOW | getattr(os, "O_NONBLOCK", 0)      # never wait for the other end of a fifo
FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV} # trouble of the destination, not of one file


class Failed(Exception):
    """Nothing more can be done; the text says why and what to do."""


class Skip(Exception):
    """This one cannot be restored; it has been reported."""


def shown(raw):
    """Bytes for people, on one line: no newline, terminal escape or invisible mark gets through."""
    out = []
    for c in raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else str(raw):
        short = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(c)
        plain = c if c.isprintable() else "".join("\\x%02x" % b for b in c.encode("utf-8", "surrogateescape"))
        out.append(short or plain)
    return "".join(out)


def say(text):
    """A message; clears the progress line first."""
    print(("\r\x1b[K" if sys.stderr.isatty() else "") + text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------- the disks

class Folder:
    """A folder held open. Names in it are reached relative to it and never followed if they are symlinks."""

    def __init__(self, path, fd):
        self.path, self.fd = path, fd

    @classmethod
    def top(cls, path):
        path = os.path.abspath(os.fsencode(path))
        return cls(path, os.open(path, OPEN_FOLDER & ~getattr(os, "O_NOFOLLOW", 0)) if DIR_FD else None)

    def at(self, name):
        """How `name` in here is given to a function of `os`."""
        return (name, {"dir_fd": self.fd}) if DIR_FD else (os.path.join(self.path, name), {})

    def both(self):
        return {"src_dir_fd": self.fd, "dst_dir_fd": self.fd} if DIR_FD else {}

    def stat(self, name):
        """What `name` is itself; None if it does not exist."""
        arg, at = self.at(name)
        try:
            return os.stat(arg, follow_symlinks=False, **at)
        except FileNotFoundError:
            return None

    def sub(self, name):
        """Opens a folder in here; raises NotADirectoryError if it is anything else, a symlink to a folder too."""
        found = self.stat(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such folder")
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        arg, at = self.at(name)
        return Folder(os.path.join(self.path, name), os.open(arg, OPEN_FOLDER, **at) if DIR_FD else None)

    def open(self, name):
        """Opens a regular file in here for reading; raises OSError for anything else."""
        arg, at = self.at(name)
        fd = os.open(arg, OPEN_FILE, **at)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file")
        return open(fd, "rb", buffering=0)

    def unlink(self, name):
        arg, at = self.at(name)
        os.unlink(arg, **at)

    def rename(self, old, new):
        os.replace(self.at(old)[0], self.at(new)[0], **self.both())

    def names(self):
        return sorted(os.fsencode(name) for name in os.listdir(self.fd if DIR_FD else self.path))

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def hash_of(file):
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(BLOCK), b""):
        digest.update(block)
    return digest.digest()


class Disk:
    """A folder with distbackup-objects."""

    def __init__(self, path):
        self.path = os.path.abspath(os.fsencode(path))
        self.name, self.uuid, self.damaged = shown(os.path.basename(self.path) or self.path), None, set()
        try:
            with open(os.path.join(self.path, b"distbackup-disk.json"), "rb") as file:
                identity = json.loads(file.read(1 << 20).decode("utf-8"))
            self.name, self.uuid = str(identity["name"]), str(identity["uuid"])
        except FileNotFoundError:
            identity = {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as why:
            identity = {}
            say("note: distbackup-disk.json of %s cannot be read (%s); going on without it" % (self.name, why))
        needs = identity.get("features_required") if isinstance(identity, dict) else None
        if needs:
            raise Failed("%s was written by a newer distbackup and needs %s, which this script does not know"
                         % (shown(self.path), shown(json.dumps(needs))))
        try:
            folder = Folder.top(self.path)
            self.objects = folder.sub(b"distbackup-objects")
            folder.close()
        except OSError as why:
            if identity and isinstance(why, FileNotFoundError):
                raise Failed("%s is the backup disk %s, and nothing was copied to it yet\n"
                             "name the folder of another disk with --disk" % (shown(self.path), self.name))
            raise Failed("%s is not a backup disk: its folder distbackup-objects cannot be opened (%s)\n"
                         "name the folder of a disk with --disk" % (shown(self.path), why.strerror))

    def open(self, sha256):
        """The object, opened; None if it is not here."""
        name = sha256.hex().encode()
        try:
            folder = self.objects.sub(name[:3])
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return folder.open(name)
        except FileNotFoundError:
            return None
        finally:
            folder.close()

    def has(self, sha256):
        try:
            file = self.open(sha256)
        except OSError:
            return False
        if file:
            file.close()
        return file is not None

    def all(self):
        """The hashes of all objects here, ascending."""
        for prefix in self.objects.names():
            if re.fullmatch(b"[0-9a-f]{3}", prefix):
                folder = self.objects.sub(prefix)
                names = [name for name in folder.names() if re.fullmatch(b"[0-9a-f]{64}", name)]
                folder.close()
                yield from (bytes.fromhex(name.decode()) for name in names if name.startswith(prefix))


# -------------------------------------------------------------------------------------- the catalog

class Entry:
    """A name of the tree, with what it needs to be put back."""
    FIELDS = ("name", "kind", "node", "object", "pending", "size", "mtime_ns", "filesystem", "link", "target", "holes",
              "sha256", "length", "mode", "uid", "gid", "user_name", "group_name", "xattrs")
    __slots__ = FIELDS + ("parent", "path", "selected", "entered", "blocked")

    def trouble(self):
        """Why this row must not be restored. The catalog lay on a disk: anything may stand in it (C7)."""
        separators = (b"/", b"\0") if os.sep == "/" else (b"/", b"\0", b"\\", b":")
        if not isinstance(self.name, bytes) or self.name in (b"", b".", b"..") or any(c in self.name for c in separators):
            return "is no name that a file can have here; left out"
        numbers = (self.pending, self.size, self.mtime_ns, self.filesystem, self.length or 0, self.link or 0)
        if self.kind not in ("f", "d", "l", "p", "c", "b") or not all(isinstance(n, int) for n in numbers):
            return "is damaged in the catalog; left out"
        if self.kind == "f" and self.object is not None and not (isinstance(self.sha256, bytes) and len(self.sha256) == 32):
            return "has a content whose hash the catalog does not know; left out"
        if self.holes is not None and not isinstance(self.holes, bytes):
            return "is damaged in the catalog; left out"
        if self.kind in "lcb" and not (isinstance(self.target, bytes) and self.target and b"\0" not in self.target):
            return "has no target in the catalog; left out"
        return None

    def has_metadata(self):
        """Folders that distbackup made up to hang sources or merged names in have none worth restoring."""
        numbers = (self.mode, self.uid, self.gid)
        return (self.filesystem != 0 or self.kind != "d") and all(isinstance(n, int) and 0 <= n < 0xFFFFFFFF for n in numbers)

    def captured(self):
        return self.sha256 is not None or (self.size == 0 and not self.pending)


def decode_xattrs(blob):
    """For each: u16 length of name, name, u32 length of value, value; little-endian. ValueError if damaged."""
    at, found = 0, {}
    def take(count):
        nonlocal at
        at += count
        if at > len(blob):
            raise ValueError("truncated")
        return blob[at - count:at]
    while at < len(blob):
        name = take(int.from_bytes(take(2), "little"))
        found[name] = take(int.from_bytes(take(4), "little"))
    return found


def decode_holes(blob):
    """Pairs of LEB128 numbers, distance from the end of the hole before and length, as a list of (start, end)."""
    numbers, value, shift = [], 0, 0
    for byte in blob or b"":
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
        if shift > 63 or len(numbers) > 2 * HOLES_MAX:
            return []                           # damaged: the file is restored without holes
    holes, end = [], 0
    for distance, length in zip(numbers[::2], numbers[1::2]):
        holes.append((end + distance, end + distance + length))
        end += distance + length
    return holes


class Catalog:
    """The catalog: opened read-only, trusted in nothing."""
    TABLES = {"catalog": "generation", "snapshot": "id", "entry": "directory", "object": "sha256", "metadata": "xattrs",
              "disk": "uuid", "copy": "object"}
    QUERY = """
        SELECT e.name, e.kind, e.node, e.object, e.pending, e.size, e.mtime_ns, e.filesystem, e.link, e.target, e.holes,
               o.sha256, o.size, m.mode, m.uid, m.gid, m.user_name, m.group_name, m.xattrs
          FROM entry AS e LEFT JOIN object AS o ON o.id = e.object LEFT JOIN metadata AS m ON m.id = e.metadata
         WHERE e.directory = :directory AND %s ORDER BY e.name"""

    def __init__(self, path):
        self.path, self.snapshot = path, None
        if not os.path.isfile(path):
            raise Failed("%s: there is none" % shown(path))
        if os.path.exists(path + b"-wal") and os.path.getsize(path + b"-wal"):
            say("note: %s-wal holds newer changes, which are not read" % shown(path))
        uri = pathlib.Path(os.fsdecode(path)).absolute().as_uri() + "?mode=ro&immutable=1"
        try:
            self.db = sqlite3.connect(uri, uri=True)
            self.db.text_factory = lambda raw: raw.decode("utf-8", "replace")
            for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "query_only = ON"):
                self.db.execute("PRAGMA " + pragma)
            application, version = self.one("PRAGMA application_id")[0], self.one("PRAGMA user_version")[0]
            if application == 0 and 13 <= version <= 31:
                raise Failed("%s is a catalog of distbackup 1.x, which this script does not read.\n"
                             "Import it with `dsb import-v1`, or get the contents without names: restore.py DEST --by-hash"
                             % shown(path))
            if application != APPLICATION_ID:
                raise Failed("%s is not a catalog of distbackup" % shown(path))
            if sqlite3.sqlite_version_info < (3, 37):
                raise Failed("%s needs SQLite 3.37 (of 2021) or newer; this Python brings %s"
                             % (shown(path), sqlite3.sqlite_version))
            if version > SCHEMA:
                say("warning: %s is of a newer distbackup (schema %d, this script knows %d); trying all the same"
                    % (shown(path), version, SCHEMA))
            elif version < OLDEST_SCHEMA:
                raise Failed("%s has the unknown schema %d" % (shown(path), version))
            for table, column in self.TABLES.items():       # real tables only: a view or module could do anything
                if not self.one("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? AND rootpage > 0", table):
                    raise Failed("%s: the table %s is not there" % (shown(path), table))
                self.db.execute("SELECT %s FROM %s LIMIT 1" % (column, table))
            check = self.one("PRAGMA quick_check(1)")[0]
            if check != "ok":
                raise Failed("%s is damaged: %s" % (shown(path), shown(check)))
            self.set_uuid, self.generation = self.one("SELECT set_uuid, generation FROM catalog") or (None, -1)
            if not isinstance(self.generation, int):
                raise Failed("%s is damaged: its generation is no number" % shown(path))
        except sqlite3.Error as why:
            raise Failed("%s is damaged: %s" % (shown(path), why))

    def one(self, sql, *values):
        return self.db.execute(sql, values).fetchone()

    def valid(self):
        """The condition for rows of `e` that are true in the chosen snapshot."""
        return "e.died IS NULL" if self.snapshot is None else \
            "e.born <= %d AND (e.died IS NULL OR e.died > %d)" % (self.snapshot, self.snapshot)

    def choose(self, at):
        """Goes back to a snapshot by number, or to the last one of a date such as 2031-05-01 or 2031-05-01T18:30."""
        if at.isdigit():
            self.snapshot = int(at)
            if self.snapshot < 1 << 63 and self.one("SELECT 1 FROM snapshot WHERE id = ?", self.snapshot):
                return
            raise Failed("there is no snapshot %s; see --snapshots" % at)
        for form, extra in (("%Y-%m-%d", 86400), ("%Y-%m-%dT%H:%M", 60), ("%Y-%m-%dT%H:%M:%S", 1)):
            try:
                end = time.mktime(time.strptime(at.replace(" ", "T"), form)) + extra
            except (ValueError, OverflowError):
                continue
            row = self.one("SELECT id FROM snapshot WHERE created_ns < ? ORDER BY id DESC LIMIT 1", int(end * 10**9))
            if row is None:
                raise Failed("there is no snapshot as old as %s; see --snapshots" % at)
            self.snapshot = row[0]
            return
        raise Failed("--at takes the number of a snapshot or a date such as 2031-05-01 or 2031-05-01T18:30, not %r" % at)

    def holders(self, number, connected=()):
        """Names of the disks that hold an object, but for those `connected`."""
        rows = self.db.execute("SELECT d.name, d.uuid FROM copy AS c JOIN disk AS d ON d.id = c.disk"
                               " WHERE c.object = ? ORDER BY d.name", (number,))
        return [shown(name) for name, uuid in rows if uuid not in connected]

    def names_of(self, sha256):
        """A path or two at which a content is or was."""
        paths = []
        for directory, name in self.db.execute("SELECT e.directory, e.name FROM object AS o JOIN entry AS e ON e.object = o.id"
                                               " WHERE o.sha256 = ? LIMIT 2", (sha256,)):
            parts = [name]
            while directory != 1 and len(parts) < 1000:
                above = self.one("SELECT directory, name FROM entry WHERE node = ?"
                                 " ORDER BY died IS NOT NULL, born DESC LIMIT 1", directory)
                if above is None:
                    break
                directory, name = above
                parts.append(name)
            paths.append("/" + "/".join(shown(part) for part in reversed(parts)))
        return " = ".join(paths) or "(no name in the catalog)"

    def folder(self, parent):
        query = self.db.execute(self.QUERY % self.valid(), {"directory": parent.node if parent else 1})
        for row in query:
            entry = Entry()
            for field, value in zip(Entry.FIELDS, row):
                setattr(entry, field, value)
            entry.parent, entry.entered, entry.blocked, entry.selected = parent, False, False, False
            entry.path = (parent.path if parent else b"") + b"/" + (entry.name if isinstance(entry.name, bytes) else b"?")
            yield entry

    def root(self):
        """The tree's own root, under the empty name in folder 0: it has a row only if a source is mapped at `/`."""
        for row in self.db.execute(self.QUERY % self.valid(), {"directory": 0}):
            entry = Entry()
            for field, value in zip(Entry.FIELDS, row):
                setattr(entry, field, value)
            entry.parent, entry.path, entry.entered, entry.blocked, entry.selected = None, b"/", True, False, True
            if (entry.name == b"" and entry.kind == "d" and entry.node == 1 and isinstance(entry.mtime_ns, int)
                    and isinstance(entry.filesystem, int) and entry.has_metadata()):
                return entry
        return None

    def group(self, link):
        """How many names a hard-link group has."""
        return self.one("SELECT count(*) FROM entry AS e WHERE e.link = ? AND " + self.valid(), link)[0]

    def walk(self, patterns, trouble):
        """Every name as ("name", entry); folders as ("enter", folder), all below, ("leave", folder).

        One folder is in memory at a time, with its subfolders and those still to do. An entry is
        `selected` if it or a folder above matches a pattern, or if there are no patterns.
        """
        todo = [("enter", None)]
        while todo:
            step, folder = todo.pop()
            if folder is not None:
                yield step, folder
                if step == "leave" or folder.blocked:
                    continue
                todo.append(("leave", folder))
            below = []
            for entry in self.folder(folder):
                entry.selected = (folder is not None and folder.selected) or matches(entry.path, patterns)
                why = entry.trouble()
                if not why and entry.kind == "d":
                    # A folder is in one place at a time; a row that says otherwise could be endless.
                    places = self.one("SELECT count(*) FROM (SELECT 1 FROM entry AS e WHERE e.node = ? AND %s LIMIT 2)"
                                      % self.valid(), entry.node)[0]
                    why = "is a folder inside itself or in two places; left out" if places != 1 or entry.node == 1 else None
                if why:
                    trouble(entry, why)
                elif entry.kind == "d":
                    below.append(("enter", entry))
                else:
                    yield "name", entry
            todo.extend(reversed(below))


def matches(path, patterns):
    return not patterns or any(path == pattern or fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def choose_catalog(disks, file, report):
    """The newest sound catalog of the disks; if all are damaged, the one before it."""
    if file:
        return Catalog(os.fsencode(file))
    for name in (b"distbackup.sqlite", b"distbackup.sqlite.previous"):
        found = []
        for disk in disks:
            try:
                found.append(Catalog(os.path.join(disk.path, name)))
            except Failed as why:
                say("note: %s" % why)
        if len({catalog.set_uuid for catalog in found}) > 1:
            raise Failed("these disks belong to different sets: restore from one set at a time, or choose with --catalog")
        if found:
            best = max(found, key=lambda catalog: catalog.generation)
            if name.endswith(b".previous"):
                report.trouble(best.path, "is used instead of the newer catalog: what changed last is not in it")
            return best
    raise Failed("no disk given here has a catalog that can be read.\nTry another disk of the set with --disk, or get the"
                 " contents without their names: restore.py DEST --by-hash")


# -------------------------------------------------------------------------------------- the account

class Report:
    """What went wrong: said at once, counted, and summed up at the end."""

    def __init__(self):
        self.bad = self.troubles = self.missing_files = self.missing_bytes = 0
        self.limits = {}                        # what the destination cannot hold -> [how often, first path]
        self.by_disk = {}                       # disks that hold what is missing -> [files, bytes]
        self.list = tempfile.TemporaryFile("w+", encoding="utf-8", errors="backslashreplace")

    def trouble(self, path, text):
        self.troubles += 1
        say("%s: %s" % (shown(path), text))

    def damaged(self, disk, sha256, path, why):
        if sha256 not in disk.damaged:
            disk.damaged.add(sha256)
            self.bad += 1
            say("DAMAGED on %s: object %s %s; wanted for %s" % (shown(disk.name), sha256.hex(), why, shown(path)))

    def limit(self, kind, path):
        self.limits.setdefault(kind, [0, shown(path)])[0] += 1

    def missing(self, entry, holders):
        self.missing_files += 1
        self.missing_bytes += entry.length or 0
        where = ", ".join(holders) or "no other disk of the catalog"
        group = self.by_disk.setdefault(where, [0, 0])
        group[0] += 1
        group[1] += entry.length or 0
        self.list.write("  %s  (%s bytes, on: %s)\n" % (shown(entry.path), entry.length, where))

    def close(self):
        """Prints the summary and returns the exit code."""
        if self.missing_files:
            print("Missing: %d files, %d bytes are not on the disks given:" % (self.missing_files, self.missing_bytes))
            self.list.seek(0)
            for line in self.list:
                print(line, end="")
            for where, (files, size) in sorted(self.by_disk.items()):
                print("  -> %d files, %d bytes: %s" % (files, size, where))
            print("Connect one of these disks and run the same command with --disk FOLDER; what is here now is kept.")
        for kind, (count, first) in sorted(self.limits.items()):
            print("%s: %d times, first at %s" % (kind, count, first))
        if self.troubles:
            print("%d problems were reported above." % self.troubles)
        if self.bad:
            print("%d damaged objects were found and not used." % self.bad)
        return 4 if self.bad else 3 if self.missing_files or self.limits or self.troubles else 0


# ---------------------------------------------------------------------------------- the destination

class Restore:
    """Puts entries below the destination."""

    def __init__(self, dest, disks, catalog, report, options, umask):
        self.disks, self.catalog, self.report, self.options = disks, catalog, report, options
        self.connected = {disk.uuid for disk in disks}
        self.top, self.umask = Folder.top(dest), umask
        self.here, self.open_entry = self.top, None     # the folder last worked in: its handle and its entry
        self.groups, self.ids, self.count = {}, {}, 0
        self.files_done = self.bytes_done = self.files_total = self.bytes_total = 0
        self.told = 0.0

    def run(self, patterns):
        self.measure(patterns)
        # The destination itself is the user's, unless a source was mapped at the root and all of it comes back.
        root, found = self.catalog.root() if matches(b"/", patterns) else None, False
        if root and self.top.fd is not None and os.fstat(self.top.fd).st_mode & 0o700 != 0o700:
            try:
                os.chmod(self.top.fd, stat.S_IMODE(os.fstat(self.top.fd).st_mode) | 0o700)     # closed by an earlier run
            except OSError:
                pass                            # what cannot be written in it will say so
        for step, entry in self.catalog.walk(patterns, lambda entry, why: self.report.trouble(entry.path, why)):
            found = found or entry.selected
            try:
                if step == "leave":
                    if entry.entered:
                        self.dress(self.folder(entry.parent), entry.name, entry)
                elif step == "enter":
                    if entry.selected:
                        self.folder(entry)
                elif entry.selected:
                    self.put(entry)
            except Skip:
                pass
            except (OSError, ValueError) as why:
                if getattr(why, "errno", None) in FATAL:
                    raise
                self.report.trouble(entry.path, "cannot be restored: %s" % (getattr(why, "strerror", None) or why))
                entry.blocked = step == "enter"
            self.progress(entry, step)
        if root:
            self.dress(self.top, b".", root)
        elif not found:
            self.report.trouble(b" ".join(patterns) or b"/", "nothing in the catalog has such a path")

    def measure(self, patterns):
        """Refuses before the first byte if the destination is too small (R7); counts for the progress line."""
        need, groups = 0, set()
        for step, entry in self.catalog.walk(patterns, lambda entry, why: None):
            if step == "name" and entry.selected and entry.kind == "f":
                self.files_total += 1
                self.bytes_total += entry.length or 0
                if entry.sha256 is None or entry.link in groups or not any(disk.has(entry.sha256) for disk in self.disks):
                    continue
                if entry.link is not None:
                    groups.add(entry.link)
                try:
                    there = self.folder(entry.parent, make=False).stat(entry.name)
                except (OSError, Skip):
                    there = None
                if there is None or there.st_size != entry.length:
                    need += max(0, (entry.length or 0) - sum(end - start for start, end in decode_holes(entry.holes)))
        if hasattr(os, "fstatvfs") and self.top.fd is not None and not self.options.ignore_space:
            room = os.fstatvfs(self.top.fd)
            free = room.f_frsize * (room.f_bavail if os.geteuid() else room.f_bfree)
            if need > free:
                raise Failed("the destination is too small: %d bytes are needed and %d are free. Nothing was written.\n"
                             "Restore a part by giving a PATTERN, or use --ignore-space to fill what there is" % (need, free))

    def folder(self, entry, make=True):
        """Opens the folder of `entry` (None: the destination), making those that do not exist."""
        if entry is not self.open_entry:
            chain = []
            while entry is not None and entry is not self.open_entry:
                chain.append(entry)
                entry = entry.parent
            if entry is not self.open_entry or entry is None:
                self.back_to_top()
            for entry in reversed(chain):
                below = self.enter(self.here, entry, make)
                if self.here is not self.top:
                    self.here.close()
                self.here, self.open_entry = below, entry
        return self.here

    def back_to_top(self):
        if self.here is not self.top:
            self.here.close()
        self.here, self.open_entry = self.top, None

    def enter(self, parent, entry, make):
        if entry.blocked:
            raise Skip
        try:
            below = parent.sub(entry.name)
        except NotADirectoryError:
            if not make:
                raise
            if not self.options.overwrite:      # R3: it may be a symlink that leads out of the destination
                entry.blocked = True
                self.report.trouble(parent.path + b"/" + entry.name, "is not a folder, but should be one; kept, and nothing"
                                    " below it restored (--overwrite replaces it)")
                raise Skip
            parent.unlink(entry.name)
            below = None
        except FileNotFoundError:
            if not make:
                raise
            below = None
        if below is None:
            arg, at = parent.at(entry.name)
            os.mkdir(arg, 0o700, **at)
            below = parent.sub(entry.name)
            if not entry.has_metadata():
                os.chmod(below.path if below.fd is None else below.fd, 0o777 & ~self.umask)
        elif make and not entry.entered and entry.has_metadata() and below.fd is not None:
            mode = stat.S_IMODE(os.fstat(below.fd).st_mode)
            if mode & 0o700 != 0o700:           # an earlier run left it as it should be; open it until it is left
                try:
                    os.chmod(below.fd, mode | 0o700)
                except OSError:
                    pass                        # what cannot be written in it will say so
        entry.entered = entry.entered or make
        return below

    def put(self, entry):
        """Restores anything but a folder: complete under a temporary name, then renamed."""
        folder = self.folder(entry.parent)
        there = folder.stat(entry.name)
        if entry.kind == "f" and not entry.captured():
            self.report.trouble(entry.path, "its content was never captured; left out")
            return
        if self.link(folder, entry, there):
            return
        if there is not None:
            if self.equal(folder, entry, there):
                # A file that has names elsewhere, perhaps outside the destination, is not ours to change.
                if there.st_nlink <= (1 if entry.link is None else self.catalog.group(entry.link)):
                    self.dress(folder, entry.name, entry)
                self.remember(folder, entry)
                return
            if not self.options.overwrite or stat.S_ISDIR(there.st_mode):
                self.report.trouble(entry.path, "another file of that name is in the destination; kept"
                                    + (" (a folder is never replaced)" if stat.S_ISDIR(there.st_mode) else
                                       " (--overwrite replaces it)"))
                return
        name = self.new_name()
        try:
            if self.make(folder, name, entry):
                self.dress(folder, name, entry)
                folder.rename(name, entry.name)
                self.remember(folder, entry)
                if entry.kind == "f" and entry.pending:
                    self.report.limit("content presumed unchanged when it was recorded, never confirmed", entry.path)
        finally:
            if folder.stat(name) is not None:
                folder.unlink(name)

    def new_name(self):
        self.count += 1
        return b".dsb-restore-%d-%d" % (os.getpid(), self.count)

    def make(self, folder, name, entry):
        """Creates the thing itself, without metadata. False if it cannot be had; that has been reported."""
        arg, at = folder.at(name)
        if entry.kind == "f":
            if self.fetch(folder, name, entry.sha256, decode_holes(entry.holes), entry.path):
                return True
            self.report.missing(entry, self.catalog.holders(entry.object, self.connected))
            return False
        try:
            if entry.kind == "l":
                os.symlink(entry.target, arg, **at)
            elif entry.kind == "p":
                os.mkfifo(arg, 0o600, **at)
            else:
                kind = stat.S_IFCHR if entry.kind == "c" else stat.S_IFBLK
                os.mknod(arg, 0o600 | kind, device_number(entry.target), **at)
            return True
        except (PermissionError, AttributeError, NotImplementedError):
            self.report.limit("symbolic links, fifos or devices that may not be made here", entry.path)
        except OSError as why:
            if why.errno not in (errno.ENOTSUP, errno.ENOSYS):
                raise
            self.report.limit("symbolic links, fifos or devices that may not be made here", entry.path)
        return False

    def fetch(self, folder, name, sha256, holes, path):
        """Writes an object to a new file `name`, from the first disk whose copy is good."""
        arg, at = folder.at(name)
        for disk in self.disks if sha256 is not None else [None]:
            try:
                source = disk and disk.open(sha256)
            except OSError as why:
                self.report.damaged(disk, sha256, path, "cannot be opened (%s)" % why.strerror)
                continue
            if disk and (source is None or sha256 in disk.damaged):
                continue
            fd = os.open(arg, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600, **at)
            with open(fd, "wb", buffering=0) as out:
                why = source and copy(source, out, sha256, holes)
            if not why:
                return True
            folder.unlink(name)
            self.report.damaged(disk, sha256, path, why)
        return False

    def equal(self, folder, entry, there):
        """Whether what is in the destination is what the catalog says, by its content."""
        arg, at = folder.at(entry.name)
        if stat.S_IFMT(there.st_mode) != {"f": stat.S_IFREG, "l": stat.S_IFLNK, "p": stat.S_IFIFO, "c": stat.S_IFCHR,
                                          "b": stat.S_IFBLK}[entry.kind]:
            return False
        if entry.kind == "l":
            return os.readlink(arg, **at) == entry.target
        if entry.kind in "cb":
            return there.st_rdev == device_number(entry.target)
        if entry.kind == "p" or there.st_size != (entry.length or 0) or entry.sha256 is None:
            return entry.kind == "p" or (entry.sha256 is None and there.st_size == 0)
        with folder.open(entry.name) as file:
            return hash_of(file) == entry.sha256

    # Hard links: the first name that is restored is remembered until the last one has come by.

    def remember(self, folder, entry):
        if entry.link is not None and entry.link not in self.groups:
            names = self.catalog.group(entry.link)
            if names > 1:
                there = folder.stat(entry.name)
                self.groups[entry.link] = [(there.st_dev, there.st_ino), entry, names - 1]

    def link(self, folder, entry, there):
        """Makes `entry` another name of the first of its group; False if there is none yet or it cannot be."""
        group = self.groups.get(entry.link)
        if group is None:
            return False
        identity, first, group[2] = group[0], group[1], group[2] - 1
        if group[2] == 0:
            del self.groups[entry.link]
        if there is not None and (there.st_dev, there.st_ino) == identity:
            return True
        if there is not None and not self.options.overwrite and not self.equal(folder, entry, there):
            return False
        name, parts = self.new_name(), first.path.split(b"/")[1:]
        source = Folder(self.top.path, os.dup(self.top.fd) if DIR_FD else None)
        try:
            for part in parts[:-1]:
                below = source.sub(part)
                source.close()
                source = below
            found = source.stat(parts[-1])
            if found is None or (found.st_dev, found.st_ino) != identity or (there and stat.S_ISDIR(there.st_mode)):
                return False
            more = {"src_dir_fd": source.fd, "dst_dir_fd": folder.fd} if DIR_FD else {}
            os.link(source.at(parts[-1])[0], folder.at(name)[0], follow_symlinks=False, **more)
            folder.rename(name, entry.name)
            return True
        except (OSError, NotImplementedError):
            self.report.limit("hard links that could not be made; restored as separate files", entry.path)
            return False
        finally:
            source.close()

    # Metadata: tried, then looked at. What the destination did not take is reported once per kind.

    def owner(self, entry):
        """Numbers of user and group here: by name if that name exists here, else the old number."""
        def number(name, old, find):
            if self.options.numeric_ids or not isinstance(name, bytes) or find is None:
                return old
            if (find, name) not in self.ids:
                try:
                    self.ids[find, name] = find(os.fsdecode(name))[2]
                except (KeyError, ValueError):
                    self.ids[find, name] = None
            return old if self.ids[find, name] is None else self.ids[find, name]
        return (number(entry.user_name, entry.uid, pwd and pwd.getpwnam),
                number(entry.group_name, entry.gid, grp and grp.getgrnam))

    def dress(self, folder, name, entry):
        """Owner, attributes, mode, times, in this order: a change of owner clears set-id bits and capabilities."""
        if not entry.has_metadata():
            if entry.filesystem != 0 or entry.kind != "d":
                self.report.limit("metadata that the catalog does not know", entry.path)
            return
        arg, at = folder.at(name)
        uid, gid = self.owner(entry)
        now = os.stat(arg, follow_symlinks=False, **at)
        if hasattr(os, "chown") and (now.st_uid, now.st_gid) != (uid, gid):
            for pair in ((uid, gid), (-1, gid)):
                try:
                    os.chown(arg, *pair, follow_symlinks=False, **at)
                    break
                except (OSError, OverflowError):
                    pass
            now = os.stat(arg, follow_symlinks=False, **at)
        self.attributes(folder, name, entry, now)
        mode = entry.mode & 0o7777
        if (now.st_uid, now.st_gid) != (uid, gid):
            self.report.limit("owner or group that could not be set", entry.path)
            if entry.kind == "f" and mode & 0o6000:
                # A program must not run with the rights of whoever happens to restore it.
                mode &= 0o1777
                self.report.limit("set-id bits left out because the owner could not be set", entry.path)
        if entry.kind != "l":
            try:
                set_mode(arg, at, mode)
            except OSError:
                pass                            # seen below
        try:
            os.utime(arg, ns=(now.st_atime_ns, entry.mtime_ns), follow_symlinks=False, **at)
        except (OSError, OverflowError, NotImplementedError):
            pass
        now = os.stat(arg, follow_symlinks=False, **at)
        if entry.kind != "l" and stat.S_IMODE(now.st_mode) != mode:
            self.report.limit("permissions that could not be set", entry.path)
        if now.st_mtime_ns != entry.mtime_ns:
            self.report.limit("times that the destination keeps less exactly or not at all", entry.path)

    def attributes(self, folder, name, entry, now):
        """Extended attributes; ACLs are attributes too. An ACL inherited from the destination's folder goes."""
        try:
            wanted = decode_xattrs(entry.xattrs if isinstance(entry.xattrs, bytes) else b"")
        except ValueError:
            self.report.limit("extended attributes that are damaged in the catalog", entry.path)
            return
        if not hasattr(os, "setxattr") or not DIR_FD:
            for attribute in wanted:
                self.report.limit("extended attribute %s, which cannot be set here" % shown(attribute), entry.path)
            return
        # There are no calls relative to an open folder for attributes; this path leads through it all the same.
        path = b"/proc/self/fd/%d/%s" % (folder.fd, name)
        try:
            for attribute in os.listxattr(path, follow_symlinks=False):
                attribute = os.fsencode(attribute)
                if attribute.startswith(b"system.posix_acl_") and attribute not in wanted:
                    os.removexattr(path, attribute, follow_symlinks=False)
                elif wanted.get(attribute) == os.getxattr(path, attribute, follow_symlinks=False):
                    del wanted[attribute]       # an earlier run has set it
            if wanted and entry.kind != "l" and not now.st_mode & 0o200:
                set_mode(*folder.at(name), stat.S_IMODE(now.st_mode) | 0o600)   # or its owner may not set them
        except OSError:
            pass                                # a filesystem without attributes has none to remove
        for attribute, value in wanted.items():
            try:
                os.setxattr(path, attribute, value, follow_symlinks=False)
            except (OSError, ValueError):
                space = attribute.split(b".")[0]
                self.report.limit("extended attributes %s.* that could not be set" % shown(space), entry.path)

    def progress(self, entry, step):
        if step == "name" and entry.selected and entry.kind == "f":
            self.files_done += 1
            self.bytes_done += entry.length or 0
        if sys.stderr.isatty() and (time.monotonic() - self.told > 0.5):
            self.told = time.monotonic()
            sys.stderr.write("\r\x1b[K%d of %d files, %.1f of %.1f GB  %s" % (
                self.files_done, self.files_total, self.bytes_done / 1e9, self.bytes_total / 1e9, shown(entry.path)[-40:]))
            sys.stderr.flush()

    def sync(self):
        """What is called done survives a power cut; errors of the system are not overlooked where it tells them."""
        try:
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.syncfs(self.top.fd) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        except (ImportError, AttributeError, TypeError, ctypes.ArgumentError):
            if hasattr(os, "sync"):
                os.sync()


def device_number(target):
    major, _, minor = target.partition(b":")
    try:
        return os.makedev(int(major), int(minor))
    except (ValueError, OverflowError):
        raise ValueError("damaged device number")


def set_mode(arg, at, mode):
    """chmod that never follows a symlink, which Linux offers only through an open handle."""
    if not at or not hasattr(os, "O_PATH"):
        more = {"follow_symlinks": False} if os.chmod in os.supports_follow_symlinks else {}
        return os.chmod(arg, mode, **more, **at)
    pin = os.open(arg, os.O_PATH | NO_FOLLOW, **at)
    try:
        os.chmod("/proc/self/fd/%d" % pin, mode)
    finally:
        os.close(pin)


def copy(source, out, sha256, holes):
    """Copies and hashes; leaves holes where there were some and the content is zero. Says what is wrong, or None."""
    digest, offset, nth = hashlib.sha256(), 0, 0
    with source:
        while True:
            try:
                block = source.read(BLOCK)
            except OSError as why:
                return "cannot be read (%s)" % why.strerror
            if not block:
                break
            digest.update(block)
            at, end = offset, offset + len(block)
            while at < end:
                while nth < len(holes) and holes[nth][1] <= at:
                    nth += 1
                start, stop = holes[nth] if nth < len(holes) else (end, end)
                hole = start <= at
                until = min(end, stop if hole else start)
                piece = block[at - offset:until - offset]
                if not hole or piece.count(0) != len(piece):
                    out.seek(at)
                    while piece:
                        piece = piece[out.write(piece):]
                at = until
            offset = end
    out.truncate(offset)
    return None if digest.digest() == sha256 else "does not have the content that its name promises"


# ------------------------------------------------------------------------------------- the commands

def list_tree(catalog, patterns, report):
    for step, entry in catalog.walk(patterns, lambda entry, why: report.trouble(entry.path, why)):
        if step != "leave" and entry.selected:
            held = ",".join(catalog.holders(entry.object)) if entry.sha256 else ""
            if entry.kind == "f" and not held:
                held = "(empty)" if entry.captured() and entry.sha256 is None else "(nowhere)"
            tail = {"d": "/", "l": " -> " + shown(entry.target or b"")}.get(entry.kind, "")
            print("%15s  %-20s  %s%s" % (entry.length or 0 if entry.kind == "f" else entry.kind, held, shown(entry.path), tail))


def list_snapshots(catalog):
    for number, created in catalog.db.execute("SELECT id, created_ns FROM snapshot ORDER BY id"):
        try:
            print("%10d  %s" % (number, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(created // 10**9))))
        except (OverflowError, OSError, ValueError, TypeError):
            print("%10s  (a time out of reach)" % number)


def verify(disks, catalog, report):
    """Reads every object of the disks, and looks for those that the catalog says are there."""
    for disk in disks:
        good = 0
        for sha256 in disk.all():
            try:
                with disk.open(sha256) as file:
                    why = None if hash_of(file) == sha256 else "does not have the content that its name promises"
            except (OSError, AttributeError) as error:
                why = "cannot be read (%s)" % (getattr(error, "strerror", None) or "gone")
            if why:
                report.damaged(disk, sha256, catalog.names_of(sha256).encode() if catalog else b"?", why)
            good += not why
        print("%s: %d objects are good" % (shown(disk.name), good))
        if catalog and disk.uuid:
            for (sha256,) in catalog.db.execute("SELECT o.sha256 FROM copy AS c JOIN disk AS d ON d.id = c.disk JOIN object AS o"
                                                " ON o.id = c.object WHERE d.uuid = ?", (disk.uuid,)):
                if not disk.has(sha256) and sha256 not in disk.damaged:
                    report.damaged(disk, sha256, catalog.names_of(sha256).encode(), "is not there")


def by_hash(restore, wanted, report):
    """Contents without names: no catalog is needed (C6)."""
    for sha256 in wanted:
        name = sha256.hex().encode()
        there = restore.top.stat(name)
        if there is not None:
            with restore.top.open(name) as file:
                if hash_of(file) != sha256:
                    report.trouble(name, "another file of that name is in the destination; kept")
            continue
        temporary = restore.new_name()
        try:
            if restore.fetch(restore.top, temporary, sha256, [], name):
                restore.top.rename(temporary, name)
            elif not any(sha256 in disk.damaged for disk in restore.disks):
                report.trouble(name, "is on none of the disks given")
        finally:
            if restore.top.stat(temporary) is not None:
                restore.top.unlink(temporary)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="restore.py", description="Gets files back from distbackup disks; the text at the"
                                     " beginning of this script and RESTORE.txt say more.")
    add = parser.add_argument
    add("args", nargs="*", metavar="DEST [PATTERN...]", help="where to; which paths (glob; * crosses /), default all")
    add("--disk", action="append", metavar="PATH", help="folder of a disk (again for more); default: where this script lies")
    add("--catalog", metavar="FILE", help="default: the newest one on the disks")
    add("--at", metavar="DATE|SNAPSHOT", help="the tree as it was then")
    add("--list", action="store_true", help="list size, disks and path [PATTERN...]; no DEST")
    add("--snapshots", action="store_true", help="list the snapshots; no DEST")
    add("--verify", action="store_true", help="check every object of the disks against its hash; no DEST")
    add("--by-hash", action="store_true", help="all objects of the disks into DEST, named by hash; needs no catalog")
    add("--fetch", action="append", metavar="HASH", help="one object into DEST, named by hash; needs no catalog")
    add("--overwrite", action="store_true", help="replace files in DEST that differ")
    add("--numeric-ids", action="store_true", help="owners by number, even if the name exists here")
    add("--ignore-space", action="store_true", help="start even if DEST seems too small")
    options = parser.parse_intermixed_args(arguments)
    options.reads = options.list or options.snapshots or options.verify
    if not options.reads and not options.args:
        parser.error("say where to: restore.py DEST  (or --list to see what there is)")
    for name in options.fetch or []:
        if not re.fullmatch("[0-9a-f]{64}", name):
            parser.error("--fetch takes 64 hexadecimal digits in lower case, not %r" % name)
    patterns = [os.fsencode(p) for p in (options.args if options.reads else options.args[1:])]
    options.patterns = [(p if p.startswith((b"/", b"*")) else b"/" + p).rstrip(b"/") for p in patterns]
    options.patterns = [] if b"" in options.patterns else options.patterns
    return options


def main(arguments):
    options = parse(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report, restore = Report(), None
    try:
        umask = os.umask(0o077)                 # C8: nothing half-restored is readable by others
        disks = [Disk(path) for path in options.disk or [os.path.dirname(os.path.abspath(__file__))]]
        catalog = None
        if not (options.by_hash or options.fetch):
            try:
                catalog = choose_catalog(disks, options.catalog, report)
            except Failed as why:
                if not options.verify:
                    raise
                say("note: %s\nchecking without a catalog" % why)
            if options.at and catalog:
                catalog.choose(options.at)
        if options.list:
            list_tree(catalog, options.patterns, report)
        elif options.snapshots:
            list_snapshots(catalog)
        elif options.verify:
            verify(disks, catalog, report)
        else:
            dest = os.path.realpath(os.fsencode(options.args[0]))
            for disk in disks:
                if (dest + b"/").startswith(os.path.realpath(disk.path).rstrip(b"/") + b"/"):
                    raise Failed("the destination lies on the disk %s itself; choose a folder elsewhere" % shown(disk.name))
            if not os.path.isdir(dest):
                os.makedirs(dest, mode=0o700)
                os.chmod(dest, 0o777 & ~umask)
            restore = Restore(dest, disks, catalog, report, options, umask)
            if options.by_hash or options.fetch:
                wanted = map(bytes.fromhex, options.fetch) if options.fetch else (sha for disk in disks for sha in disk.all())
                by_hash(restore, wanted, report)
            else:
                restore.run(options.patterns)
            restore.sync()
            say("") if sys.stderr.isatty() else None
        code = report.close()
        if code == 0 and restore:
            print("Done: all that was asked for is in %s, every content checked against its SHA-256." % shown(dest))
        return code
    except KeyboardInterrupt:
        say("Interrupted. Run the same command again to continue.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except sqlite3.Error as why:
        say("error: the catalog is damaged: %s\nTry --catalog with distbackup.sqlite.previous, or another disk." % why)
    except Failed as why:
        say("error: %s" % why)
    except OSError as why:
        say("error: %s%s\nWhat is restored so far is good; run the same command again to continue." % (
            why.strerror, ": " + shown(os.fsencode(why.filename)) if isinstance(why.filename, (str, bytes)) else ""))
    if report.missing_files or report.bad or report.troubles:
        report.close()
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
