//! The laws of the disk port as one suite, for every implementation (STYLE 7).
//!
//! The suite returns the first law that it finds broken. It is tested itself: for every law there is a
//! simulated disk that breaks it on purpose. What a bench cannot do (cut the power of a real disk) is told, not hidden.

use distbackup_core::model::{Bytes, ObjectId};
use sha2::Digest as _;

use super::layout;
use super::port::{Disk, DiskError, Listed, Loose, OwnName, Staged, Taken};
use super::simulated::{Planted, PowerCut, SimulatedDisk};
use crate::content::{Content, InMemory, Segment};

/// A disk on the workbench: what the suite does to it from outside. Methods that the bench cannot do return `false`.
pub trait Bench {
    /// The disk, connected.
    fn disk(&self) -> &dyn Disk;
    /// Cuts the power and connects the disk anew.
    fn power_cut(&mut self, cut: PowerCut) -> bool;
    /// Lets the next sync fail, or the one after `passed` more.
    fn fail_sync_after(&mut self, passed: u64) -> bool;
    /// Puts something at `path` below the disk's folder, making folders on the way; a symlink leads to a file outside.
    fn plant(&mut self, path: &str, what: Planted) -> bool;
    /// Turns a bit of a committed object over on the medium, and leaves alone what memory remembers of it.
    fn rot_beneath(&mut self, _id: ObjectId) -> bool {
        false
    }
    /// Makes an ordinary file below the disk's folder, or changes the one that is there, and does not make it durable;
    /// `None`: the bench cannot.
    fn loose(&mut self, _path: &str, _content: &[u8]) -> Option<Loose> {
        None
    }
    /// Gives an ordinary file a second name.
    fn link(&mut self, _path: &str, _new: &str) {}
    /// Whether anything, a symlink too, bears this name below the disk's folder.
    fn exists(&self, path: &str) -> bool;
    /// Whether the file outside is still what it was.
    fn outside_is_untouched(&self) -> bool;
}

/// A law that an implementation breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("law {law}: {what}")]
pub struct Broken {
    /// Its number in the documentation of [`Disk`].
    pub law: u8,
    /// What happened.
    pub what: String,
}

/// Checks all laws, each on disks fresh from `make`; returns what the bench could not do.
pub fn check_laws(make: &dyn Fn() -> Box<dyn Bench>) -> Result<Vec<&'static str>, Broken> {
    let mut skipped = Vec::new();
    what_is_committed_survives(make, &mut skipped)?;
    beside_the_objects_too(make, &mut skipped)?;
    a_failed_commit_promises_nothing(make, &mut skipped)?;
    staged_content_is_invisible(make)?;
    only_objects_are_removed(make, &mut skipped)?;
    nothing_outside_is_touched(make, &mut skipped)?;
    reading_back_asks_the_medium(make, &mut skipped)?;
    what_is_taken_in_survives(make, &mut skipped)?;
    what_is_not_what_was_read_is_left(make, &mut skipped)?;
    skipped.sort_unstable();
    skipped.dedup();
    Ok(skipped)
}

const CONTENTS: [&[u8]; 4] =
    [b"iceland", b"rome", b"a longer one, so that a part of it can be missing", b"\0\0\0"];

/// Power cuts that every promise has to survive: everything lost, or some of it in some order.
const CUTS: [PowerCut; 5] = [
    PowerCut::LoseAll,
    PowerCut::Keep { seed: 1 },
    PowerCut::Keep { seed: 2 },
    PowerCut::Keep { seed: 3 },
    PowerCut::Keep { seed: 4 },
];

fn ensure(law: u8, holds: bool, what: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { law, what: what.to_owned() }) }
}

/// The disk has no reason to fail here.
fn works<T, E: std::fmt::Display>(law: u8, result: Result<T, E>) -> Result<T, Broken> {
    result.map_err(|error| Broken { law, what: format!("failed without a reason: {error}") })
}

