//! The real disk on real filesystems: the laws of the port, power cuts, full, read-only and small ones.
//!
//! Most of it needs root and loop devices; without them a test says loudly that it was skipped.

// A test that cannot set its stage has nothing better to do than to stop.
#![allow(clippy::unwrap_used)]

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use distbackup_core::model::{Bytes, DiskUuid, ObjectId};
use distbackup_engine::content::{Content, InMemory, LARGE_BYTES, Segment};
use distbackup_engine::disk::laws::{Bench, check_laws};
use distbackup_engine::disk::simulated::{Planted, PowerCut};
use distbackup_engine::disk::{Disk, DiskError, FolderDisk, Identity, Loose, StageError};
use distbackup_engine::hash::SourceFile;
use distbackup_engine::platform;

fn identity() -> Identity {
    Identity::new(DiskUuid("r".into()), "red", None)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// A filesystem in a file, or in memory; unmounted when it goes.
struct Mounted {
    image: PathBuf,
    point: PathBuf,
    mounted: bool,
    _room: tempfile::TempDir,
}

impl Mounted {
    /// Makes and mounts a filesystem, or says loudly why not.
    fn new(kind: &str, megabytes: u64) -> Option<Self> {
        match Self::try_new(kind, megabytes) {
            Ok(mounted) => Some(mounted),
            Err(why) => {
                eprintln!("SKIPPED: no {kind} filesystem can be made and mounted here: {}", why.trim());
                None
            }
        }
    }

    fn try_new(kind: &str, megabytes: u64) -> Result<Self, String> {
        let room = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (image, point) = (room.path().join("image"), room.path().join("mnt"));
        std::fs::create_dir(&point).map_err(|error| error.to_string())?;
        let mut mounted = Mounted { image, point, mounted: false, _room: room };
        if kind == "tmpfs" {
            run("mount", &["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs", mounted.point()])?;
            mounted.mounted = true;
            return Ok(mounted);
        }
        let file = std::fs::File::create(&mounted.image).map_err(|error| error.to_string())?;
        file.set_len(megabytes << 20).map_err(|error| error.to_string())?;
        let quiet: &[&str] = if kind == "vfat" { &[] } else { &["-q"] };
        run(&format!("mkfs.{kind}"), &[quiet, &[&mounted.image.to_string_lossy()]].concat())?;
        mounted.mount()?;
        Ok(mounted)
    }

    fn point(&self) -> &str {
        self.point.to_str().unwrap()
    }

    fn mount(&mut self) -> Result<(), String> {
        run("mount", &["-o", "loop", &self.image.to_string_lossy(), self.point()])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        run("umount", &[self.point()])?;
        self.mounted = false;
        Ok(())
    }

    /// Turns a bit over in the image where the first block of this content lies; the mounted filesystem is not told.
    fn rot_beneath(&self, content: &[u8]) -> bool {
        let image = std::fs::OpenOptions::new().read(true).write(true).open(&self.image).unwrap();
        let length = usize::try_from(image.metadata().unwrap().len()).unwrap();
        let mut all = vec![0; length];
        image.read_exact_at(&mut all, 0).unwrap();
        let Some(at) = (0..length).step_by(512).find(|at| all[*at..].starts_with(content)) else {
            return false;
        };
        image.write_all_at(&[all[at] ^ 1], at as u64).unwrap();
        true
    }

    /// The filesystem stops as if the power were gone: nothing in memory, not even its journal, is written any more.
    fn power_cut(&mut self) -> Result<(), String> {
        let shutdown = "import fcntl, os, struct, sys; \
            fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        run("python3", &["-c", shutdown, self.point()])?;
        self.unmount()?;
        self.mount()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mounted
            && let Err(why) = self.unmount()
        {
            eprintln!("{} stays mounted: {why}", self.point());
        }
    }
}

enum Place {
    Temporary(tempfile::TempDir),
    Mounted(Mounted),
}

/// How copies come in.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// In files without a name, if the filesystem has them.
    Unnamed,
    /// Under temporary names.
    Named,
    /// Under temporary names, and each is synced on its own.
    EachFile,
}

struct FolderBench {
    disk: Option<FolderDisk>,
    place: Place,
    way: Way,
    outside: tempfile::NamedTempFile,
}

