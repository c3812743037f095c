//! The main job, end to end: a tree on a shelf of disks, none of which can hold it.
//!
//! Everything goes through the program as its user calls it. What is compared is read by the testkit
//! alone, so that a mistake of the program cannot hide itself.

// A test that cannot build its world has nothing to handle: it stops and says where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "whole_shelf/shelf.rs"]
mod shelf;
#[path = "whole_shelf/sources.rs"]
mod sources;

use std::fs;
use std::path::Path;
use std::time::Instant;

use distbackup_testkit::compare::{Compare, Difference, assert_none};
use distbackup_testkit::dsb::{Dsb, NOBODY};
use distbackup_testkit::{is_root, or_skip, skipped};

use shelf::{Destination, Shelf, say, text};
use sources::{Sources, State};

/// One user, his PC and his shelf.
struct Story {
    dsb: Dsb,
    sources: Sources,
    shelf: Shelf,
    /// Whom the program runs as, if not as this test.
    user: Option<u32>,
    began: Instant,
}

impl Story {
    fn new(sources: Sources, shelf: Shelf, user: Option<u32>) -> Story {
        let dsb = Dsb::new(env!("CARGO_BIN_EXE_dsb"));
        let dsb = user.map_or(dsb, |user| Dsb::new(env!("CARGO_BIN_EXE_dsb")).as_user(user));
        Story { dsb, sources, shelf, user, began: Instant::now() }
    }

    /// Says how far it is, for those who look at the test's output.
    fn stage(&self, what: &str) {
        eprintln!("== {:5.1} s: {what}", self.began.elapsed().as_secs_f64());
    }

    /// From the first command to the loss of the PC, which begins with what is protected `before`; returns
    /// what is protected after a change.
    fn two_rounds(&self, before: &State) -> State {
        let (dsb, sources, shelf) = (&self.dsb, &self.sources, &self.shelf);
        let (bytes, largest) = (before.bytes(), shelf.largest_bytes());
        assert!(bytes > largest, "{bytes} bytes fit on one disk, which has {largest}");

        dsb.run(["status"]).code(10);
        sources.map(dsb);
        shelf.join(dsb);
        say(dsb.run(["update"]).ok());
        self.stage("updated");
        for (number, visit) in shelf.visit(dsb).into_iter().enumerate() {
            // No disk refuses what its plan promised, and the user is told that he is not done.
            let visit = visit.silent_about("refused room");
            if number == 0 {
                visit.says("another disk is needed");
            }
        }
        self.everything_is_safe();
        self.stage("visited all disks");

        sources.change(self.user);
        let after = sources.read();
        self.stage("changed and read the tree");
        say(dsb.run(["update"]).ok());
        self.everything_is_safe_but_new();
        shelf.visit(dsb);
        self.everything_is_safe();
        self.stage("visited all disks again");
        fs::remove_dir_all(dsb.catalog()).unwrap();
        after
    }

    fn everything_is_safe(&self) {
        say(self.dsb.run(["status"]).ok().says("PROTECTED").silent_about("not on any disk yet"));
    }

    fn everything_is_safe_but_new(&self) {
        self.dsb.run(["status"]).ok().says("not on any disk yet");
    }

    /// The catalog comes back from a disk.
    fn recover(&self) {
        say(self.dsb.run(["recover".as_ref(), self.shelf.last().as_os_str()]).ok());
        self.everything_is_safe();
        self.stage("recovered");
    }

    /// Everything comes back, as it was last and as it was first, with the program and without it.
    fn restore_all(
        &self,
        before: &State,
        after: &State,
        what: Compare,
        destination: impl Fn() -> Destination,
    ) {
        for (state, at) in [(after, &[][..]), (before, &["--at", "1"])] {
            let to = destination();
            say(self.restore(to.path(), at).ok());
            self.stage("restored with dsb");
            assert_none(&state.differences(to.path(), what), &format!("after dsb restore {at:?}"));
        }
        let to = destination();
        let Some(done) = self.shelf.restore_py(to.path(), self.user, &[]) else { return };
        self.stage("restored with restore.py");
        assert_eq!(done.status.code(), Some(0));
        assert_none(&after.differences(to.path(), what), "after restore.py");
        self.stage("compared");
    }