/// Stages a content: every other one by its length as one that was hashed before.
fn stage(law: u8, disk: &dyn Disk, content: &[u8]) -> Result<Staged, Broken> {
    match content.len() % 2 {
        0 => works(law, disk.stage(&mut InMemory::new(content))),
        _ => works(law, disk.stage_hashed(ObjectId(sha2::Sha256::digest(content).into()), content)),
    }
}

/// Reads an object, or says why not.
fn read(disk: &dyn Disk, id: ObjectId) -> Result<Vec<u8>, String> {
    read_all(disk.open(id).map_err(|error| error.to_string())?.as_mut())
}

/// Reads an object from the medium, or says why not.
fn read_back(disk: &dyn Disk, id: ObjectId) -> Result<Vec<u8>, String> {
    read_all(disk.read_back(id).map_err(|error| error.to_string())?.content.as_mut())
}

fn read_all(content: &mut dyn Content) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(segment) = content.next_segment().map_err(|error| error.to_string())? {
        match segment {
            Segment::Data(bytes) => all.extend_from_slice(bytes),
            Segment::Zeros(run) => all.resize(all.len().saturating_add(run as usize), 0),
        }
    }
    Ok(all)
}

fn is_listed(law: u8, disk: &dyn Disk, id: ObjectId) -> Result<Option<Bytes>, Broken> {
    let listed = works(law, disk.list_folder(layout::prefix(id)))?;
    Ok(listed.iter().find_map(|entry| match entry {
        Listed::Object { id: other, size } if *other == id => Some(*size),
        _ => None,
    }))
}

fn ensure_whole(law: u8, disk: &dyn Disk, id: ObjectId, content: &[u8], when: &str) -> Result<(), Broken> {
    let size = is_listed(law, disk, id)?;
    ensure(
        law,
        size == Some(Bytes(content.len() as u64)),
        &format!("an object is not listed in full size {when}"),
    )?;
    ensure(law, read(disk, id).as_deref() == Ok(content), &format!("an object is not whole {when}"))
}

fn what_is_committed_survives(
    make: &dyn Fn() -> Box<dyn Bench>,
    skipped: &mut Vec<&str>,
) -> Result<(), Broken> {
    // A second round replaces every object by itself. One alone has to hold too: a second one's syncs cover the first.
    for (cut, rounds) in CUTS.into_iter().zip([1, 1, 2, 1, 2]) {
        let mut bench = make();
        let mut ids = Vec::new();
        for _ in 0..rounds {
            let mut batch = Vec::new();
            for content in CONTENTS {
                batch.push(stage(1, bench.disk(), content)?);
            }
            ids = batch.iter().map(|staged| staged.id).collect();
            works(1, bench.disk().commit(batch))?;
        }
        for (id, content) in ids.iter().zip(CONTENTS) {
            ensure_whole(1, bench.disk(), *id, content, "after its commit")?;
        }
        if !bench.power_cut(cut) {
            skipped.push("cut the power");
        }
        for (id, content) in ids.iter().zip(CONTENTS) {
            ensure_whole(1, bench.disk(), *id, content, "after a power cut")?;
        }
    }
    Ok(())
}

fn beside_the_objects_too(make: &dyn Fn() -> Box<dyn Bench>, skipped: &mut Vec<&str>) -> Result<(), Broken> {
    for cut in CUTS {
        // Each alone: the sync of the one would cover the other.
        let mut bench = make();
        let mut identity = works(1, bench.disk().identity())?;
        identity.name = "renamed".into();
        works(1, bench.disk().write_identity(&identity))?;
        if !bench.power_cut(cut) {
            skipped.push("cut the power");
        }
        ensure(1, bench.disk().identity().ok() == Some(identity), "an identity is lost after a power cut")?;

        works(1, bench.disk().write_recovery_file("RESTORE.txt", b"how"))?;
        bench.power_cut(cut);
        let again = works(1, bench.disk().write_recovery_file("RESTORE.txt", b"how"))?;
        ensure(1, !again, "a recovery file is lost after a power cut")?;
    }
    Ok(())
}