impl FolderBench {
    fn new(place: Place, way: Way) -> Self {
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), b"precious").unwrap();
        let mut bench = FolderBench { disk: None, place, way, outside };
        drop(FolderDisk::create(&bench.folder(), &identity()).unwrap());
        bench.connect();
        bench
    }

    fn connect(&mut self) {
        let disk = FolderDisk::open(&self.folder()).unwrap();
        self.disk = Some(match self.way {
            Way::Unnamed => disk,
            Way::Named => disk.holding_unnamed(0),
            Way::EachFile => disk.syncing_each_file(),
        });
    }

    fn folder(&self) -> PathBuf {
        match &self.place {
            Place::Temporary(room) => room.path().join("red"),
            Place::Mounted(mounted) => mounted.point.join("red"),
        }
    }
}

impl Drop for FolderBench {
    fn drop(&mut self) {
        // Before the filesystem is unmounted.
        self.disk = None;
    }
}

impl Bench for FolderBench {
    fn disk(&self) -> &dyn Disk {
        self.disk.as_ref().unwrap()
    }

    fn power_cut(&mut self, _: PowerCut) -> bool {
        let Place::Mounted(mounted) = &mut self.place else { return false };
        self.disk = None;
        mounted.power_cut().unwrap();
        self.connect();
        true
    }

    fn fail_sync_after(&mut self, _: u64) -> bool {
        false
    }

    fn plant(&mut self, path: &str, what: Planted) -> bool {
        let path = self.folder().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // The incoming folder is there already, empty.
        let _made_room = std::fs::remove_dir(&path);
        match what {
            Planted::Symlink => symlink(self.outside.path(), path).unwrap(),
            Planted::Folder => std::fs::create_dir(path).unwrap(),
            Planted::File => std::fs::write(path, b"planted").unwrap(),
        }
        true
    }

    fn rot_beneath(&mut self, id: ObjectId) -> bool {
        let Place::Mounted(mounted) = &self.place else { return false };
        let name = id.hex();
        let content =
            std::fs::read(self.folder().join("distbackup-objects").join(&name[..3]).join(&name)).unwrap();
        mounted.rot_beneath(&content)
    }

    fn loose(&mut self, path: &str, content: &[u8]) -> Option<Loose> {
        let folder = Arc::new(platform::open_folder(&self.folder()).unwrap());
        std::fs::write(self.folder().join(path), content).unwrap();
        let stat = platform::stat_at(folder.as_fd(), path.as_bytes()).unwrap();
        Some(Loose { folder, name: path.into(), path: path.into(), stat })
    }

    fn link(&mut self, path: &str, new: &str) {
        std::fs::hard_link(self.folder().join(path), self.folder().join(new)).unwrap();
    }

    fn exists(&self, path: &str) -> bool {
        self.folder().join(path).symlink_metadata().is_ok()
    }

    fn outside_is_untouched(&self) -> bool {
        std::fs::read(self.outside.path()).is_ok_and(|content| content == b"precious")
    }
}

#[test]
fn a_folder_keeps_all_laws() {
    platform::raise_open_files_limit();
    for way in [Way::Unnamed, Way::Named, Way::EachFile] {
        let place = || Place::Temporary(tempfile::tempdir().unwrap());
        let make = || Box::new(FolderBench::new(place(), way)) as Box<dyn Bench>;
        assert_eq!(
            check_laws(&make).unwrap(),
            ["change the medium beneath", "cut the power", "let a sync fail"]
        );
    }
}

/// D2: the power is cut on a real filesystem, whose journal is not written either.
#[test]
fn d2_a_folder_keeps_all_laws_when_the_power_is_cut() {
    platform::raise_open_files_limit();
    for (kind, megabytes, way) in [
        ("ext4", 16, Way::Unnamed),
        ("ext4", 16, Way::Named),
        ("ext4", 16, Way::EachFile),
        ("xfs", 320, Way::Unnamed),
    ] {
        let Some(probe) = Mounted::new(kind, megabytes) else { continue };
        drop(probe);
        let place = || Place::Mounted(Mounted::new(kind, megabytes).unwrap());
        let make = || Box::new(FolderBench::new(place(), way)) as Box<dyn Bench>;
        assert_eq!(check_laws(&make).unwrap(), ["let a sync fail"], "{kind} {way:?}");
    }
}

