//! Whatever stops a visit, and wherever: no claim is without its object, and the next visit gets to the same end.
//!
//! A visit of a simulated disk is stopped at each of its operations, in each way. Nothing changes while the 4096 folders
//! of the disk are listed, so only one in 2048 of those operations is tried. With `POWER_CUT_ALL=1` every one of
//! them is, in one way each, and everything else in more ways; that takes a quarter of an hour.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "power_cut/trial.rs"]
mod trial;
#[path = "power_cut/world.rs"]
mod world;

use distbackup_engine::disk::simulated::{Action, Failure, Operation, PowerCut};
use trial::{End, Trial};
use world::World;

/// What stops a visit.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// The process dies before the operation; the system writes what it knows to the disk later.
    KilledBefore,
    /// The process dies right after the operation, before anything else, such as a commit of the catalog.
    KilledAfter,
    /// The power goes.
    Cut(PowerCut),
    /// The operation fails, once; afterwards the power goes.
    Error(Failure),
}

/// Whether to try everything, however long that takes.
fn everything() -> bool {
    std::env::var_os("POWER_CUT_ALL").is_some()
}

/// The ways to stop a visit at an operation; none where it is not worth trying.
fn stops(operation: &Operation) -> Vec<Stop> {
    let number = operation.number;
    // Each operation has arbitrary remainders of its own, and the same ones whenever this runs.
    let keep = |seed| Stop::Cut(PowerCut::Keep { seed: number * 8 + seed });
    let mut stops = vec![
        Stop::KilledBefore,
        Stop::KilledAfter,
        Stop::Cut(PowerCut::LoseAll),
        keep(0),
        Stop::Error(Failure::Eio),
        Stop::Error(Failure::Enospc),
    ];
    match (operation.action, everything()) {
        (Action::List, true) => vec![stops[number as usize % stops.len()]],
        (Action::List, false) if number % 2048 != 1 => Vec::new(),
        (_, false) => stops,
        (_, true) => {
            stops.push(Stop::Error(Failure::Erofs));
            stops.extend((1..8).map(keep));
            stops
        }
    }
}

/// The undisturbed visit: how it ends, and its operations.
fn undisturbed(world: &World) -> (End, Vec<Operation>) {
    let mut trial = Trial::of(world);
    let outcome = trial.visit().unwrap();
    assert!(outcome.complete() && outcome.published, "{outcome:?}");
    let log = trial.disk.log();
    // What the visits before had stored gives way to what is new: the hardest case is really there.
    let short = !world.stored.is_empty();
    assert!(!short || outcome.cleaned.objects > 0 && outcome.evicted.objects > 0, "no eviction: {outcome:?}");
    let kinds = |action| log.iter().filter(|op| op.action == action).count();
    eprintln!(
        "found {} operations: {} listings, {} writes, {} renames, {} removals, {} syncs, and reading",
        log.len(),
        kinds(Action::List),
        kinds(Action::Write),
        kinds(Action::Rename),
        kinds(Action::Unlink),
        kinds(Action::Sync)
    );
    trial.check("the undisturbed visit");
    let (end, changes) = (trial.end(), trial.disk.changes());
    trial.resume(&end, "the undisturbed visit");
    assert_eq!(trial.disk.changes(), changes, "a visit with nothing to do writes nothing");
    (end, log)
}

/// Stops the visit once, and looks at once and after the next visit.
fn stop_once(world: &World, expected: &End, number: u64, stop: Stop) {
    let when = format!("{stop:?} at operation {number}");
    let mut trial = Trial::of(world);
    match stop {
        Stop::Error(failure) => trial.disk.fail_at(number, failure),
        Stop::KilledBefore | Stop::Cut(_) => trial.kill_at(number, number),
        Stop::KilledAfter => trial.kill_at(number, number + 1),
    }
    // Usually an error; an outcome where the operation was one whose failure is harmless.
    if let Err(error) = trial.visit() {
        assert!(!error.to_string().is_empty(), "{when}");
    }
    match stop {
        Stop::KilledBefore | Stop::KilledAfter => trial.disk.reconnect(),
        Stop::Cut(cut) => trial.disk.power_cut(cut),
        Stop::Error(_) => {
            trial.check(&when);
            trial.disk.power_cut(PowerCut::LoseAll);
        }
    }
    trial.restart();
    trial.check(&when);
    trial.resume(expected, &when);
}

/// Stops the visit everywhere, in every way.
fn stop_everywhere(world: &World) {
    let (expected, operations) = undisturbed(world);
    let (mut tried, mut count) = (0, 0);
    for operation in &operations {
        let stops = stops(operation);
        tried += usize::from(!stops.is_empty());
        count += stops.len();
        stops.iter().for_each(|stop| stop_once(world, &expected, operation.number, *stop));
    }
    eprintln!("stopped at {tried} of {} operations, {count} times", operations.len());
    assert!(tried > 35, "only {tried} operations");
}

#[test]
fn d3_d19_whatever_stops_a_visit_short_of_room_costs_no_claim_and_no_object() {
    stop_everywhere(&World::short_of_room());
}

#[test]
fn d3_d19_whatever_stops_a_first_fill_costs_no_claim_and_the_next_visit_goes_on() {
    stop_everywhere(&World::first_fill(true));
    // Files that were hashed before take the same way, but for being hashed.
    if everything() {
        stop_everywhere(&World::first_fill(false));
    }
}

#[test]
fn d2_what_a_finished_visit_reported_survives_a_power_cut_right_after_it() {
    for world in [World::first_fill(false), World::first_fill(true), World::short_of_room()] {
        for cut in [PowerCut::LoseAll, PowerCut::Keep { seed: 1 }] {
            let mut trial = Trial::of(&world);
            let outcome = trial.visit().unwrap();
            let before = trial.end();
            trial.disk.power_cut(cut);
            trial.restart();
            trial.check("a power cut right after the visit");
            assert_eq!(trial.end(), before, "something that was reported is gone: {outcome:?}");
        }
    }
}