fn a_failed_commit_promises_nothing(
    make: &dyn Fn() -> Box<dyn Bench>,
    skipped: &mut Vec<&str>,
) -> Result<(), Broken> {
    for cut in CUTS {
        for passed in [0, 1] {
            // Once alone, because storing the same again would heal what was promised falsely.
            promises_after_a_failed_sync(make, cut, passed, &[], skipped)?;
            promises_after_a_failed_sync(make, cut, passed, &[b"first", b"second"], skipped)?;
        }
    }
    Ok(())
}

fn promises_after_a_failed_sync(
    make: &dyn Fn() -> Box<dyn Bench>,
    cut: PowerCut,
    passed: u64,
    later: &[&[u8]],
    skipped: &mut Vec<&str>,
) -> Result<(), Broken> {
    let mut bench = make();
    let mut promised = Vec::new();
    let staged = stage(2, bench.disk(), b"first")?;
    // The failed sync of the first batch forgets this content too.
    let waiting = stage(2, bench.disk(), b"waiting")?;
    if !bench.fail_sync_after(passed) {
        skipped.push("let a sync fail");
        return Ok(());
    }
    let id = staged.id;
    if bench.disk().commit(vec![staged]).is_ok() {
        promised.push((id, b"first".as_slice()));
    }
    let id = waiting.id;
    if bench.disk().commit(vec![waiting]).is_ok() {
        promised.push((id, b"waiting"));
    }
    // After the failure everything may be refused. What is promised all the same counts.
    for content in later {
        let Ok(staged) = bench.disk().stage(&mut InMemory::new(content)) else { continue };
        let id = staged.id;
        if bench.disk().commit(vec![staged]).is_ok() {
            promised.push((id, *content));
        }
    }
    if !bench.power_cut(cut) {
        skipped.push("cut the power");
    }
    for (id, content) in promised {
        ensure_whole(2, bench.disk(), id, content, "although a commit said so in spite of a failed sync")?;
    }
    Ok(())
}

fn staged_content_is_invisible(make: &dyn Fn() -> Box<dyn Bench>) -> Result<(), Broken> {
    let bench = make();
    let disk = bench.disk();
    let staged = stage(3, disk, b"not yet")?;
    let (id, size) = (staged.id, staged.size);
    ensure(3, is_listed(3, disk, id)?.is_none(), "staged content is listed")?;
    ensure(3, matches!(disk.open(id), Err(DiskError::Missing(_))), "staged content can be opened")?;
    let cleared = works(3, disk.clear_incoming())?;
    ensure(3, cleared == size, "clearing does not tell the bytes it has removed")?;
    ensure(3, works(3, disk.clear_incoming())? == Bytes(0), "clearing leaves something behind")?;
    ensure(3, disk.commit(vec![staged]).is_err(), "content that was cleared is committed")?;
    ensure(3, is_listed(3, disk, id)?.is_none(), "content that was cleared is listed")?;

    let staged = stage(3, disk, b"never")?;
    works(3, disk.discard(staged))?;
    ensure(3, works(3, disk.clear_incoming())? == Bytes(0), "discarded content takes room")
}

fn only_objects_are_removed(
    make: &dyn Fn() -> Box<dyn Bench>,
    skipped: &mut Vec<&str>,
) -> Result<(), Broken> {
    let mut bench = make();
    let mut ids = Vec::new();
    for content in CONTENTS {
        let staged = stage(4, bench.disk(), content)?;
        ids.push(staged.id);
        works(4, bench.disk().commit(vec![staged]))?;
    }
    let removed = ids[0];
    works(4, bench.disk().remove(removed))?;
    works(4, bench.disk().remove(removed))?;
    works(4, bench.disk().sync())?;
    if !bench.power_cut(PowerCut::LoseAll) {
        skipped.push("cut the power");
    }
    ensure(4, is_listed(4, bench.disk(), removed)?.is_none(), "a removed object is there again")?;
    for (id, content) in ids.iter().zip(CONTENTS).skip(1) {
        ensure_whole(4, bench.disk(), *id, content, "after another was removed")?;
    }
    for what in [Planted::Symlink, Planted::Folder] {
        let mut id = ids[1];
        id.0[31] ^= 1 + what as u8;
        let path = layout::object_path(id);
        if !bench.plant(&path, what) {
            skipped.push("plant foreign things");
            return Ok(());
        }
        ensure(4, bench.disk().remove(id).is_err(), "it is no error to remove what is no object")?;
        ensure(4, bench.exists(&path), "something that is no object was removed")?;
    }
    Ok(())
}