#[test]
fn d2_a_published_catalog_and_the_one_before_survive_a_power_cut() {
    let Some(mounted) = Mounted::new("ext4", 16) else { return };
    let mut bench = FolderBench::new(Place::Mounted(mounted), Way::Unnamed);
    let local = tempfile::NamedTempFile::new().unwrap();
    let contents = [b"one", b"two"];
    for content in contents {
        std::fs::write(local.path(), content).unwrap();
        bench.disk().publish_catalog(local.path(), Box::new(|| Ok(()))).unwrap();
    }
    assert!(bench.power_cut(PowerCut::LoseAll));
    assert!(bench.disk().fetch_catalog(local.path()).unwrap());
    assert_eq!(std::fs::read(local.path()).unwrap(), contents[1]);
    assert!(bench.disk().fetch_previous_catalog(local.path()).unwrap());
    assert_eq!(std::fs::read(local.path()).unwrap(), contents[0]);
}

/// The opposite, so that the test above is known to cut: what was only staged and renamed by hand is lost.
#[test]
fn a_cut_of_power_really_loses_what_was_not_synced() {
    let Some(mut mounted) = Mounted::new("ext4", 16) else { return };
    std::fs::write(mounted.point.join("unsynced"), vec![1; 100_000]).unwrap();
    mounted.power_cut().unwrap();
    let left = std::fs::read(mounted.point.join("unsynced"));
    assert!(left.is_err() || left.is_ok_and(|content| content != vec![1; 100_000]));
}

fn incoming(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("distbackup-incoming")).map_or(0, Iterator::count)
}

#[test]
fn d4_a_full_disk_says_so_leaves_nothing_behind_and_takes_what_fits() {
    let Some(mounted) = Mounted::new("tmpfs", 1) else { return };
    let folder = mounted.point.join("red");
    let disk = FolderDisk::create(&folder, &identity()).unwrap();
    let catalog = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(catalog.path(), b"small").unwrap();
    let published = disk.publish_catalog(catalog.path(), Box::new(|| Ok(()))).unwrap();

    let error = disk.stage(&mut InMemory::new(&vec![1; 3 << 20])).unwrap_err();
    assert!(
        matches!(error, StageError::Disk(DiskError::Full { needed }) if needed >= Bytes(3 << 20)),
        "{error}"
    );
    std::fs::write(catalog.path(), vec![2; 2 << 20]).unwrap();
    assert!(matches!(disk.publish_catalog(catalog.path(), Box::new(|| Ok(()))), Err(DiskError::Full { .. })));
    assert_eq!(disk.catalog_hash(), Some(published));
    assert_eq!(incoming(&folder), 0);

    let staged = disk.stage(&mut InMemory::new(&[3; 100_000])).unwrap();
    disk.commit(vec![staged]).unwrap();
    let space = disk.space().unwrap();
    assert!(space.total == Bytes(1 << 20) && space.free < Bytes((1 << 20) - 100_000), "{space:?}");
}

#[test]
fn d9_a_disk_that_turns_read_only_says_so_and_can_still_be_read() {
    let Some(mounted) = Mounted::new("ext4", 16) else { return };
    let folder = mounted.point.join("red");
    let disk = FolderDisk::create(&folder, &identity()).unwrap();
    let staged = disk.stage(&mut InMemory::new(b"kept")).unwrap();
    let id = staged.id;
    disk.commit(vec![staged]).unwrap();
    // Files that are open for writing would refuse it.
    let disk = disk.holding_unnamed(0);
    let waiting = disk.stage(&mut InMemory::new(b"waiting")).unwrap();
    run("mount", &["-o", "remount,ro", mounted.point()]).unwrap();

    assert!(matches!(disk.stage(&mut InMemory::new(b"x")), Err(StageError::Disk(DiskError::ReadOnly))));
    assert!(disk.commit(vec![waiting]).is_err());
    assert!(matches!(disk.remove(id), Err(DiskError::ReadOnly)));
    assert!(matches!(disk.write_identity(&identity()), Err(DiskError::ReadOnly)));
    assert!(disk.open(id).unwrap().next_segment().unwrap().is_some());
    drop(disk);
    let again = FolderDisk::open(&folder).unwrap();
    assert!(again.open(id).is_ok() && again.identity().is_ok() && again.list_folder(0).is_ok());
}

