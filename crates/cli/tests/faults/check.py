"""Looks at a PC's catalog, its disks and its sources with nothing of dsb's own code, and says what is wrong.

usage: check.py WORK CATALOG SOURCE RESTORE_PY NAME=DISK=BEFORE...

WORK is an empty folder for what this needs. BEFORE is a copy of the disk from before the accident. Prints one object:
`wrong`, a list of sentences, empty if all is well; `state`, how things stand, in lines that two good runs have in
common; `restored`, the SHA-256 of each file that restore.py gets back from all disks together, by its path; `missing`,
whether restore.py misses anything; `source`, the same of the files as they are.
"""
import contextlib, hashlib, importlib.util, io, json, os, shutil, sqlite3, sys

work, catalog_folder, source, restore_py = sys.argv[1:5]
disks = [argument.split("=") for argument in sys.argv[5:]]
wrong, state = [], []


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def files(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]


def hashes(folder):
    return {os.path.relpath(path, folder): sha256(path) for path in files(folder)}


def objects(disk):
    return {os.path.basename(path): sha256(path) for path in files(os.path.join(disk, "distbackup-objects"))}


def open_copy(folder, label):
    """A database as the last process left it, opened beside it; None if there is none."""
    copies = os.path.join(work, label)
    os.mkdir(copies)
    for name in ("distbackup.sqlite", "distbackup.sqlite-wal"):
        if os.path.exists(os.path.join(folder, name)):
            shutil.copy(os.path.join(folder, name), copies)
    path = os.path.join(copies, "distbackup.sqlite")
    if not os.path.exists(path):
        return None
    database = sqlite3.connect(path)
    database.text_factory = bytes
    verdict = database.execute("PRAGMA integrity_check").fetchone()[0]
    if verdict != b"ok":
        wrong.append("the catalog of %s is damaged: %s" % (label, verdict))
    return database


def claims(database, disk):
    rows = database.execute("SELECT lower(hex(sha256)) FROM copy JOIN object ON object.id = copy.object"
                            " JOIN disk ON disk.id = copy.disk WHERE disk.name = ?", (disk,))
    return {row[0].decode() for row in rows}


def check_disks():
    database = open_copy(catalog_folder, "pc")
    if database is None:
        wrong.append("the catalog is gone")
        return
    on_any, before_on_any = set(), set()
    for name, disk, before in disks:
        there = objects(disk)
        before_on_any |= set(objects(before))
        on_any |= {content for content in there.values()}
        for object_name, content in there.items():
            if object_name != content:
                wrong.append("%s: %s is not what its name says" % (name, object_name))
        claimed = claims(database, name)
        for missing in sorted(claimed - set(there)):
            wrong.append("N1: %s is claimed on %s and not there" % (missing, name))
        copy = open_copy(disk, name)
        if copy is None:
            wrong.append("%s has no catalog any more" % name)
        else:
            newer = copy.execute("SELECT generation FROM catalog").fetchone()[0]
            if newer > database.execute("SELECT generation FROM catalog").fetchone()[0]:
                wrong.append("%s has a catalog newer than the PC's" % name)
            # What the PC still claims there is true by now; the rest was released after this copy was made.
            state.append("the copy on %s agrees: %s" % (name, claims(copy, name) == claimed))
        incoming = os.path.join(disk, "distbackup-incoming")
        state.extend("%s has %s" % (name, object_name) for object_name in there)
        state.extend("%s is to have %s" % (name, object_name) for object_name in claimed)
        state.append("left over on %s: %d" % (name, len(files(incoming))))
        state.append("the files of %s: %s" % (name, sorted(os.listdir(disk))))
    both = database.execute("SELECT count(*) FROM removal JOIN object USING (sha256) JOIN copy"
                            " ON copy.object = object.id AND copy.disk = removal.disk").fetchone()[0]
    if both:
        wrong.append("N2: %d copies are claimed and released" % both)
    for path, content in hashes(source).items():
        if content in before_on_any and content not in on_any:
            wrong.append("N7: the content of %s is on no disk any more" % path)
    entries = database.execute("SELECT name, entry.size, lower(hex(sha256)), pending FROM entry"
                               " LEFT JOIN object ON object.id = entry.object WHERE died IS NULL")
    state.extend("entry %r of %r bytes: %r, pending %r" % row for row in entries)
    # The journal may stay where the catalog's disk refuses to have it merged; the next run does that.
    harmless = {"distbackup.sqlite-wal", "distbackup.sqlite-shm", "distbackup.holder"}
    state.append("beside the catalog: %s" % sorted(set(os.listdir(catalog_folder)) - harmless))


def restore():
    spec = importlib.util.spec_from_file_location("restore", restore_py)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    to, said = os.path.join(work, "restored"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    arguments = [to] + [argument for _, disk, _ in disks for argument in ("--disk", disk)]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = module.main(arguments)
    if code not in (0, 3):
        said.seek(0)
        wrong.append("restore.py ends with %d: %s" % (code, said.read()))
    return hashes(os.path.join(to, "data")), code != 0


check_disks()
restored, missing = restore()
print(json.dumps({"wrong": wrong, "state": sorted(state), "restored": restored, "missing": missing,
                  "source": hashes(source)}))
