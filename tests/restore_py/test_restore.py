"""Fire drill for restore.py: disks made by hand from the schema, then only the disks are left.

    python3 -m unittest discover -s tests/restore_py

Runs as root and as an ordinary user; what needs the other one says loudly that it was skipped. The
numbers in the names are those of the accidents that must not lose data. RESTORE_PY names another
script to test, for instance a broken one.
"""
import hashlib, json, os, re, resource, shutil, sqlite3, stat, subprocess, sys, tempfile, unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENGINE = os.path.join(ROOT, "crates", "engine")
SCRIPT = os.environ.get("RESTORE_PY", os.path.join(ENGINE, "recovery", "restore.py"))
SCHEMA = [os.path.join(ENGINE, "src", "catalog", "schema", name) for name in ("0100.sql", "0101.sql")]
PROSE = os.path.join(ENGINE, "recovery", "RESTORE.txt")
IS_ROOT = os.geteuid() == 0
LONG_AGO = -1234567890_123456789                # 1930
NOON = 1_000_000_000_123456789


def skip(test, why):
    sys.stderr.write("\nSKIPPED: %s: %s\n" % (test.id(), why))
    test.skipTest(why)


def leb(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def xattr_blob(attributes):
    return b"".join(len(n).to_bytes(2, "little") + n + len(v).to_bytes(4, "little") + v for n, v in attributes.items())


class Shelf:
    """A catalog and disks, made without distbackup."""

    def __init__(self, folder):
        self.folder, self.disks, self.uuids, self.objects, self.nodes = folder, {}, {}, {}, {b"/": 1}
        self.db = sqlite3.connect(os.path.join(folder, "made.sqlite"))
        for step in SCHEMA:
            with open(step, encoding="utf-8") as file:
                self.db.executescript(file.read())
        self.db.executescript("PRAGMA application_id = 0x64736232; PRAGMA user_version = 101;"
                              "INSERT INTO catalog VALUES (1, 'the-set', 0, 7, 0, 0, NULL);"
                              "INSERT INTO snapshot VALUES (1, NULL, 1000000000000000000, 0, NULL), (2, NULL, 1500000000000000000, 0, NULL);"
                              "INSERT INTO proof VALUES (1, NULL, 0, 'written');")

    def disk(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.join(path, "distbackup-objects"))
        number = len(self.disks) + 1
        self.disks[name], self.uuids[name] = path, "uuid-" + name
        with open(os.path.join(path, "distbackup-disk.json"), "w") as file:
            json.dump({"uuid": "uuid-" + name, "name": name, "set": "the-set", "format": 1, "features_required": []}, file)
        self.db.execute("INSERT INTO disk (id, uuid, name, size_rule, capacity, total, free, unit, file_max, relative_path, added_ns)"
                        " VALUES (?, ?, ?, 'auto', 0, 0, 0, 4096, 0, x'', 0)", (number, "uuid-" + name, name))
        return self

    def object_path(self, disk, content):
        name = hashlib.sha256(content).hexdigest()
        return os.path.join(self.disks[disk], "distbackup-objects", name[:3], name)

    def content(self, content, *disks):
        """The object's number, after writing it to `disks`."""
        if not content:
            return None
        sha = hashlib.sha256(content).digest()
        if sha not in self.objects:
            self.objects[sha] = self.db.execute("INSERT INTO object (sha256, size) VALUES (?, ?)", (sha, len(content))).lastrowid
        for disk in disks:
            path = self.object_path(disk, content)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            self.db.execute("INSERT OR IGNORE INTO copy VALUES (?, ?, 1)", (self.objects[sha], list(self.disks).index(disk) + 1))
        return self.objects[sha]

    def add(self, path, kind="f", content=b"", on=(), mode=None, mtime=NOON, xattrs=None, owner=None, holes=None, link=None,
            target=None, born=1, died=None, filesystem=1, pending=0, node=None, object=None, size=None, name=None):
        """One row of the tree; folders above must be there."""
        above, last = os.path.split(path)
        mode = (0o755 if kind == "d" else 0o644) if mode is None else mode
        uid, gid, user, group = owner or (os.geteuid(), os.getegid(), None, None)
        metadata = self.db.execute("INSERT INTO metadata (mode, uid, gid, user_name, group_name, xattrs, digest) VALUES (?,?,?,?,?,?,0)",
                                   (mode, uid, gid, user, group, xattr_blob(xattrs or {}))).lastrowid
        if kind == "d" and node is None:
            node = self.nodes[path] = max(self.nodes.values()) + 1
        if kind == "f" and object is None and not pending:
            object = self.content(content, *on)
        self.db.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?,?,?,?,0,?,0,?,?,?,?)", (
            self.nodes[above], last if name is None else name, born, died, kind, node, object, pending,
            len(content) if size is None else size, mtime, filesystem, metadata, link, target,
            holes and b"".join(leb(n) for n in holes)))
        return self

    def close(self):
        """Every disk gets its copy of the catalog; the PC's one is gone."""
        self.db.commit()
        for path in self.disks.values():
            target = os.path.join(path, "distbackup.sqlite")
            if os.path.exists(target):
                os.unlink(target)
            self.db.execute("VACUUM INTO ?", (target,))
        return self