/// D17: no file of 4 GiB, no hard links, no modes; all the rest works.
#[test]
fn d17_a_fat_disk_works_up_to_its_largest_file() {
    struct TooLarge(bool);
    impl Content for TooLarge {
        fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
            Ok((!std::mem::replace(&mut self.0, true)).then_some(Segment::Zeros(4 << 30)))
        }
    }
    let Some(mounted) = Mounted::new("vfat", 64) else { return };
    let folder = mounted.point.join("red");
    let disk = FolderDisk::create(&folder, &identity()).unwrap();
    assert_eq!(disk.space().unwrap().file_max, Bytes((4 << 30) - 1));
    assert!(matches!(disk.stage(&mut TooLarge(false)), Err(StageError::Disk(DiskError::TooLarge { .. }))));
    let staged = disk.stage(&mut InMemory::new(b"fits")).unwrap();
    disk.commit(vec![staged]).unwrap();
    let catalog = tempfile::NamedTempFile::new().unwrap();
    for content in [b"one", b"two"] {
        std::fs::write(catalog.path(), content).unwrap();
        disk.publish_catalog(catalog.path(), Box::new(|| Ok(()))).unwrap();
    }
    assert_eq!(std::fs::read(folder.join("distbackup.sqlite.previous")).unwrap(), b"one");
    assert_eq!(incoming(&folder), 0);
}

/// What is mounted below the disk's folder is not the disk: its sync would not reach it.
#[test]
fn d15_another_filesystem_in_the_place_of_the_objects_is_not_entered() {
    let Some(disk_place) = Mounted::new("tmpfs", 4) else { return };
    let folder = disk_place.point.join("red");
    let disk = FolderDisk::create(&folder, &identity()).unwrap();
    let objects = folder.join("distbackup-objects");
    std::fs::create_dir(&objects).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", objects.to_str().unwrap()]).unwrap();
    let listed = disk.list_folder(0);
    let committed = disk.stage(&mut InMemory::new(b"x")).map(|staged| disk.commit(vec![staged]));
    run("umount", &[objects.to_str().unwrap()]).unwrap();
    assert!(matches!(listed, Err(DiskError::Foreign { .. })));
    assert!(matches!(committed, Ok(Err(DiskError::Foreign { .. }))));
    drop(disk);
}

#[test]
fn the_largest_file_is_known_without_writing_one() {
    for (kind, megabytes) in [("ext4", 16), ("xfs", 320), ("btrfs", 128), ("tmpfs", 1)] {
        let Some(mounted) = Mounted::new(kind, megabytes) else { continue };
        let disk = FolderDisk::create(&mounted.point.join("red"), &identity()).unwrap();
        let largest = disk.space().unwrap().file_max;
        eprintln!("{kind}: {largest}");
        assert!(largest >= Bytes(1 << 40), "{kind}: {largest}");
        drop(disk);
    }
}

/// A content of which the disk hears in advance how large it will be; it may be wrong.
struct Announced<'a> {
    parts: Vec<&'a [u8]>,
    bytes: u64,
}

impl Content for Announced<'_> {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        Ok((!self.parts.is_empty()).then(|| Segment::Data(self.parts.remove(0))))
    }

    fn probable_bytes(&self) -> u64 {
        self.bytes
    }
}

