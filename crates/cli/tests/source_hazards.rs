//! Accidents with the sources, as the user of the command line meets them. What changes meanwhile stands in
//! `source_changes.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{World, chmod, noise, object, objects_on};
use distbackup_testkit::compare::Compare;
use distbackup_testkit::mounts::{Filesystem, LoopDisk};
use distbackup_testkit::{or_skip, tree};

/// Gives a file the modification time of another moment, to the nanosecond.
fn set_mtime(file: &Path, seconds: u64, nanoseconds: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

/// A world with three files on one disk, and a second tree like its source.
fn three_files_on_red() -> World {
    let world = World::new();
    for name in ["one", "folder/two", "folder/three"] {
        world.write(name, name);
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    world
}

#[test]
fn s1_an_empty_source_is_not_a_deleted_one() {
    let world = three_files_on_red();
    let away = world.place("unmounted");
    fs::rename(world.source(), &away).unwrap();
    fs::create_dir(world.source()).unwrap();
    let before = world.files();

    world.dsb.run(["update"]).code(3).warns("is its filesystem mounted?").warns("dsb update --accept");
    assert_eq!(world.files(), before, "nothing is retired");
    world.dsb.run(["backup", "--update", "red"]).code(3);
    assert_eq!(objects_on(&world.place("red")).len(), 3, "nothing is deleted");
    assert_eq!(object(&world.dsb.run(["--json", "update"]).code(3), "update")["removed"], 0);
    world.restores(&away, Compare::CONTENT);

    // The filesystem is mounted again: all is as it was, and nothing has to be read again.
    fs::remove_dir(world.source()).unwrap();
    fs::rename(&away, world.source()).unwrap();
    let update = object(&world.dsb.run(["--json", "update"]).ok(), "update");
    assert_eq!((update["hashed_files"].as_u64(), update["removed"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn s1_a_source_that_is_not_there_is_not_a_deleted_one() {
    let world = three_files_on_red();
    fs::rename(world.source(), world.place("away")).unwrap();
    let before = world.files();
    world.dsb.run(["update"]).code(3).warns("/data").silent_about("removed");
    assert_eq!(world.files(), before);
    // A file where the folder was is no folder either.
    fs::write(world.source(), "not a folder").unwrap();
    world.dsb.run(["update"]).code(3);
    assert_eq!(world.files(), before);
}

#[test]
fn s1_an_emptied_source_is_believed_once_the_user_says_so() {
    let world = three_files_on_red();
    fs::remove_dir_all(world.source()).unwrap();
    fs::create_dir(world.source()).unwrap();
    world.dsb.run(["update", "--accept"]).ok();
    assert!(world.files().is_empty());
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(objects_on(&world.place("red")).len(), 3, "what left the tree stays kept as history");
}

/// A filesystem that is also seen at another place, until this value goes.
struct Bound(PathBuf);

impl Bound {
    fn at(place: &Path, filesystem: &LoopDisk) -> Bound {
        let done = Command::new("mount").arg("--bind").args([filesystem.path(), place.to_owned()]).status();
        assert!(done.unwrap().success(), "mount --bind");
        Bound(place.to_owned())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "umount");
    }
}

#[test]
fn s2_a_filesystem_below_the_source_that_is_not_mounted_is_not_a_deleted_folder() {
    let card = or_skip!(LoopDisk::new(Filesystem::Ext4, 16 << 20));
    fs::write(card.path().join("photo"), "photo").unwrap();
    let world = three_files_on_red();
    let place = world.source().join("card");
    fs::create_dir(&place).unwrap();
    let mounted = Bound::at(&place, &card);
    world.update_and_back_up("red");
    let before = world.files();
    assert!(before.contains(&"/data/card/photo".to_owned()), "{before:?}");

    drop(mounted);
    world.write("new", "new");
    world.dsb.run(["update"]).code(3).warns("/data/card").warns("is its own mounted?");
    let now = world.files();
    assert!(before.iter().all(|path| now.contains(path)), "nothing below it is retired: {now:?}");
    assert!(now.contains(&"/data/new".to_owned()), "and all else is updated");
    world.dsb.run(["backup", "--update", "red"]).code(3);
    assert_eq!(world.holders("/data/card/photo"), ["red"]);

    let _mounted = Bound::at(&place, &card);
    let update = object(&world.dsb.run(["--json", "update"]).ok(), "update");
    assert_eq!((update["hashed_files"].as_u64(), update["removed"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn s4_a_file_that_rots_in_the_source_is_named_and_never_takes_the_place_of_the_good_copy() {
    const WHOLE: &[u8] = b"the picture of the day on which nobody knew it would matter";
    let mut card = or_skip!(LoopDisk::new(Filesystem::Ext4, 16 << 20));
    fs::write(card.path().join("picture"), WHOLE).unwrap();
    fs::write(card.path().join("another"), "another").unwrap();
    let world = World::empty();
    world.map("/data", &card.path());
    for disk in ["red", "blue"] {
        world.add_disk(disk, None);
    }
    world.update_and_back_up("red");

    // The medium turns a bit over: size, times and inode stay as they were.
    card.unmount();
    let image = fs::read(card.image()).unwrap();
    let at = image.windows(WHOLE.len()).position(|window| window == WHOLE).unwrap();
    let file = fs::File::options().write(true).open(card.image()).unwrap();
    file.write_all_at(&[WHOLE[4] ^ 4], at as u64 + 4).unwrap();
    drop(file);
    card.mount();
    assert_ne!(fs::read(card.path().join("picture")).unwrap(), WHOLE, "the test needs a file that is rotten");

    world.dsb.run(["update"]).ok();
    let run = world.dsb.run(["backup", "blue"]).code(3);
    run.warns("/data/picture").warns("the source may be damaged");
    assert_eq!(world.holders("/data/picture"), ["red"], "the rotten content is stored nowhere");
    assert_eq!(world.holders("/data/another"), ["blue", "red"]);
    let to = world.restored(&[]);
    assert_eq!(fs::read(to.path().join("data/picture")).unwrap(), WHOLE);
}

#[test]
fn s5_another_size_with_the_old_mtime_is_a_change() {
    let world = World::new();
    let file = world.write("film", "short");
    set_mtime(&file, 1_500_000_000, 7);
    world.add_disk("red", None);
    world.update_and_back_up("red");

    fs::write(&file, "somewhat longer").unwrap();
    set_mtime(&file, 1_500_000_000, 7);
    let update = object(&world.dsb.run(["--json", "update"]).ok(), "update");
    assert_eq!((update["changed"].as_u64(), update["hashed_files"].as_u64()), (Some(1), Some(1)));
    world.dsb.run(["backup", "red"]).ok();
    world.restores(&world.source(), Compare::as_far_as_possible());
    let old = world.restored(&["--at", "1"]);
    assert_eq!(fs::read(old.path().join("data/film")).unwrap(), b"short", "the old content is history");
}

#[test]
fn s5_a_change_within_the_same_second_is_a_change() {
    let world = World::new();
    let file = world.write("note", "before");
    set_mtime(&file, 1_500_000_000, 7);
    world.add_disk("red", None);
    world.update_and_back_up("red");
    // The same inode and size, and an mtime that differs in its last digit.
    fs::write(&file, "after!").unwrap();
    set_mtime(&file, 1_500_000_000, 8);
    world.update_and_back_up("red");
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn s5_a_change_that_only_the_ctime_tells_is_found_by_every_kind_of_update() {
    for arguments in [["update"].as_slice(), &["backup", "--update", "red"]] {
        let world = World::new();
        let file = world.write("note", "before");
        set_mtime(&file, 1_500_000_000, 7);
        world.add_disk("red", None);
        world.update_and_back_up("red");
        fs::write(&file, "after!").unwrap();
        set_mtime(&file, 1_500_000_000, 7);
        world.dsb.run(arguments).ok();
        world.dsb.run(["backup", "red"]).ok();
        world.restores(&world.source(), Compare::as_far_as_possible());
    }
}

/// Two memory cards out of one factory: the same names, inodes, sizes and times, other pictures.
fn twin_cards() -> Option<(LoopDisk, LoopDisk)> {
    let cards = (LoopDisk::new(Filesystem::Ext4, 8 << 20)?, LoopDisk::new(Filesystem::Ext4, 8 << 20)?);
    for (card, seed) in [(&cards.0, 1), (&cards.1, 2)] {
        let file = card.path().join("IMG_0001");
        fs::write(&file, noise(5000, seed)).unwrap();
        fs::hard_link(&file, card.path().join("IMG_0001 again")).unwrap();
        set_mtime(&file, 1_500_000_000, 0);
    }
    let inode = |card: &LoopDisk| fs::metadata(card.path().join("IMG_0001")).unwrap().ino();
    assert_eq!(inode(&cards.0), inode(&cards.1), "the test needs two files that look the same");
    Some(cards)
}

#[test]
fn s6_files_that_look_the_same_on_two_filesystems_are_two_files() {
    let (first, second) = or_skip!(twin_cards());
    let world = World::empty();
    world.map("/first", &first.path());
    world.map("/second", &second.path());
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let hash = |vpath: &str| world.whereabouts(vpath)["sha256"].as_str().unwrap().to_owned();
    assert_ne!(hash("/first/IMG_0001"), hash("/second/IMG_0001"));
    let to = world.restored(&[]);
    for (card, name) in [(&first, "first"), (&second, "second")] {
        let read = |folder: &Path| fs::read(folder.join("IMG_0001 again")).unwrap();
        assert_eq!(read(&to.path().join(name)), read(&card.path()));
        let links = fs::metadata(to.path().join(name).join("IMG_0001")).unwrap().nlink();
        assert_eq!(links, 2, "linked within its card, and not across");
    }
}

#[test]
fn s6_another_card_in_the_same_place_is_first_refused_and_then_read() {
    let (first, second) = or_skip!(twin_cards());
    let world = World::empty();
    let card = world.place("card");
    std::os::unix::fs::symlink(first.path(), &card).unwrap();
    world.map("/card", &card);
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let hash = || world.whereabouts("/card/IMG_0001")["sha256"].as_str().unwrap().to_owned();
    let of_the_first = hash();

    fs::remove_file(&card).unwrap();
    std::os::unix::fs::symlink(second.path(), &card).unwrap();
    world.dsb.run(["update"]).code(3).warns("another filesystem");
    assert_eq!(hash(), of_the_first, "what is known of the first card is kept");
    world.dsb.run(["update", "--accept"]).ok();
    assert_ne!(hash(), of_the_first, "path, inode, size and mtime agree, and yet it is another file");
    world.dsb.run(["backup", "red"]).ok();
    let to = world.restored(&[]);
    let read = |folder: &Path| fs::read(folder.join("IMG_0001")).unwrap();
    assert_eq!(read(&to.path().join("card")), read(&second.path()));
    let to = world.restored(&["--at", "1"]);
    assert_eq!(read(&to.path().join("card")), read(&first.path()));
}

#[test]
fn s6_a_file_that_appears_on_another_filesystem_has_not_moved_there() {
    let (first, second) = or_skip!(twin_cards());
    let world = World::empty();
    let (old, new) = (first.path().join("only here"), second.path().join("new here"));
    for (file, seed) in [(&old, 3), (&new, 4)] {
        fs::write(file, noise(3000, seed)).unwrap();
        set_mtime(file, 1_600_000_000, 0);
    }
    assert_eq!(fs::metadata(&old).unwrap().ino(), fs::metadata(&new).unwrap().ino(), "for the test");
    let pictures = second.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    world.map("/first", &first.path());
    world.map("/second", &pictures);
    world.dsb.run(["update"]).ok();
    let hash = |vpath: &str| world.whereabouts(vpath)["sha256"].as_str().unwrap().to_owned();
    let of_the_old = hash("/first/only here");

    fs::remove_file(old).unwrap();
    fs::rename(new, pictures.join("new here")).unwrap();
    let update = object(&world.dsb.run(["--json", "update"]).ok(), "update");
    assert_eq!((update["moved"].as_u64(), update["hashed_files"].as_u64()), (Some(0), Some(1)));
    assert_ne!(hash("/second/new here"), of_the_old);
}

#[test]
fn s7_one_file_that_cannot_be_read_does_not_keep_the_others_from_the_backup() {
    let world = or_skip!(World::of_ordinary_user());
    for name in ["readable", "folder/also readable", "folder/locked", "zz last"] {
        world.write(name, name);
    }
    chmod(&world.source().join("folder/locked"), 0);
    world.add_disk("red", None);
    for update in [["update"].as_slice(), &["backup", "--update", "red"]] {
        world.dsb.run(update).code(3).warns("/data/folder/locked").silent_about("/data/readable");
    }
    assert_eq!(object(&world.dsb.run(["--json", "update"]).code(3), "update")["problems"], 1);
    assert_eq!(objects_on(&world.place("red")).len(), 3, "all others are backed up");
    assert_eq!(world.status()["pending"]["files"], 1, "what is unprotected is said");

    // Once it can be read, it is taken.
    chmod(&world.source().join("folder/locked"), 0o600);
    world.update_and_back_up("red");
    world.restores(&world.source(), Compare::ORDINARY_USER);
}

#[test]
fn s7_a_file_that_cannot_be_read_any_more_keeps_its_last_content() {
    let world = or_skip!(World::of_ordinary_user());
    let file = world.write("diary", "as it was");
    world.write("other", "other");
    world.add_disk("red", None);
    world.update_and_back_up("red");
    // A new mode renews the ctime, so the file is to be read again, and cannot be.
    chmod(&file, 0);
    world.dsb.run(["backup", "--update", "red"]).code(3).warns("/data/diary");
    assert_eq!(world.holders("/data/diary"), ["red"], "what is known of it still counts");
    assert_eq!(objects_on(&world.place("red")).len(), 2);
}

#[test]
fn s10_names_that_are_no_text_come_back_byte_for_byte_and_steer_no_terminal() {
    let world = World::new();
    tree::names(&world.source().join("names")).unwrap();
    world.add_disk("red", None);
    for arguments in [["-vv", "update"].as_slice(), &["backup", "red"], &["ls"], &["--json", "ls"]] {
        world.dsb.run(arguments).ok().harmless();
    }
    world.restores(&world.source(), Compare::as_far_as_possible());
    // Each name as it is shown can be told apart from all others.
    let mut shown = world.files();
    let count = shown.len();
    shown.sort();
    shown.dedup();
    assert_eq!(shown.len(), count);
    // And a raw name can be asked for.
    let raw = [b"/data/names/", [0xfd; 255].as_slice()].concat();
    let asked = world.dsb.run([OsStr::new("where"), OsStr::from_bytes(&raw)]).ok().harmless();
    asked.says("red");
}

#[test]
fn s10_trouble_with_an_odd_name_is_told_escaped() {
    let world = or_skip!(World::of_ordinary_user());
    let file = world.write("\x1b[2Jcleared\nnext line", "hidden");
    chmod(&file, 0);
    world.add_disk("red", None);
    world.dsb.run(["update"]).code(3).harmless().warns("cleared\\nnext line");
    world.dsb.run(["backup", "--update", "red"]).code(3).harmless();
    world.dsb.run(["status"]).ok().harmless();
    world.dsb.run(["log"]).ok().harmless();
}

#[test]
fn s12_a_folder_that_cannot_be_listed_is_not_deleted() {
    let world = or_skip!(World::of_ordinary_user());
    for name in ["open/one", "locked/two", "locked/below/three"] {
        world.write(name, name);
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let (before, locked) = (world.files(), world.source().join("locked"));
    fs::remove_file(world.source().join("open/one")).unwrap();
    // Neither listed nor entered; listed only, so that no name in it can be looked at; entered only.
    for mode in [0o000, 0o444, 0o111] {
        chmod(&locked, mode);
        let update = object(&world.dsb.run(["--json", "update"]).code(3), "update");
        assert_ne!(update["problems"].as_u64(), Some(0), "mode {mode:o}");
        assert_eq!(world.files(), before[..2], "mode {mode:o}");
        world.dsb.run(["backup", "--update", "red"]).code(3).warns("/data/locked");
        assert_eq!(objects_on(&world.place("red")).len(), 3, "mode {mode:o}");
    }
    chmod(&locked, 0o755);
    let update = object(&world.dsb.run(["--json", "update"]).ok(), "update");
    assert_eq!(update["hashed_files"], 0, "all is as it was");
    world.restores(&world.source(), Compare::ORDINARY_USER);
}

#[test]
fn s13_of_one_source_mapped_below_another_the_inner_one_wins() {
    let world = World::new();
    for name in ["outer", "raw/hidden by the mapping", "a file in the way"] {
        world.write(name, name);
    }
    let cards = world.place("cards");
    fs::create_dir(&cards).unwrap();
    fs::write(cards.join("picture"), "picture").unwrap();
    world.map("/data/raw", &cards);
    world.map("/data/a file in the way/deeper", &cards);
    let update = object(&world.dsb.run(["--json", "update"]).ok(), "update");
    assert_eq!(world.files(), ["/data/a file in the way/deeper/picture", "/data/outer", "/data/raw/picture"]);
    assert_eq!(update["hashed_files"], 3, "what is hidden is not read");
    // No mapping, no news: each place was recorded once.
    assert!(object(&world.dsb.run(["--json", "update"]).ok(), "update")["snapshot"].is_null());

    world.add_disk("red", None);
    world.dsb.run(["backup", "red"]).ok();
    let to = world.restored(&[]);
    assert_eq!(fs::read(to.path().join("data/raw/picture")).unwrap(), b"picture");
    // Without the inner mapping the outer source shows what it had there all the time.
    world.dsb.run(["source", "unmap", "/data/raw"]).ok();
    world.dsb.run(["source", "unmap", "/data/a file in the way/deeper"]).ok();
    world.dsb.run(["update"]).ok();
    assert_eq!(world.files(), ["/data/a file in the way", "/data/outer", "/data/raw/hidden by the mapping"]);
}

#[test]
fn s13_an_inner_source_that_is_away_keeps_what_it_had_and_lets_nothing_shine_through() {
    let world = World::new();
    world.write("raw/hidden by the mapping", "hidden");
    let cards = world.place("cards");
    fs::create_dir(&cards).unwrap();
    fs::write(cards.join("picture"), "picture").unwrap();
    world.map("/data/raw", &cards);
    world.dsb.run(["update"]).ok();
    fs::rename(&cards, world.place("away")).unwrap();
    world.dsb.run(["update"]).code(3).warns("/data/raw");
    assert_eq!(world.files(), ["/data/raw/picture"]);
}

#[test]
fn s14_symlink_loops_fifos_sockets_and_devices_are_recorded_and_never_opened() {
    let world = World::new();
    // A fifo that is opened for reading waits for ever: then this test would hang.
    tree::special(&world.source().join("special")).unwrap();
    tree::symlinks(&world.source().join("symlinks")).unwrap();
    std::os::unix::fs::symlink(world.source(), world.source().join("to the source itself")).unwrap();
    world.add_disk("red", None);
    let update = object(&world.dsb.run(["--json", "update"]).ok(), "update");
    assert_eq!(update["sockets"], 1, "a socket is reported and left out");
    assert_eq!(update["files"], 1, "links are not followed");
    world.dsb.run(["backup", "red"]).ok();
    world.restores(&world.source(), Compare::as_far_as_possible());

    // What was a file yesterday is a fifo today: it is not opened by its old description.
    let file = world.write("becomes a fifo", "content");
    world.dsb.run(["update"]).ok();
    fs::remove_file(&file).unwrap();
    tree::special(&world.place("more")).unwrap();
    fs::rename(world.place("more/fifo"), &file).unwrap();
    world.dsb.run(["backup", "red"]).code(3).warns("/data/becomes a fifo");
}
