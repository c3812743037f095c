//! Every single call that changes something goes wrong once: the program is killed before it and after it, and the call
//! fails with an input/output error or with a full disk, once or from then on (D1, D4, D19).
//!
//! The calls are counted from outside, those of SQLite included (see `distbackup_testkit::faults`). After each trial
//! another program (`faults/check.py`, with restore.py) looks at the disks, the sources and the catalog; then the
//! same command runs undisturbed and has to end as if nothing had happened.
//!
//! By default a sample is tried, spread over all calls; with `DSB_TEST_SCALE=N` one that is N times as large, and with
//! `DSB_TEST_SCALE=1000` everything, which takes half an hour. `DSB_FAULTS_BIN` names another program to test, such as
//! a release build.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "faults/set.rs"]
mod set;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use distbackup_testkit::dsb::Run;
use distbackup_testkit::faults::{Call, Fault, Injector, kinds};
use distbackup_testkit::or_skip;
use set::{Look, Set, State};

/// Trials of one command, unless `DSB_TEST_SCALE` asks for more.
const TRIALS: usize = 28;

fn scale() -> usize {
    let scale = std::env::var("DSB_TEST_SCALE").ok();
    scale.map_or(1, |scale| scale.parse().unwrap_or_else(|_| panic!("DSB_TEST_SCALE={scale} is no number")))
}

/// The trials: each call with each fault, or a sample of them, in which calls and faults have an equal part.
fn trials(found: usize) -> Vec<(u64, Fault)> {
    let all = found * Fault::ALL.len();
    let tried = (TRIALS * scale()).min(all);
    let chosen = (0..tried).map(|trial| match tried == all {
        true => (trial / Fault::ALL.len(), trial % Fault::ALL.len()),
        // The next call of the sample suffers the next fault; another sample of calls for each fault.
        false => (trial * found / tried, trial % Fault::ALL.len()),
    });
    chosen.map(|(call, fault)| (call as u64 + 1, Fault::ALL[fault])).collect()
}

/// One command that is disturbed.
struct Disturbed<'a> {
    set: &'a Set,
    injector: &'a Injector,
    from: State,
    arguments: &'a [&'a str],
    /// How it ends undisturbed.
    expected: Look,
    /// Exit codes, by what went wrong where.
    codes: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Disturbed<'_> {
    /// One trial; `false` if the call was not reached, because this time there were fewer.
    fn try_one(&mut self, number: u64, fault: Fault) -> bool {
        let Disturbed { set, from, arguments, .. } = *self;
        set.put_back(from);
        let (run, calls) = set.run_with(self.injector, arguments, Some((number, fault)));
        let Some(call) = calls.iter().find(|call| call.number == number) else {
            run.ok();
            return false;
        };
        let after =
            calls.iter().filter(|call| call.number > number).map(ToString::to_string).collect::<Vec<_>>();
        let when = format!("{fault:?} at {call}\n{run}\ncalls after it:\n{}", after.join("\n"));
        let look = set.look(from);
        look.nothing_is_lost(&when);
        self.ends_right(&run, fault, call, &look, &when);
        let again = set.run(arguments);
        let again = format!("after the next run\n{again}\nafter {when}");
        let look = set.look(from);
        look.nothing_is_lost(&again);
        look.is(&self.expected, &again);
        if let ["backup" | "heal", .., disk] = arguments {
            set.run(&["verify", disk]);
        }
        true
    }

    /// How a run may end that was disturbed.
    fn ends_right(&mut self, run: &Run, fault: Fault, call: &Call, look: &Look, when: &str) {
        let on_disk = ["red", "blue"].iter().any(|disk| call.path.starts_with(self.set.place(disk)));
        let place = if on_disk { "disk" } else { "catalog" };
        let what = format!("{fault:?} on {place}, {}", call.kind);
        let code = run.exit_code().map_or("killed".to_owned(), |code| code.to_string());
        *self.codes.entry(what).or_default().entry(code).or_default() += 1;
        assert_eq!(run.was_killed(), fault.kills(), "killed\n{when}");
        match run.exit_code() {
            None => {}
            // A call whose failure costs nothing: then nothing is missing.
            Some(0) if call.kind == "unlink" => look.is_but_for_leftovers(&self.expected, when),
            // A page costs no visit; what was to become it cannot be unlinked either where everything fails from then on.
            Some(0)
                if matches!(fault, Fault::FromThenOn(_))
                    && run.stderr().contains("has no new CATALOG.html") =>
            {
                look.is_but_for_leftovers(&self.expected, when);
            }
            Some(0) => look.is(&self.expected, when),
            Some(code) => {
                let right: &[i32] = match on_disk {
                    true if fault.is_full() => &[13],
                    true if fault.is_read_only() => &[12],
                    _ => &[1, 3],
                };
                assert!(right.contains(&code), "exit code\n{when}");
                let said = run.stderr();
                assert!(said.contains("error: ") || code != 1, "says what is wrong\n{when}");
                assert!(said.contains("hint: ") || code != 1, "says what to do\n{when}");
            }
        }
    }
}

