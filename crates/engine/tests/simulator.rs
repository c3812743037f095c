//! Random histories of a shelf: whatever people and disks do, nothing is lost by an action of ours.
//!
//! A history is made from a seed: files are added, changed, renamed and deleted; disks are visited, cloned, filled,
//! pulled out, lost and rot; the process is killed, the power goes, catalogs are lost and rolled back. After each
//! step everything that must be true is checked from the outside, against a plain model (HAZARDS 1: N1 to N5, N7, N10).
//!
//! A failing seed is printed with its steps and the command that plays it again. By default a few fixed seeds are
//! played. `DSB_SIM_FRESH=1` adds one that nobody has played; `DSB_SIM_SEED=7` plays that one; `DSB_SIM_SEEDS=500` that many, from `DSB_SIM_FIRST` (1) on;
//! `DSB_SIM_STEPS=200` makes each so long; `DSB_TEST_SCALE=10` plays ten times as many; `DSB_SIM_TRACE=1` prints
//! steps as they happen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails here says so")]

#[path = "simulator/known.rs"]
mod known;
#[path = "simulator/outside.rs"]
mod outside;
#[path = "simulator/random.rs"]
mod random;
#[path = "simulator/shelf.rs"]
mod shelf;
#[path = "simulator/source.rs"]
mod source;
#[path = "simulator/steps.rs"]
mod steps;
#[path = "simulator/visits.rs"]
mod visits;
#[path = "simulator/world.rs"]
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use world::{Figures, World};

/// Fixed seeds of an ordinary run, and steps of each history.
const SEEDS: u64 = 12;
const STEPS: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a whole number")))
}

/// Plays one history.
fn play(seed: u64, steps: u64) -> Figures {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    world.fire_drill();
    world.figures
}

/// The seeds of this run.
fn seeds() -> Vec<u64> {
    if let Some(seed) = number("DSB_SIM_SEED") {
        return vec![seed];
    }
    let first = number("DSB_SIM_FIRST").unwrap_or(1);
    let count = number("DSB_SIM_SEEDS").unwrap_or(SEEDS * number("DSB_TEST_SCALE").unwrap_or(1));
    let mut seeds: Vec<u64> = (first..first + count).collect();
    if number("DSB_SIM_FRESH").is_some_and(|fresh| fresh > 0) {
        let fresh = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        eprintln!("the fresh seed of this run is {fresh}");
        seeds.push(fresh);
    }
    seeds
}

#[test]
fn n1_n2_n3_n4_n5_n7_n10_s4_random_histories_lose_nothing() {
    let (seeds, steps) = (seeds(), number("DSB_SIM_STEPS").unwrap_or(STEPS));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut played = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            played.push(play(seed, steps));
        }
        played
    };
    let all: Vec<Figures> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        let joined: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        joined.into_iter().flat_map(|played| played.expect("a history failed, see above")).collect()
    });
    let sum = |figure: fn(&Figures) -> u64| all.iter().map(figure).sum::<u64>();
    eprintln!(
        "{} histories, {} steps: {} updates, {} visits ({} refused, {} held), {} verifies, {} restores, {} recovers, \
         {} kills, {} other faults; {} copies made, {} objects removed, {} of them evicted",
        all.len(),
        sum(|f| f.steps),
        sum(|f| f.updates),
        sum(|f| f.visits),
        sum(|f| f.refused),
        sum(|f| f.held),
        sum(|f| f.verifies),
        sum(|f| f.restores),
        sum(|f| f.recovers),
        sum(|f| f.kills),
        sum(|f| f.faults),
        sum(|f| f.copied),
        sum(|f| f.removed),
        sum(|f| f.evicted),
    );
    assert_eq!(all.len(), seeds.len());
}