fn nothing_outside_is_touched(
    make: &dyn Fn() -> Box<dyn Bench>,
    skipped: &mut Vec<&str>,
) -> Result<(), Broken> {
    let content = SimulatedDisk::OUTSIDE;
    let mut bench = make();
    let staged = stage(5, bench.disk(), content)?;
    let id = staged.id;
    let path = layout::object_path(id);
    if !bench.plant(&path, Planted::Symlink) || !bench.plant("distbackup-incoming/link", Planted::Symlink) {
        skipped.push("plant foreign things");
        return Ok(());
    }
    ensure(5, is_listed(5, bench.disk(), id)?.is_none(), "a symlink is listed as an object")?;
    ensure(5, bench.disk().open(id).is_err(), "a symlink is read through")?;
    ensure(5, bench.disk().quarantine(id).is_err(), "a symlink is moved away as an object")?;
    let committed = bench.disk().commit(vec![staged]);
    ensure(5, bench.outside_is_untouched(), "a file outside was overwritten")?;
    ensure(5, committed.is_err() && bench.exists(&path), "a symlink was replaced")?;
    works(5, bench.disk().clear_incoming())?;
    ensure(5, bench.outside_is_untouched(), "a file outside was removed as a left-over")?;

    for place in ["distbackup-objects", "distbackup-incoming"] {
        let mut bench = make();
        bench.plant(place, Planted::Symlink);
        if let Ok(staged) = bench.disk().stage(&mut InMemory::new(content)) {
            ensure(5, bench.disk().commit(vec![staged]).is_err(), "a commit went through a symlink")?;
        }
        ensure(5, bench.outside_is_untouched(), "something was written through a symlink")?;
        ensure(5, bench.exists(place), "a symlink in the place of a folder was replaced")?;
    }
    Ok(())
}

fn reading_back_asks_the_medium(
    make: &dyn Fn() -> Box<dyn Bench>,
    skipped: &mut Vec<&str>,
) -> Result<(), Broken> {
    let mut bench = make();
    let mut ids = Vec::new();
    for content in CONTENTS {
        let staged = stage(6, bench.disk(), content)?;
        ids.push(staged.id);
        works(6, bench.disk().commit(vec![staged]))?;
    }
    for (id, content) in ids.iter().zip(CONTENTS) {
        ensure(
            6,
            read_back(bench.disk(), *id).as_deref() == Ok(content),
            "what was written is not read back",
        )?;
    }
    let mut absent = ids[0];
    absent.0[31] ^= 1;
    ensure(6, bench.disk().read_back(absent).is_err(), "what is not there is read back")?;
    // Memory knows it: it was just read.
    ensure_whole(6, bench.disk(), ids[0], CONTENTS[0], "before its medium rots")?;
    if !bench.rot_beneath(ids[0]) {
        skipped.push("change the medium beneath");
        return Ok(());
    }
    let found = read_back(bench.disk(), ids[0]);
    ensure(6, found.as_deref() != Ok(CONTENTS[0]), "what memory remembers is taken for what the medium holds")
}

