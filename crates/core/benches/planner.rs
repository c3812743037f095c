//! Time of a plan: first fill of twelve disks, a visit of a full set with 0.1 % new objects, and one with 5 % new.
//!
//! ```text
//! cargo bench -p distbackup-core --bench planner -- 100000 1000000 10000000
//! ```
//!
//! Prints a line for each number of objects (PLACEMENT 7: below 5, 2 and 5 s at ten million), with the slowest of the
//! twelve first visits, and what each takes per object: growth should be near linear.

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::Instant;

use distbackup_core::plan::VisitPlan;
use distbackup_core::planner::{Input, plan_visit};
use world::{Seeded, World, options};

fn main() {
    let mut sizes: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000];
    }
    println!("{:>10}  {:>18}  {:>18}  {:>18}", "objects", "first fill", "0.1 % new", "5 % new");
    for objects in sizes {
        let [fill, steady, full] = measure(objects);
        let cell = |seconds: f64| format!("{seconds:.2} s, {:.0} ns each", seconds * 1e9 / objects as f64);
        println!("{objects:>10}  {:>18}  {:>18}  {:>18}", cell(fill), cell(steady), cell(full));
    }
}

fn measure(objects: u64) -> [f64; 3] {
    let mut world = World::default();
    let mut random = Seeded(3);
    let class = world.class(1, None);
    let size = |random: &mut Seeded| 4096 * random.pick(&[2, 2, 2, 3, 5, 20, 100, 700]);
    for object in 0..objects {
        let bill = size(&mut random);
        world.object(bill, (object / 30) as u32, class, &[]);
    }
    let total: u64 = world.objects.iter().map(|object| (u64::from(object.blocks) + 1) * 4096).sum();
    for tenths in [1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5] {
        world.disk(total / 12 * tenths);
    }
    let mut slowest = 0.0f64;
    for disk in 0..world.disks.len() {
        let input = world.input();
        let (seconds, plan) = timed(&input, disk);
        slowest = slowest.max(seconds);
        drop(input);
        world.apply(disk, &plan);
    }
    let mut grown = objects;
    let mut grow = |world: &mut World, more: u64| {
        for object in grown..grown + more {
            let bill = size(&mut random);
            world.object(bill, (object / 30) as u32, class, &[]);
        }
        grown += more;
    };
    grow(&mut world, objects / 1000);
    let (steady, _) = timed(&world.input(), 3);
    grow(&mut world, objects / 20);
    let (full, plan) = timed(&world.input(), 11);
    eprintln!("  5 % new: {} copies, {} victims", plan.copies().len(), plan.victims().len());
    [slowest, steady, full]
}

fn timed(input: &Input, disk: usize) -> (f64, VisitPlan) {
    let start = Instant::now();
    let plan = plan_visit(input, &options(disk));
    (start.elapsed().as_secs_f64(), plan)
}