/// So many bytes without a pattern that a mistake in their order would leave as it is.
fn bytes(length: usize) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Whether the system has the beginning of a file in memory.
fn is_in_memory(file: &Path) -> bool {
    let file = std::fs::File::open(file).unwrap();
    let mut byte = [0];
    let mut parts = [io::IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(&file, &mut parts, 0, rustix::io::ReadWriteFlags::NOWAIT).is_ok()
}

/// D2: what was read from sources of all lengths is there after the power was cut, in memory at no time, and took no more room
/// than it needs.
#[test]
fn d2_large_contents_go_straight_to_the_medium_and_come_whole() {
    const LARGE: usize = LARGE_BYTES as usize;
    let room = tempfile::tempdir().unwrap();
    for (kind, megabytes) in [("ext4", 96), ("xfs", 320), ("btrfs", 256)] {
        let Some(mounted) = Mounted::new(kind, megabytes) else { continue };
        let straight = kind != "btrfs" && !platform::is_rotational(&mounted.point);
        if kind != "btrfs" && !straight {
            eprintln!("SKIPPED: the drive here rotates, so {kind} is written through memory");
        }
        let mut bench = FolderBench::new(Place::Mounted(mounted), Way::Unnamed);
        assert_eq!(bench.disk().takes_large_together(), straight, "{kind}");
        let mut stored = Vec::new();
        for length in [LARGE - 1, LARGE, LARGE + 1, LARGE + 4096, 2 * LARGE + 70_001] {
            let content = bytes(length);
            let source = room.path().join(length.to_string());
            std::fs::write(&source, &content).unwrap();
            let staged = bench.disk().stage(&mut SourceFile::open(&source).unwrap()).unwrap();
            assert_eq!(staged.size, Bytes(length as u64));
            stored.push((staged.id, content));
            bench.disk().commit(vec![staged]).unwrap();
        }
        for (number, (id, content)) in stored.iter().enumerate() {
            let name = id.hex();
            let object = bench.folder().join("distbackup-objects").join(&name[..3]).join(&name);
            let blocks = std::os::unix::fs::MetadataExt::blocks(&object.metadata().unwrap());
            assert!(blocks * 512 <= content.len() as u64 + (64 << 10), "{kind} {}: {blocks}", content.len());
            if straight && number > 0 {
                assert!(!is_in_memory(&object), "{kind} {}", content.len());
            }
        }
        // Shutting down is what the kernel offers for ext4 and XFS.
        if kind != "btrfs" {
            assert!(bench.power_cut(PowerCut::LoseAll));
        }
        for (id, content) in stored {
            let mut all = Vec::new();
            assert!(bench.disk().open(id).unwrap().append_to(&mut all, u64::MAX).unwrap());
            assert!(all == content, "{kind} {}", content.len());
        }
    }
}

/// Whatever was announced: what comes counts, in parts of any length, and room that was set aside for more is free again.
#[test]
fn d4_a_content_that_is_not_as_announced_comes_whole_and_takes_what_it_needs() {
    for (kind, megabytes) in [("ext4", 64), ("xfs", 320)] {
        let Some(mounted) = Mounted::new(kind, megabytes) else { continue };
        let folder = mounted.point.join("red");
        let disk = FolderDisk::create(&folder, &identity()).unwrap();
        let free = || disk.space().unwrap().free.0;
        let content = bytes(3 << 20);
        let (first, rest) = content.split_at(1 << 20);
        let (odd, last) = rest.split_at(1001);
        for (announced, parts) in [
            (30 << 20, vec![first, odd, last]),
            (5 << 20, vec![&content[..]]),
            (4 << 20, content.chunks(4096).collect()),
        ] {
            let before = free();
            let staged = disk.stage(&mut Announced { parts, bytes: announced }).unwrap();
            let id = staged.id;
            disk.commit(vec![staged]).unwrap();
            let mut all = Vec::new();
            disk.open(id).unwrap().append_to(&mut all, u64::MAX).unwrap();
            assert!(all == content, "{kind}");
            disk.sync().unwrap();
            assert!(before - free() <= (3 << 20) + (1 << 20), "{kind}: {} bytes are gone", before - free());
            disk.remove(id).unwrap();
            disk.sync().unwrap();
        }
        // More than there is room for, whether it comes or not.
        let error = disk.stage(&mut Announced { parts: vec![&content; 200], bytes: 600 << 20 }).unwrap_err();
        assert!(matches!(error, StageError::Disk(DiskError::Full { .. })), "{kind}: {error}");
        assert_eq!(incoming(&folder), 0);
        let staged = disk.stage(&mut Announced { parts: vec![&content], bytes: 600 << 20 }).unwrap();
        disk.commit(vec![staged]).unwrap();
        drop(disk);
    }
}