fn what_is_taken_in_survives(
    make: &dyn Fn() -> Box<dyn Bench>,
    skipped: &mut Vec<&str>,
) -> Result<(), Broken> {
    for (cut, own_name) in CUTS.into_iter().flat_map(|cut| [(cut, OwnName::Goes), (cut, OwnName::Stays)]) {
        let mut bench = make();
        let mut files = Vec::new();
        for (number, content) in CONTENTS.iter().enumerate() {
            let Some(file) = bench.loose(&format!("old-{number}"), content) else {
                skipped.push("make ordinary files");
                return Ok(());
            };
            files.push((file, ObjectId(sha2::Sha256::digest(content).into())));
        }
        let taken = works(7, bench.disk().take_in(&files, own_name))?;
        ensure(7, taken == [const { Taken::In }; CONTENTS.len()], "an ordinary file is not taken in")?;
        // They hold their folder open.
        let ids: Vec<ObjectId> = files.into_iter().map(|(_, id)| id).collect();
        if !bench.power_cut(cut) {
            skipped.push("cut the power");
        }
        for (number, (id, content)) in ids.iter().zip(CONTENTS).enumerate() {
            ensure_whole(7, bench.disk(), *id, content, "after it was taken in")?;
            let there = bench.exists(&format!("old-{number}"));
            ensure(7, there == (own_name == OwnName::Stays), "the own name does not stay or go as asked")?;
        }
    }
    let mut bench = make();
    let Some(file) = bench.loose("old", CONTENTS[0]) else { return Ok(()) };
    if let Some(staged) = works(7, bench.disk().stage_clone(&file, &mut |_| Ok(())))? {
        let id = staged.id;
        ensure(7, is_listed(7, bench.disk(), id)?.is_none(), "a clone is listed before its commit")?;
        works(7, bench.disk().commit(vec![staged]))?;
        let _changed = bench.loose("old", CONTENTS[1]);
        ensure_whole(7, bench.disk(), id, CONTENTS[0], "after the file that it was cloned from changed")?;
    }
    Ok(())
}

fn what_is_not_what_was_read_is_left(
    make: &dyn Fn() -> Box<dyn Bench>,
    skipped: &mut Vec<&str>,
) -> Result<(), Broken> {
    let id = ObjectId(sha2::Sha256::digest(CONTENTS[0]).into());
    let mut bench = make();
    let Some(file) = bench.loose("old", CONTENTS[0]) else {
        skipped.push("make ordinary files");
        return Ok(());
    };
    let _changed = bench.loose("old", CONTENTS[1]);
    for own_name in [OwnName::Goes, OwnName::Stays] {
        let taken = works(7, bench.disk().take_in(&[(file.clone(), id)], own_name))?;
        ensure(
            7,
            matches!(taken[..], [Taken::Left(_)]),
            "a file that changed after it was read is taken in",
        )?;
        let there = bench.exists("old") && is_listed(7, bench.disk(), id)?.is_none();
        ensure(7, there, "a file that changed after it was read is not where it was")?;
    }
    let mut bench = make();
    let Some(file) = bench.loose("old", CONTENTS[0]) else { return Ok(()) };
    bench.link("old", "another");
    let taken = works(7, bench.disk().take_in(&[(file, id)], OwnName::Goes))?;
    ensure(7, matches!(taken[..], [Taken::Left(_)]), "a file is moved that has another name")?;
    ensure(7, bench.exists("old") && bench.exists("another"), "a name of a file that was left is gone")
}

impl Bench for SimulatedDisk {
    fn disk(&self) -> &dyn Disk {
        self
    }

    fn power_cut(&mut self, cut: PowerCut) -> bool {
        SimulatedDisk::power_cut(self, cut);
        true
    }

    fn fail_sync_after(&mut self, passed: u64) -> bool {
        SimulatedDisk::fail_sync_after(self, passed);
        true
    }

    fn plant(&mut self, path: &str, what: Planted) -> bool {
        SimulatedDisk::plant(self, path, what, b"planted");
        true
    }

    fn rot_beneath(&mut self, id: ObjectId) -> bool {
        SimulatedDisk::rot_beneath(self, id);
        true
    }

    fn loose(&mut self, path: &str, content: &[u8]) -> Option<Loose> {
        self.put_loose(path, content).ok()
    }

    fn link(&mut self, path: &str, new: &str) {
        self.link_by_hand(path, new);
    }

    fn exists(&self, path: &str) -> bool {
        SimulatedDisk::exists(self, path)
    }

    fn outside_is_untouched(&self) -> bool {
        self.outside() == SimulatedDisk::OUTSIDE
    }
}
