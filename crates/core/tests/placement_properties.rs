//! What no plan may ever do (PLACEMENT 4), on random shelves, and the bound against brute force.
//!
//! Every failure prints the seed of its world; `PLACEMENT_SEED=…` runs that one alone, and
//! `PLACEMENT_WORLDS=…` more of them.

mod world;

use std::cmp::Reverse;

use distbackup_core::model::Bytes;
use distbackup_core::plan::VisitPlan;
use distbackup_core::planner::{State, reachable_levels};
use world::{Seeded, UNIT, World};

/// What may occur in a random world.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    equal_sizes: bool,
    filled: bool,
    priorities: bool,
    caps: bool,
    places: bool,
    doubts: bool,
    states: bool,
    units: bool,
}

const PLAIN: Kind = Kind {
    equal_sizes: false,
    filled: false,
    priorities: false,
    caps: false,
    places: false,
    doubts: false,
    states: false,
    units: false,
};

/// From the simplest worlds to those where everything occurs at once.
const KINDS: [Kind; 10] = [
    Kind { equal_sizes: true, ..PLAIN },
    Kind { equal_sizes: true, filled: true, ..PLAIN },
    PLAIN,
    Kind { filled: true, ..PLAIN },
    Kind { filled: true, priorities: true, ..PLAIN },
    Kind { filled: true, priorities: true, caps: true, ..PLAIN },
    Kind { filled: true, places: true, ..PLAIN },
    Kind { filled: true, doubts: true, ..PLAIN },
    Kind { filled: true, priorities: true, states: true, doubts: true, ..PLAIN },
    Kind {
        filled: true,
        priorities: true,
        caps: true,
        places: true,
        doubts: true,
        states: true,
        units: true,
        equal_sizes: false,
    },
];

fn random_world(random: &mut Seeded, kind: Kind) -> World {
    let mut world = World::default();
    let objects = 5 + random.below(56);
    let disks = 2 + random.below(5);
    for object in 0..objects {
        let size = if kind.equal_sizes { 1 } else { random.pick(&[1, 1, 1, 2, 3, 5, 9]) };
        let priority = if kind.priorities { 1 + random.below(2) as u32 } else { 1 };
        let cap = if kind.caps { random.pick(&[None, None, Some(1), Some(2)]) } else { None };
        let class = world.class(priority, cap);
        world.object(size * UNIT, (object / 7) as u32, class, &[]);
        if kind.states {
            use State::{Dead, History, Live, LiveUnreadable, Provisional};
            let state = random.pick(&[Live, Live, Live, Live, LiveUnreadable, Provisional, History, Dead]);
            world.objects[object as usize].state = state;
        }
    }
    let total: u64 = world.objects.iter().map(|object| (u64::from(object.blocks) + 1) * 4096).sum();
    for _ in 0..disks {
        let disk = world.disk(((total / 100 * (10 + random.below(111))) / UNIT * UNIT).max(UNIT));
        if kind.places {
            world.disks[disk].location = random.pick(&[Some(0), Some(1), None]);
        }
        if kind.units {
            world.disks[disk].unit = random.pick(&[4096, 4096, 16384]);
            world.disks[disk].occupied_otherwise = Bytes(random.below(3) * UNIT);
            world.disks[disk].days_away = random.pick(&[0, 10, 500]);
        }
    }
    if kind.filled {
        for disk in 0..world.disks.len() {
            let mut room = (world.disks[disk].capacity - world.disks[disk].occupied_otherwise).0;
            for row in random.shuffled(world.objects.len()) {
                let bill = world.bill(disk, row);
                if random.below(10) < 6 && bill <= room && world.objects[row].state != State::Provisional {
                    room -= bill;
                    world.claimed[row] |= 1 << disk;
                    if !kind.doubts || random.below(4) > 0 {
                        world.standing[row] |= 1 << disk;
                    }
                }
            }
        }
    }
    world
}