    fn restore(&self, to: &Path, more: &[&str]) -> distbackup_testkit::dsb::Run {
        let arguments = ["restore".as_ref(), "--to".as_ref(), to.as_os_str()];
        self.dsb.run(arguments.into_iter().chain(more.iter().map(AsRef::as_ref)))
    }
}

#[test]
fn c1_r6_a_tree_larger_than_any_disk_comes_back_whole_after_the_pc_lost_its_catalog() {
    const FILES_MIN: usize = 50_000;
    if !is_root() {
        return skipped("needs root for disks and owners");
    }
    // Asked before the work: a tree of that size is not made for nothing.
    or_skip!(Shelf::real(0));
    let sources = or_skip!(Sources::large(FILES_MIN));
    let before = sources.read();
    let shelf = or_skip!(Shelf::real(before.bytes()));
    let story = Story::new(sources, shelf, None);
    let after = story.two_rounds(&before);
    assert!(before.files() >= FILES_MIN, "{} files", before.files());
    story.recover();
    story.restore_all(&before, &after, Compare::EVERYTHING, Destination::large);
}

#[test]
fn c1_r6_the_same_on_plain_folders_and_then_for_somebody_who_may_not_set_everything() {
    if !is_root() {
        return skipped("what an ordinary user cannot set has to be made by root");
    }
    let sources = Sources::small();
    let before = sources.read();
    let story = Story::new(sources, Shelf::folders(None), None);
    let after = story.two_rounds(&before);
    story.recover();
    story.restore_all(&before, &after, Compare::EVERYTHING, || Destination::new(None));

    // The disks come to another PC, where the user is nobody in particular.
    let Story { sources, shelf, .. } = story;
    shelf.give_to(NOBODY);
    let story = Story::new(sources, shelf, Some(NOBODY));
    story.recover();
    let to = Destination::new(story.user);
    let run = say(story.restore(to.path(), &[]).code(3));
    told_once(run.stderr(), ["owner could not be set on", "set-id bits could not be set on"]);
    assert_none(&within_his_rights(&after, to.path()), "after dsb restore for nobody");

    let to = Destination::new(story.user);
    let Some(done) = story.shelf.restore_py(to.path(), story.user, &[]) else { return };
    assert_eq!(done.status.code(), Some(3));
    told_once(text(&done.stdout), ["owner or group that could not be set", "set-id bits left out"]);
    assert_none(&within_his_rights(&after, to.path()), "after restore.py for nobody");
}

#[test]
fn c1_r6_an_ordinary_user_gets_back_all_that_is_his() {
    // If this test is not root, its own user is ordinary enough.
    let user = is_root().then_some(NOBODY);
    let sources = Sources::small();
    let sources = user.into_iter().fold(sources, Sources::owned_by);
    let before = sources.read();
    let story = Story::new(sources, Shelf::folders(user), user);
    let after = story.two_rounds(&before);
    story.recover();
    story.restore_all(&before, &after, Compare::ORDINARY_USER, || Destination::new(user));
}

/// Expects that each of these is said once for all files, and no file is named for itself (R6).
fn told_once(messages: &str, expected: [&str; 2]) {
    // One line each for owner, group, set-id bits, devices, and two families of attributes.
    const KINDS_MAX: usize = 6;
    for what in expected {
        assert_eq!(messages.matches(what).count(), 1, "{what:?}:\n{messages}");
    }
    let lines = messages.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= KINDS_MAX, "{messages}");
}

/// Differences that an ordinary user need not put up with. Devices are root's, and set-id bits would lend
/// rights of somebody else than their owner was.
fn within_his_rights(state: &State, restored: &Path) -> Vec<Difference> {
    let mut found = state.differences(restored, Compare::ORDINARY_USER);
    found.retain(|difference| match difference.what {
        "there" => !(difference.first.ends_with("device") && difference.second == "missing"),
        "mode" => {
            let mode = |text: &str| u32::from_str_radix(text, 8).unwrap();
            mode(&difference.first) & !0o6000 != mode(&difference.second)
        }
        _ => true,
    });
    found
}