/// Disturbs a command at every call, or at a sample of them.
fn disturb(from: State, arguments: &[&str], kinds_expected: &[&str]) {
    let injector = or_skip!(Injector::new());
    let set = or_skip!(Set::new());
    set.put_back(from);
    let (run, calls) = set.run_with(&injector, arguments, None);
    let run = run.ok();
    let found = kinds(&calls);
    assert!(kinds_expected.iter().all(|kind| found.contains_key(kind)), "{found:?}\n{run}");
    eprintln!("{arguments:?}: found {} calls: {found:?}", calls.len());
    let expected = set.look(from);
    expected.nothing_is_lost("undisturbed");
    if arguments[0] == "backup" {
        expected.restores_everything("undisturbed");
    }
    let mut disturbed =
        Disturbed { set: &set, injector: &injector, from, arguments, expected, codes: BTreeMap::new() };
    let (trials, began) = (trials(calls.len()), Instant::now());
    let (mut tried, mut failed) = (Vec::new(), Vec::new());
    for &(number, fault) in &trials {
        // What one trial finds shall not hide what the others find.
        match catch_unwind(AssertUnwindSafe(|| disturbed.try_one(number, fault))) {
            Ok(true) => tried.push(number),
            Ok(false) => {}
            Err(_) => failed.push((number, fault)),
        }
    }
    for (what, codes) in &disturbed.codes {
        eprintln!("  {what}: {codes:?}");
    }
    let calls_tried = tried.iter().collect::<std::collections::BTreeSet<_>>().len();
    eprintln!(
        "{arguments:?}: tried {calls_tried} of {} calls in {} trials, {:.0} s",
        calls.len(),
        tried.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "{} of {} trials failed, see above: {failed:?}", failed.len(), trials.len());
    // Two runs differ in a call or two: sizes of numbers, and the order of threads.
    assert!(tried.len() + 12 >= trials.len(), "only {} of {} trials were reached", tried.len(), trials.len());
}

#[test]
fn d1_d4_d19_whatever_goes_wrong_in_a_visit_short_of_room_costs_no_copy_and_the_next_one_finishes() {
    let kinds = ["create", "mkdir", "rename", "sync", "unlink", "write"];
    disturb(State::Updated, &["backup", "--accept", "red"], &kinds);
}

#[test]
fn d1_d4_d19_whatever_goes_wrong_in_a_visit_that_hashes_on_the_way_costs_no_copy() {
    let kinds = ["create", "mkdir", "rename", "sync", "unlink", "write"];
    disturb(State::Changed, &["backup", "--update", "--accept", "blue"], &kinds);
}

/// What a first scan reads is staged before there is a plan, and named folder by folder.
#[test]
fn d1_d4_d19_whatever_goes_wrong_in_a_first_backup_in_one_go_claims_nothing_too_early_and_the_next_one_finishes()
 {
    disturb(
        State::New,
        &["backup", "--update", "--accept", "blue"],
        &["create", "mkdir", "rename", "sync", "write"],
    );
}

#[test]
fn d1_d7_d19_whatever_goes_wrong_while_a_disk_is_healed_costs_no_copy_and_the_next_one_finishes() {
    disturb(State::Robbed, &["heal", "red"], &["create", "mkdir", "rename", "sync", "write"]);
}

#[test]
fn d1_d19_whatever_goes_wrong_in_an_update_leaves_a_whole_catalog_and_the_next_one_finishes() {
    disturb(State::Changed, &["update", "--accept"], &["create", "sync", "unlink", "write"]);
}

/// The system calls that the injector counts, by kind.
const COUNTED: [(&str, &[&str]); 9] = [
    (
        "write",
        &["write", "writev", "pwrite64", "pwritev", "pwritev2", "copy_file_range", "sendfile", "splice"],
    ),
    ("truncate", &["ftruncate", "truncate", "fallocate"]),
    ("sync", &["fsync", "fdatasync", "syncfs", "sync_file_range", "msync"]),
    ("create", &["open", "openat", "openat2", "creat"]),
    ("mkdir", &["mkdir", "mkdirat"]),
    ("rename", &["rename", "renameat", "renameat2"]),
    ("link", &["link", "linkat", "symlink", "symlinkat"]),
    ("unlink", &["unlink", "unlinkat", "rmdir"]),
    ("mode", &["chmod", "fchmod", "fchmodat", "fchmodat2"]),
];

/// The kind of the call in a line of a trace; nothing for the second half of an interrupted one.
fn kind_of(line: &str) -> Option<&'static str> {
    let (_process, call) = line.split_once(char::is_whitespace)?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let (kind, _) = COUNTED.iter().find(|(_, names)| names.contains(&name))?;
    let makes = ["O_CREAT", "O_TMPFILE"].iter().any(|flag| rest.contains(flag));
    (*kind != "create" || name == "creat" || makes).then_some(*kind)
}

#[test]
fn no_call_goes_past_the_count() {
    let injector = or_skip!(Injector::new());
    let set = or_skip!(Set::new());
    let arguments = ["backup", "--accept", "red"];
    set.put_back(State::Updated);
    let (_, calls) = set.run_with(&injector, &arguments, None);
    let names: Vec<&str> = COUNTED.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    // Not every architecture has each of them.
    let names: Vec<String> = names.iter().map(|name| format!("?{name}")).collect();
    set.put_back(State::Updated);
    let trace = or_skip!(set.traced(&arguments, &names.join(",")));
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in trace.lines().filter(|line| set.concerns_watched(line)).filter_map(kind_of) {
        *seen.entry(kind).or_default() += 1;
    }
    let counted = kinds(&calls);
    eprintln!("counted {counted:?}, the system saw {seen:?}");
    for (kind, _) in COUNTED {
        let (counted, seen) = (counted.get(kind).copied().unwrap_or(0), seen.get(kind).copied().unwrap_or(0));
        assert!(counted.abs_diff(seen) <= 2 + seen / 50, "{kind}: {counted} counted, {seen} made");
    }
    assert!(calls.len() > 100, "{counted:?}");
}