/// PLACEMENT 2: the number of copies, or 1 if all lie in one place and a disk elsewhere could help.
fn level(world: &World, set: u32, row: usize) -> u16 {
    let count = set.count_ones() as u16;
    let on = |disk: &usize| set >> disk & 1 == 1;
    let mut places = (0..world.disks.len()).filter(on).map(|disk| world.disks[disk].location);
    let Some(first) = places.next() else { return 0 };
    let blocks = u64::from(world.objects[row].blocks) * 4096;
    let helps = |disk: usize| {
        let disk_ = &world.disks[disk];
        disk_.location != first
            && world.bill(disk, row) <= disk_.capacity.0
            && Bytes(blocks) <= disk_.file_max
    };
    if places.all(|place| place == first) && (0..world.disks.len()).any(helps) { 1 } else { count }
}

/// Level 1 of high priority, level 1 of low priority, level 2 of high priority, …
fn vector(world: &World) -> Vec<u64> {
    let mut levels = vec![0; 2 * world.disks.len()];
    for row in (0..world.objects.len()).filter(|&row| world.is_live(row)) {
        for k in 0..usize::from(level(world, world.claimed[row], row).min(world.cap(row))) {
            levels[2 * k + usize::from(world.priority(row) < 2)] += u64::from(world.objects[row].blocks) + 1;
        }
    }
    levels
}

/// Carries a plan out and checks every step.
fn visit(world: &mut World, disk: usize) -> VisitPlan {
    let plan = world.plan(disk);
    assert_eq!(plan, world.plan(disk), "the same input gives the same plan");
    let before = world.clone();
    let bit = 1u32 << disk;
    let room = (world.disks[disk].capacity - world.disks[disk].occupied_otherwise).0;
    let started_within = world.used(disk) <= room;
    for &row in &plan.clean {
        assert_eq!(world.objects[row as usize].state, State::Dead);
        world.delete(disk, row as usize);
    }
    for &row in &plan.excess {
        let row = row as usize;
        assert!(before.copies(row) > before.cap(row), "row {row} is not in excess");
        world.delete(disk, row);
        assert!(world.standing[row] & !bit != 0, "I1: the last copy of {row} that stands");
    }
    for copy in plan.copies() {
        let object = copy.object as usize;
        assert_eq!(copy.copies_before, before.copies(object));
        assert_eq!(before.claimed[object] & bit, 0);
        assert!(matches!(world.objects[object].state, State::Live | State::Provisional));
        if world.objects[object].state == State::Provisional {
            assert_eq!(copy.victims, [], "a provisional object evicts nothing");
        }
        for &victim in copy.victims {
            let victim = victim as usize;
            assert!(before.standing[victim] & !bit != 0, "I1: the last copy of {victim} that stands");
            if world.is_live(victim) {
                // What the victim still has afterwards, and one: without places, what it had.
                let had = level(&before, before.claimed[victim] & !bit, victim) + 1;
                let gets = level(&before, before.claimed[object], object) + 1;
                let paid = (had, Reverse(before.priority(victim))) > (gets, Reverse(before.priority(object)));
                assert!(
                    paid,
                    "I2: {victim} {:b} goes for {object} {:b}",
                    before.claimed[victim], before.claimed[object]
                );
            } else {
                assert_eq!(world.objects[victim].state, State::History);
            }
            world.delete(disk, victim);
        }
        world.write(disk, object);
        assert!(world.used(disk) <= room || !started_within, "I4: {} > {room}", world.used(disk));
    }
    let relocated =
        plan.copies().any(|copy| before.copies(copy.object as usize) >= before.cap(copy.object as usize));
    if !relocated {
        assert!(vector(world) >= vector(&before), "I3: {:?} < {:?}", vector(world), vector(&before));
    }
    if world.disks.iter().all(|disk| disk.unit == 4096) {
        let after: Vec<u64> = plan.levels_after.iter().map(|level| level.0).collect();
        assert_eq!(after, world.levels(), "the plan tells what it reaches");
    }
    plan
}

