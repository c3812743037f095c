//! Time of a plan: first fill of twelve disks, and a visit of a full set with 0.1 % new objects.
//!
//! ```text
//! cargo bench -p distbackup-core --bench planner -- 10000000
//! ```
//!
//! Prints the slowest of the first visits and the steady one (PLACEMENT 7: below 5 s and 2 s at ten
//! million objects), and beside them how long it takes only to read all rows once.

#[path = "../tests/world/mod.rs"]
mod world;

use std::time::Instant;

use distbackup_core::plan::VisitPlan;
use distbackup_core::planner::{Input, plan_visit};
use world::{Seeded, World, options};

fn main() {
    let objects = std::env::args().filter_map(|word| word.parse::<u64>().ok()).next().unwrap_or(1_000_000);
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
        println!("first visit of disk {disk:2}: {seconds:.2} s, {} copies", plan.copies().len());
        slowest = slowest.max(seconds);
        drop(input);
        world.apply(disk, &plan);
    }
    for object in 0..objects / 1000 {
        let bill = size(&mut random);
        world.object(bill, ((objects + object) / 30) as u32, class, &[]);
    }
    let input = world.input();
    let (steady, plan) = timed(&input, 3);
    println!("steady: {steady:.2} s, {} copies, {} victims", plan.copies().len(), plan.victims().len());
    let start = Instant::now();
    let blocks: u64 = input.objects.iter().map(|object| u64::from(object.blocks)).sum();
    println!(
        "reading {} rows ({blocks} blocks): {:.3} s",
        input.objects.len(),
        start.elapsed().as_secs_f64()
    );
    println!("{objects} objects: first visits at most {slowest:.2} s, steady {steady:.2} s");
}

fn timed(input: &Input, disk: usize) -> (f64, VisitPlan) {
    let start = Instant::now();
    let plan = plan_visit(input, &options(disk));
    (start.elapsed().as_secs_f64(), plan)
}