class Drill(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="restore-py-")
        self.addCleanup(self.clean)
        self.dest = os.path.join(self.folder, "dest")
        self.shelf = Shelf(self.folder).disk("red").disk("blue")

    def clean(self):
        subprocess.run(["chmod", "-R", "u+rwx", self.folder], stderr=subprocess.DEVNULL)
        shutil.rmtree(os.fsencode(self.folder))

    def run_script(self, *arguments, disks=("red",), code=0, before=None):
        more = [word for disk in disks for word in ("--disk", self.shelf.disks[disk])]
        done = subprocess.run([sys.executable, SCRIPT, *arguments, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, preexec_fn=before,
                              env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
        self.assertEqual(done.returncode, code, done.stdout.decode("utf-8", "replace"))
        self.assertNotIn(b"Traceback", done.stdout)
        return done.stdout

    def restore(self, *arguments, **more):
        return self.run_script(self.dest, *arguments, **more)

    def at(self, path):
        return os.path.join(os.fsencode(self.dest), path.lstrip(b"/"))

    def read(self, path):
        with open(self.at(path), "rb") as file:
            return file.read()

    def no_leftovers(self):
        for folder, _, names in os.walk(os.fsencode(self.dest)):
            self.assertFalse([name for name in names if name.startswith(b".dsb-restore-")], folder)

    def supports_xattrs(self):
        try:
            os.setxattr(self.folder, "user.probe", b"1")
            return True
        except OSError:
            return False


class EverythingComesBack(Drill):
    def test_r6_a_tree_of_all_kinds_is_restored_as_it_was(self):
        s, sparse = self.shelf, b"x" * 4096 + bytes(3 << 20) + b"y" * 5000
        s.add(b"/photos", "d", mode=0o2750, mtime=LONG_AGO)
        s.add(b"/photos/a.jpg", content=b"iceland", on=["red"], mode=0o640, mtime=LONG_AGO)
        s.add(b"/photos/copy.jpg", content=b"iceland", on=["red"])
        s.add(b"/photos/empty")
        s.add(b"/photos/none", "d", mode=0o555)
        s.add(b"/photos/locked", "d", mode=0o500, mtime=LONG_AGO).add(b"/photos/locked/in", content=b"in", on=["red"], mode=0)
        s.add(b"/photos/link", "l", target=b"../no/where\xff", mtime=LONG_AGO)
        s.add(b"/photos/pipe", "p", mode=0o622)
        s.add(b"/photos/sparse", content=sparse, on=["red"], holes=[4096, 3 << 20])
        s.add(b"/photos/setuid", content=b"#!", on=["red"], mode=0o6755)
        s.add(b"/virtual", "d", mode=0, filesystem=0)
        s.close()
        self.assertIn(b"Done", self.restore())
        kind = lambda path: os.lstat(self.at(path))
        self.assertEqual((self.read(b"/photos/a.jpg"), self.read(b"/photos/copy.jpg"), self.read(b"/photos/empty")), (b"iceland", b"iceland", b""))
        self.assertEqual(kind(b"/photos/a.jpg").st_mode, stat.S_IFREG | 0o640)
        for path in (b"/photos", b"/photos/a.jpg", b"/photos/link", b"/photos/locked"):
            self.assertEqual(kind(path).st_mtime_ns, LONG_AGO, path)
        self.assertEqual(kind(b"/photos").st_mode, stat.S_IFDIR | 0o2750)
        self.assertEqual(kind(b"/photos/none").st_mode, stat.S_IFDIR | 0o555)
        self.assertEqual(kind(b"/photos/locked").st_mode, stat.S_IFDIR | 0o500)
        self.assertEqual(kind(b"/photos/locked/in").st_mode, stat.S_IFREG)
        self.assertEqual(kind(b"/photos/setuid").st_mode, stat.S_IFREG | 0o6755)
        self.assertEqual(kind(b"/photos/pipe").st_mode, stat.S_IFIFO | 0o622)
        self.assertEqual(os.readlink(self.at(b"/photos/link")), b"../no/where\xff")
        umask = os.umask(0)
        os.umask(umask)
        self.assertEqual(stat.S_IMODE(kind(b"/virtual").st_mode), 0o777 & ~umask, "it never had a mode of its own")
        self.assertEqual(self.read(b"/photos/sparse"), sparse)
        self.assertLess(kind(b"/photos/sparse").st_blocks * 512, 1 << 20, "the hole is a hole again")
        self.no_leftovers()

    def test_a_second_run_changes_nothing_and_repairs_metadata(self):
        self.shelf.add(b"/d", "d", mode=0o555, mtime=LONG_AGO).add(b"/d/f", content=b"f", on=["red"], mode=0o600).close()
        self.restore()
        first = os.lstat(self.at(b"/d/f"))
        os.chmod(self.at(b"/d/f"), 0o777)
        self.restore()
        again = os.lstat(self.at(b"/d/f"))
        self.assertEqual((again.st_ino, again.st_mode, again.st_mtime_ns), (first.st_ino, first.st_mode, first.st_mtime_ns))
        self.assertEqual(os.lstat(self.at(b"/d")).st_mtime_ns, LONG_AGO)

    def test_holes_are_only_left_where_the_content_is_zero(self):
        content = os.urandom(3 << 20)
        self.shelf.add(b"/wrong", content=content, on=["red"], holes=[100, 2 << 20, 5, 1])
        self.shelf.add(b"/damaged", content=content, on=["red"])
        self.shelf.db.execute("UPDATE entry SET holes = x'ffffffffffffffffffffffff' WHERE name = x'64616d61676564'")
        self.shelf.close()
        self.restore()
        self.assertEqual(self.read(b"/wrong"), content)
        self.assertEqual(self.read(b"/damaged"), content)

    def test_r6_hard_links_are_links_again_also_across_folders(self):
        s = self.shelf.add(b"/a", "d").add(b"/b", "d")
        for path in (b"/a/one", b"/a/two", b"/b/three"):
            s.add(path, content=b"linked", on=["red"], link=5)
        s.add(b"/b/alone", content=b"linked", on=["red"]).close()
        self.restore()
        numbers = [os.lstat(self.at(p)).st_ino for p in (b"/a/one", b"/a/two", b"/b/three")]
        self.assertEqual(len(set(numbers)), 1)
        self.assertNotEqual(os.lstat(self.at(b"/b/alone")).st_ino, numbers[0])
        os.unlink(self.at(b"/a/two"))
        self.restore()
        self.assertEqual(os.lstat(self.at(b"/a/two")).st_ino, numbers[0], "a second run joins the group again")

    def test_r6_attributes_and_acls(self):
        if not self.supports_xattrs():
            skip(self, "the temporary folder knows no extended attributes")
        acl = bytes.fromhex("02000000 01000600ffffffff 02000400e8030000 04000400ffffffff 10000400ffffffff 20000000ffffffff")
        s = self.shelf.add(b"/d", "d", mode=0o755, xattrs={b"user.dir": b"\0\xff", b"system.posix_acl_default": acl})
        s.add(b"/d/f", content=b"f", on=["red"], mode=0o400, xattrs={b"user.note": b"v" * 300, b"user.empty": b""})
        s.add(b"/d/g", content=b"g", on=["red"], mode=0o640, xattrs={b"system.posix_acl_access": acl}).close()
        self.restore()
        self.restore()                          # now the folder's default ACL would be inherited by what is made anew
        os.unlink(self.at(b"/d/f"))
        self.restore()
        attributes = {a: os.getxattr(self.at(b"/d/f"), a) for a in os.listxattr(self.at(b"/d/f")) if a != "security.selinux"}
        self.assertEqual(attributes, {"user.note": b"v" * 300, "user.empty": b""})
        self.assertEqual(os.getxattr(self.at(b"/d"), "user.dir"), b"\0\xff")
        self.assertEqual(os.getxattr(self.at(b"/d"), "system.posix_acl_default"), acl)
        self.assertEqual(os.getxattr(self.at(b"/d/g"), "system.posix_acl_access"), acl)

    def test_owners_by_number_and_by_name(self):
        s = self.shelf.add(b"/n", content=b"n", on=["red"], mode=0o6755, owner=(4321, 4322, None, None))
        s.add(b"/r", content=b"r", on=["red"], owner=(77777, 77777, b"root", b"root")).close()
        if not IS_ROOT:
            said = self.restore(code=3)
            self.assertIn(b"owner or group that could not be set: 2 times, first at /n", said)
            self.assertEqual(stat.S_IMODE(os.lstat(self.at(b"/n")).st_mode), 0o755, "no set-id bits for another owner")
            return skip(self, "owners can only be set by root; checked that it is reported instead")
        self.restore()
        one, two = os.lstat(self.at(b"/n")), os.lstat(self.at(b"/r"))
        self.assertEqual((one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)), (4321, 4322, 0o6755))
        self.assertEqual((two.st_uid, two.st_gid), (0, 0))
        self.restore("--numeric-ids")
        self.assertEqual(os.lstat(self.at(b"/r")).st_uid, 77777)

    def root_row(self, **more):
        """What an update writes when a source is mapped at `/`."""
        self.shelf.nodes[b"above"] = 0
        self.shelf.add(b"above/", "d", node=1, name=b"", **more)

    def test_r6_the_root_comes_back_when_a_source_is_mapped_there(self):
        self.root_row(mode=0o2510, mtime=LONG_AGO)
        self.shelf.add(b"/f", content=b"f", on=["red"]).close()
        umask = os.umask(0)
        os.umask(umask)
        self.restore("/f")
        self.assertEqual(stat.S_IMODE(os.stat(self.dest).st_mode), 0o777 & ~umask, "a part of the tree leaves the destination alone")
        os.unlink(self.at(b"/f"))
        for _ in range(2):                      # a second run has to get in again, as an ordinary user too
            self.restore()
            there = os.stat(self.dest)
            self.assertEqual((stat.S_IMODE(there.st_mode), there.st_mtime_ns), (0o2510, LONG_AGO))
        self.assertEqual(self.read(b"/f"), b"f")
        self.assertEqual(self.run_script("--list").count(b"\n"), 1, "the root is no name of its own")

    def test_c7_a_damaged_root_row_is_not_used(self):
        self.root_row(mode=0o4000, mtime=LONG_AGO)
        self.shelf.db.execute("UPDATE entry SET kind = 'f', object = NULL, size = 0 WHERE directory = 0")
        self.shelf.add(b"/f", content=b"f", on=["red"]).close()
        self.restore()
        self.assertNotEqual(os.stat(self.dest).st_mtime_ns, LONG_AGO)
        self.assertEqual(self.read(b"/f"), b"f")

    def test_c1_a_merged_file_gets_its_metadata(self):
        s = self.shelf.add(b"/merged-from-red-2", "d", filesystem=0, mode=0, born=2, died=3)
        s.add(b"/merged-from-red-2/f", content=b"f", on=["red"], filesystem=0, mode=0o640, mtime=LONG_AGO, born=2, died=3).close()
        self.restore("--at", "2")
        there = os.lstat(self.at(b"/merged-from-red-2/f"))
        self.assertEqual((stat.S_IMODE(there.st_mode), there.st_mtime_ns), (0o640, LONG_AGO))

    def test_devices_or_a_report(self):
        self.shelf.add(b"/null", "c", target=b"1:3", mode=0o666).close()
        try:
            os.mknod(os.path.join(self.folder, "probe"), 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            self.assertIn(b"1 times, first at /null", self.restore(code=3))
            return skip(self, "devices may not be made here; checked that it is reported instead")
        self.restore()
        self.assertEqual(os.lstat(self.at(b"/null")).st_rdev, os.makedev(1, 3))
        self.assertEqual(os.lstat(self.at(b"/null")).st_mode, stat.S_IFCHR | 0o666)

    def test_s10_odd_names_byte_for_byte_and_escaped_on_the_terminal(self):
        odd = [b"\xff\xfe", b"new\nline", b"\x1b[31mred", b"x" * 255, b" ", b"-rf", b"[a]*?", "Fjörður".encode(), b"back\\slash"]
        for name in odd:
            self.shelf.add(b"/" + name, content=name, on=["red"])
        self.shelf.close()
        self.restore()
        self.assertEqual(sorted(os.listdir(os.fsencode(self.dest))), sorted(odd))
        listing = self.run_script("--list")
        self.assertNotIn(b"\x1b", listing)
        self.assertIn(rb"/\x1b[31mred", listing)
        self.assertIn(rb"/new\nline", listing)
        self.assertIn(rb"/\xff\xfe", listing)
        shutil.rmtree(os.fsencode(self.dest))
        self.restore("[a]*?")                   # a name that is a pattern matches itself
        self.assertEqual(os.listdir(os.fsencode(self.dest)), [b"[a]*?"])

    def test_paths_longer_than_the_system_takes(self):
        path = b""
        for _ in range(30):
            path += b"/" + b"n" * 200
            self.shelf.add(path, "d")
        self.shelf.add(path + b"/f", content=b"deep", on=["red"]).close()
        self.restore()
        fd = os.open(self.dest, os.O_RDONLY)
        for part in path.split(b"/")[1:]:
            fd, old = os.open(part, os.O_RDONLY, dir_fd=fd), fd
            os.close(old)
        self.assertEqual(os.stat("f", dir_fd=fd).st_size, 4)
        os.close(fd)


class PartsAndHistory(Drill):
    def test_patterns_cross_folders_and_take_what_is_below(self):
        s = self.shelf.add(b"/p", "d", mtime=LONG_AGO).add(b"/p/q", "d").add(b"/o", "d")
        s.add(b"/p/q/1.jpg", content=b"1", on=["red"]).add(b"/p/q/2.txt", content=b"2", on=["red"]).add(b"/o/3.jpg", content=b"3", on=["red"])
        s.close()
        self.restore("*.jpg")
        self.assertEqual(os.listdir(self.at(b"/p/q")), [b"1.jpg"])
        self.assertEqual(os.listdir(self.at(b"/o")), [b"3.jpg"])
        self.assertEqual(os.lstat(self.at(b"/p")).st_mtime_ns, LONG_AGO, "folders on the way are as they were")
        shutil.rmtree(self.dest)
        self.restore("p")
        self.assertEqual((os.listdir(os.fsencode(self.dest)), sorted(os.listdir(self.at(b"/p/q")))), ([b"p"], [b"1.jpg", b"2.txt"]))
        self.assertIn(b"nothing in the catalog", self.restore("/nonsense", code=3))

    def test_an_older_snapshot_by_number_and_by_date(self):
        s = self.shelf.add(b"/old", content=b"old", on=["red"], died=2).add(b"/new", content=b"new", on=["red"], born=2)
        s.add(b"/both", content=b"1", on=["red"], died=2).add(b"/both", content=b"2", on=["red"], born=2)
        s.add(b"/was", "d", died=2).add(b"/was/in", content=b"in", on=["red"])
        s.add(b"/is", "d", born=2, node=s.nodes[b"/was"])           # moved: one row, the contents hang on the node
        s.close()
        for at, expected, both in (("1", [b"both", b"old", b"was"], b"1"), ("2001-09-10", [b"both", b"old", b"was"], b"1"),
                                   ("2", [b"both", b"is", b"new"], b"2"), (None, [b"both", b"is", b"new"], b"2")):
            self.restore(*(["--at", at] if at else []))
            self.assertEqual(sorted(os.listdir(os.fsencode(self.dest))), expected, at)
            self.assertEqual(self.read(b"/both"), both)
            shutil.rmtree(self.dest)
        self.assertIn(b"no snapshot 9", self.restore("--at", "9", code=1))
        self.assertIn(b"no snapshot as old", self.restore("--at", "1999-01-01", code=1))
        self.assertIn(b"2001-09-0", self.run_script("--snapshots"))

    def test_what_was_never_captured_is_said(self):
        s = self.shelf.add(b"/never", pending=1, size=9).add(b"/empty-pending", pending=1)
        s.add(b"/presumed", pending=1, object=s.content(b"same", "red"), size=4).close()
        said = self.restore(code=3)
        self.assertIn(b"/never: its content was never captured", said)
        self.assertIn(b"presumed unchanged when it was recorded, never confirmed: 1 times, first at /presumed", said)
        self.assertEqual(os.listdir(os.fsencode(self.dest)), [b"presumed"])


class SeveralDisks(Drill):
    def test_r5_one_disk_after_the_other_and_what_is_missing_names_its_disks(self):
        s = self.shelf.disk("green").add(b"/d", "d", mode=0o555).add(b"/d/r", content=b"r", on=["red"])
        s.add(b"/d/b", content=b"blue", on=["blue", "green"]).add(b"/d/never", content=b"nowhere").close()
        said = self.restore(code=3)
        self.assertIn(b"/d/b  (4 bytes, on: blue, green)", said)
        self.assertIn(b"/d/never  (7 bytes, on: no other disk of the catalog)", said)
        self.assertEqual(os.listdir(self.at(b"/d")), [b"r"])
        before = os.lstat(self.at(b"/d/r"))
        self.restore("/d/b", "/d/r", disks=("blue",))
        self.assertEqual(self.read(b"/d/b"), b"blue")
        self.assertEqual(os.lstat(self.at(b"/d/r")).st_ino, before.st_ino, "what is there is kept")
        self.assertEqual(stat.S_IMODE(os.lstat(self.at(b"/d")).st_mode), 0o555)
        self.assertIn(b"blue,green", self.run_script("--list"))

    def test_r1_a_rotten_object_is_not_delivered_and_the_next_disk_is_tried(self):
        s = self.shelf.add(b"/one", content=b"good content", on=["red", "blue"]).add(b"/two", content=b"only", on=["red"]).close()
        for content, rot in ((b"good content", b"bad! content"), (b"only", b"onlx")):
            with open(s.object_path("red", content), "wb") as file:
                file.write(rot)
        said = self.restore(code=4)
        self.assertIn(b"DAMAGED on red", said)
        self.assertIn(b"/one  (12 bytes, on: blue)", said)
        self.assertEqual(os.listdir(self.dest), [])
        self.restore(disks=("red", "blue"), code=4)
        self.assertEqual(os.listdir(self.dest), ["one"])
        self.assertEqual(self.read(b"/one"), b"good content")
        self.no_leftovers()

    def test_d15_an_object_that_is_a_symlink_or_a_folder_is_not_followed(self):
        s = self.shelf.add(b"/one", content=b"secret", on=["red"]).add(b"/two", content=b"two", on=["red"]).close()
        outside = os.path.join(self.folder, "outside")
        with open(outside, "wb") as file:
            file.write(b"secret")
        os.unlink(s.object_path("red", b"secret"))
        os.symlink(outside, s.object_path("red", b"secret"))
        os.unlink(s.object_path("red", b"two"))
        os.mkfifo(s.object_path("red", b"two"))
        self.restore(code=4)
        self.assertEqual(os.listdir(self.dest), [])

    def test_d7_d5_verify_finds_what_is_rotten_and_what_is_gone(self):
        s = self.shelf.add(b"/d", "d").add(b"/d/rot", content=b"rot", on=["red"]).add(b"/d/gone", content=b"gone", on=["red"])
        s.add(b"/d/good", content=b"good", on=["red"]).close()
        self.run_script("--verify")
        with open(s.object_path("red", b"rot"), "wb") as file:
            file.write(b"r0t")
        os.unlink(s.object_path("red", b"gone"))
        said = self.run_script("--verify", code=4)
        self.assertRegex(said, rb"does not have the content that its name promises; wanted for /d/rot")
        self.assertRegex(said, rb"is not there; wanted for /d/gone")
        self.assertIn(b"red: 1 objects are good", said)


class HostileAndDamaged(Drill):
    def test_c7_names_that_leave_the_destination_are_refused(self):
        s = self.shelf.add(b"/d", "d")
        # All of them end inside the temporary folder: a broken script must do no harm either.
        absolute = os.fsencode(os.path.join(self.folder, "absolute"))
        for number, name in enumerate((b"..", b".", b"a/b", b"../..", b"../../escaped", absolute, b"nul\0nul", b"")):
            s.nodes[b"/d/y"] = 50 + number
            s.add(b"/d/y", "d", name=name, node=50 + number).add(b"/d/y/escaped", content=b"evil", on=["red"])
            s.add(b"/d/x", content=b"evil", on=["red"], name=name, born=2)
        s.add(b"/d/good", content=b"good", on=["red"]).close()
        said = self.restore(code=3)
        self.assertIn(b"is no name that a file can have", said)
        self.assertEqual(os.listdir(self.dest), ["d"])
        self.assertEqual(os.listdir(self.at(b"/d")), [b"good"])
        self.assertEqual(sorted(os.listdir(self.folder)), ["blue", "dest", "made.sqlite", "red"])

    def test_c7_a_folder_inside_itself_ends(self):
        s = self.shelf.add(b"/d", "d")
        s.add(b"/d/again", "d", node=s.nodes[b"/d"]).add(b"/root", "d", node=1).close()
        self.assertIn(b"inside itself or in two places", self.restore(code=3))

    def test_c7_columns_of_the_wrong_type_are_reported(self):
        s = self.shelf.add(b"/good", content=b"good", on=["red"])
        s.add(b"/attrs", content=b"a", on=["red"])
        s.db.executescript("UPDATE metadata SET xattrs = x'ff00ff' WHERE id = 2; PRAGMA writable_schema = ON;"
                           "UPDATE sqlite_master SET sql = replace(sql, ' STRICT', '') WHERE sql LIKE '%WITHOUT ROWID%';"
                           "UPDATE sqlite_master SET sql = replace(sql, ', WITHOUT', ' WITHOUT') WHERE sql LIKE '%WITHOUT ROWID%';")
        s.db.commit()
        s.db.close()
        s.db = sqlite3.connect(os.path.join(self.folder, "made.sqlite"))
        for name, column, value in ((b"t1", "mtime_ns", "'soon'"), (b"t2", "kind", "'zz'"), (b"t3", "size", "x'00'"),
                                    (b"t4", "holes", "'h'"), (b"t5", "metadata", "'m'"), (b"t6", "object", "99999")):
            s.add(b"/" + name, content=b"t", on=["red"])
            s.db.execute("UPDATE entry SET %s = %s WHERE name = ?" % (column, value), (name,))
        s.add(b"/loose", "l").add(b"/dev", "c", target=b"x:y").add(b"/huge", "c", target=b"9" * 40 + b":1")
        s.close()
        said = self.restore(code=3)
        self.assertIn(b"extended attributes that are damaged", said)
        self.assertEqual(sorted(os.listdir(self.dest)), ["attrs", "good", "t5"])

    def test_r3_nothing_is_written_through_a_symlink(self):
        self.shelf.add(b"/d", "d").add(b"/d/f", content=b"f", on=["red"]).add(b"/s", "l", target=b"/", mode=0o777).close()
        outside = os.path.join(self.folder, "outside")
        os.mkdir(outside), os.mkdir(self.dest)
        os.symlink(outside, os.path.join(self.dest, "d"))
        self.assertIn(b"is not a folder, but should be one", self.restore(code=3))
        self.assertEqual(os.listdir(outside), [])
        self.restore("--overwrite")
        self.assertEqual((os.listdir(outside), self.read(b"/d/f")), ([], b"f"))
        self.assertFalse(os.path.islink(self.at(b"/d")))

    def test_r3_a_symlink_where_a_file_is_expected_is_not_followed(self):
        self.shelf.add(b"/f", content=b"f", on=["red"]).close()
        outside = os.path.join(self.folder, "outside")
        with open(outside, "wb") as file:
            file.write(b"f")
        os.chmod(outside, 0o600), os.mkdir(self.dest), os.symlink(outside, self.at(b"/f"))
        self.restore(code=3)
        self.restore("--overwrite")
        self.assertEqual((stat.S_IMODE(os.lstat(outside).st_mode), os.path.islink(self.at(b"/f"))), (0o600, False))

    def test_a_file_with_names_outside_the_destination_is_not_changed(self):
        self.shelf.add(b"/f", content=b"f", on=["red"], mode=0o777).close()
        outside = os.path.join(self.folder, "outside")
        with open(outside, "wb") as file:
            file.write(b"f")
        os.chmod(outside, 0o600), os.mkdir(self.dest), os.link(outside, self.at(b"/f"))
        self.restore()
        self.assertEqual(stat.S_IMODE(os.lstat(outside).st_mode), 0o600)

    def test_r2_another_file_of_that_name_is_kept_unless_told(self):
        s = self.shelf.add(b"/f", content=b"backup", on=["red"]).add(b"/g", content=b"g", on=["red"])
        s.add(b"/h1", content=b"h", on=["red"], link=1).add(b"/h2", content=b"h", on=["red"], link=1).close()
        os.makedirs(self.at(b"/g/mine"))
        for name in (b"f", b"h2"):
            with open(self.at(name), "wb") as file:
                file.write(b"myown!")           # as long as the backup's /f
        said = self.restore(code=3)
        self.assertIn(b"/f: another file of that name is in the destination; kept", said)
        self.assertEqual((self.read(b"/f"), self.read(b"/h2"), self.read(b"/h1")), (b"myown!", b"myown!", b"h"))
        self.restore("--overwrite", code=3)     # /g: a folder is never replaced
        self.assertEqual((self.read(b"/f"), self.read(b"/h2")), (b"backup", b"h"))
        self.assertTrue(os.path.isdir(self.at(b"/g/mine")))
        self.assertEqual(os.lstat(self.at(b"/h1")).st_ino, os.lstat(self.at(b"/h2")).st_ino)

    def test_c4_a_damaged_catalog_falls_back_to_the_previous_one(self):
        s = self.shelf.add(b"/f", content=b"f", on=["red"]).close()
        path = os.path.join(s.disks["red"], "distbackup.sqlite")
        with open(path, "rb") as file:
            whole = file.read()
        page = 4096 * (s.db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry_by_link'").fetchone()[0] - 1)
        hidden = whole[:page] + b"\xff" * 4096 + whole[page + 4096:]       # only a complete check sees this
        for damage in (b"", bytes(8192), whole[:9000], hidden, None):
            shutil.copy(os.path.join(s.disks["blue"], "distbackup.sqlite"), path + ".previous")
            os.path.exists(path) and os.unlink(path)
            if damage is not None:
                with open(path, "wb") as file:
                    file.write(damage)
            self.assertIn(b"is used instead of the newer catalog", self.restore(code=3))
            self.assertEqual(self.read(b"/f"), b"f")
            shutil.rmtree(self.dest)
        os.unlink(path + ".previous")
        self.assertIn(b"--by-hash", self.restore(code=1))
        self.restore(disks=("red", "blue"))     # another disk's catalog serves as well
        self.assertEqual(self.read(b"/f"), b"f")

    def test_catalogs_that_are_not_ours_are_named(self):
        s = self.shelf.add(b"/f", content=b"f", on=["red"])
        for setting, code, said in (("application_id = 0; PRAGMA user_version = 31", 1, b"distbackup 1.x"),
                                    ("application_id = 5; PRAGMA user_version = 100", 1, b"is not a catalog"),
                                    ("application_id = 0x64736232; PRAGMA user_version = 107", 0, b"trying all the same")):
            s.db.executescript("PRAGMA " + setting)
            s.close()
            self.assertIn(said, self.restore(code=code))
        s.db.executescript("PRAGMA user_version = 101; ALTER TABLE copy RENAME TO c2; CREATE VIEW copy AS SELECT * FROM c2")
        s.close()
        self.assertIn(b"the table copy is not there", self.restore(code=1))

    def test_a_disk_with_features_of_the_future_is_refused(self):
        self.shelf.add(b"/f", content=b"f", on=["red"]).close()
        with open(os.path.join(self.shelf.disks["red"], "distbackup-disk.json"), "w") as file:
            json.dump({"uuid": "u", "name": "red", "features_required": ["encrypted-1"]}, file)
        self.assertIn(b"encrypted-1", self.restore(code=1))

    def test_a_disk_to_which_nothing_was_copied_yet_is_told_from_a_folder_that_is_none(self):
        self.shelf.add(b"/f", content=b"f", on=["red"]).close()
        red = self.shelf.disks["red"]
        shutil.rmtree(os.path.join(red, "distbackup-objects"))
        os.remove(os.path.join(red, "distbackup-disk.json"))
        self.assertIn(b"is not a backup disk", self.restore(code=1))
        with open(os.path.join(red, "distbackup-disk.json"), "w") as file:
            json.dump({"uuid": "u", "name": "red"}, file)
        self.assertIn(b"is the backup disk red, and nothing was copied to it yet", self.restore(code=1))

    def test_the_disk_itself_is_no_destination_and_nothing_on_it_changes(self):
        s = self.shelf.add(b"/f", content=b"f", on=["red"]).close()
        look = lambda: sorted((f, n, os.lstat(os.path.join(f, n)).st_mtime_ns) for f, d, ns in os.walk(s.disks["red"]) for n in ns + d)
        before = look()
        self.run_script(os.path.join(s.disks["red"], "here"), code=1)
        self.restore()
        self.run_script("--list"), self.run_script("--verify")
        self.assertEqual(look(), before)
        self.run_script(code=2)

    def test_d17_a_file_too_large_for_the_destination_stops_nothing_else(self):
        self.shelf.add(b"/large", content=b"l" * 3_000_000, on=["red"]).add(b"/small", content=b"s", on=["red"]).close()
        said = self.restore(code=3, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        self.assertIn(b"/large: cannot be restored", said)
        self.assertEqual(os.listdir(self.dest), ["small"])

    def test_r7_a_destination_too_small_is_known_before_the_first_byte(self):
        s = self.shelf.add(b"/small", content=b"s", on=["red"]).add(b"/big", content=b"big", on=["red"])
        s.db.execute("UPDATE object SET size = 1 << 60 WHERE size = 3")
        s.close()
        self.assertIn(b"too small", self.restore(code=1))
        self.assertEqual(os.listdir(self.dest), [])
        self.restore("--ignore-space")


class WithoutACatalog(Drill):
    def test_c6_contents_by_hash_when_all_catalogs_are_lost(self):
        s = self.shelf
        s.content(b"one", "red"), s.content(b"two", "red"), s.content(b"three", "blue")
        with open(s.object_path("red", b"two"), "wb") as file:
            file.write(b"rot")
        self.restore("--by-hash", disks=("red", "blue"), code=4)
        names = sorted(hashlib.sha256(c).hexdigest() for c in (b"one", b"three"))
        self.assertEqual(sorted(os.listdir(self.dest)), names)
        shutil.rmtree(self.dest)
        self.restore("--fetch", hashlib.sha256(b"three").hexdigest(), disks=("blue",))
        self.assertEqual(self.read(hashlib.sha256(b"three").hexdigest().encode()), b"three")
        self.restore("--fetch", hashlib.sha256(b"never").hexdigest(), code=3)
        self.restore("--fetch", "../../etc/passwd", code=2)
        self.assertIn(b"checking without a catalog", self.run_script("--verify", code=4))


class WithoutThisScript(Drill):
    """RESTORE.txt promises commands that work with sqlite3, sh and cp; here they are run as they are printed there."""

    def test_the_commands_of_restore_txt_bring_everything_back(self):
        if not shutil.which("sqlite3"):
            skip(self, "sqlite3 is not installed")
        s = self.shelf.add(b"/it's", "d").add(b"/it's/a b$(x).jpg", content=b"iceland", on=["red"]).add(b"/it's/empty")
        s.add(b"/gone", content=b"gone", on=["red"], died=2).add(b"/far", content=b"far", on=["blue"]).close()
        with open(PROSE, encoding="utf-8") as file:
            blocks = re.findall(r"\n\n((?:    .*\n|\n(?=    ))+)", file.read())
        blocks = [re.sub(r"(?m)^    ", "", block) for block in blocks]
        run = lambda part: subprocess.run(["sh", "-e"], input=next(b for b in blocks if part in b).replace("/mnt/new", self.dest).replace(
            "{disk_name}", "red").encode(), cwd=s.disks["red"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.mkdir(self.dest)
        listing = run("/* every file */").stdout
        self.assertIn(hashlib.sha256(b"iceland").hexdigest().encode() + b"|7|/it's/a b$(x).jpg", listing)
        self.assertNotIn(b"/gone", listing)
        self.assertIn(b"/far|blue", run("/* not on this disk */").stdout)
        self.assertIn(b"1|2001-09-0", run("/* snapshots */").stdout)
        done = run("/* copy commands */")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr) # /far is on another disk
        self.assertFalse(os.path.exists(self.at(b"/far")))
        self.assertEqual(self.read(b"/it's/a b$(x).jpg"), b"iceland")
        self.assertEqual(self.read(b"/it's/empty"), b"")
        with open(s.object_path("red", b"iceland"), "wb") as file:
            file.write(b"rotten!")
        self.assertIn(hashlib.sha256(b"iceland").hexdigest().encode(), run("sha256sum").stdout)


if __name__ == "__main__":
    unittest.main()