fn worlds(each: u64, mut check: impl FnMut(&mut Seeded, Kind, u64)) {
    let count = std::env::var("PLACEMENT_WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(each);
    let only: Option<u64> = std::env::var("PLACEMENT_SEED").ok().and_then(|text| text.parse().ok());
    for (number, kind) in (0u64..).zip(KINDS) {
        for seed in (0..count).map(|seed| seed * 100 + number) {
            if only.is_none_or(|only| only == seed) {
                let shown = Shown(seed, kind);
                check(&mut Seeded(seed), kind, seed);
                std::mem::forget(shown);
            }
        }
    }
}

/// Tells the seed when a check panics.
struct Shown(u64, Kind);

impl Drop for Shown {
    fn drop(&mut self) {
        eprintln!("PLACEMENT_SEED={} {:?}", self.0, self.1);
    }
}

/// I1 to I4, and determinism.
#[test]
fn no_plan_breaks_an_invariant() {
    worlds(60, |random, kind, _| {
        let mut world = random_world(random, kind);
        for _ in 0..3 {
            for disk in random.shuffled(world.disks.len()) {
                visit(&mut world, disk);
            }
        }
    });
}

#[test]
fn i5_a_visit_that_is_repeated_has_nothing_to_do() {
    let mut failed = 0;
    let mut total = 0;
    worlds(60, |random, kind, seed| {
        let mut world = random_world(random, kind);
        for _ in 0..2 {
            for disk in random.shuffled(world.disks.len()) {
                visit(&mut world, disk);
                total += 1;
                let again = world.plan(disk);
                if !again.is_idle() {
                    failed += 1;
                    eprintln!("{seed} {kind:?} {again:?}");
                }
            }
        }
    });
    assert_eq!(failed, 0, "of {total}");
}

/// P2, P3: equal sizes meet the bound within two passes, from empty in one without any deletion.
#[test]
fn equal_files_meet_the_bound() {
    worlds(60, |random, kind, _| {
        if !kind.equal_sizes {
            return;
        }
        let mut world = random_world(random, kind);
        let passes = if kind.filled { 2 } else { 1 };
        for _ in 0..passes {
            for disk in random.shuffled(world.disks.len()) {
                visit(&mut world, disk);
            }
        }
        let bound: Vec<u64> = world.plan(0).bound.iter().map(|level| level.0).collect();
        assert_eq!(world.levels(), bound);
        if !kind.filled {
            assert_eq!((world.deleted, world.written), (0, bound.iter().sum()), "least writes");
        }
        for disk in 0..world.disks.len() {
            assert!(world.plan(disk).is_idle());
        }
    });
}

/// All counts of copies of unit objects that some placement has, best levels first.
#[test]
fn the_bound_is_what_the_best_placement_of_equal_files_reaches() {
    worlds(20, |random, kind, _| {
        if !kind.equal_sizes {
            return;
        }
        let objects = 1 + random.below(4) as usize;
        let disks = 1 + random.below(3) as usize;
        let capacities: Vec<u64> = (0..disks).map(|_| 1 + random.below(objects as u64 + 2)).collect();
        let caps: Vec<usize> = (0..objects).map(|_| random.pick(&[disks, disks, 1, 2]).min(disks)).collect();
        let demand: Vec<u64> =
            (1..=disks).map(|k| caps.iter().filter(|&&cap| cap >= k).count() as u64).collect();
        // Every object on every set of disks: at most 8^4 placements.
        let sets = 1usize << disks;
        let mut best: Vec<u64> = Vec::new();
        for placement in 0..sets.pow(objects as u32) {
            let held = |object: usize| (placement / sets.pow(object as u32)) % sets;
            let fits = (0..disks).all(|disk| {
                (0..objects).filter(|&object| held(object) >> disk & 1 == 1).count() as u64
                    <= capacities[disk]
            });
            if fits && (0..objects).all(|object| held(object).count_ones() as usize <= caps[object]) {
                let levels: Vec<u64> = (1..=disks)
                    .map(|k| (0..objects).filter(|&o| held(o).count_ones() as usize >= k).count() as u64)
                    .collect();
                best = best.max(levels);
            }
        }
        assert_eq!(reachable_levels(&demand, &capacities), best, "{capacities:?} {caps:?}");
    });
}
