//! A storm of flipped bits over disks: verify finds every object that was hit and no other, nothing damaged is delivered, and
//! heal brings all of them back. `DISTBACKUP_TEST_SEED` chooses another storm, `DSB_TEST_SCALE=N` has N times as many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{World, noise, objects_on};
use distbackup_testkit::compare::Compare;
use distbackup_testkit::rng::Rng;
use sha2::{Digest as _, Sha256};
use shelf::*;

/// Files on each disk.
const FILES: usize = 150;
/// Storms, unless `DSB_TEST_SCALE` asks for more.
const STORMS: usize = 4;

/// Objects of a disk whose content is not what their name says, by another program's reckoning.
fn damaged(disk: &Path) -> BTreeSet<String> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let hash = |path: &Path| {
        let digest = Sha256::digest(fs::read(path).unwrap());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    objects_on(disk).iter().filter(|path| hash(path) != name(path)).map(|path| name(path)).collect()
}

/// Flips so many bits on a disk, several in one object now and then; none in objects that `spared` names.
fn storm(disk: &Path, flips: usize, spared: &BTreeSet<String>, rng: &mut Rng) -> usize {
    let objects = objects_on(disk);
    let mut made = 0;
    while made < flips {
        let object = &objects[rng.below(objects.len() as u64) as usize];
        if spared.contains(object.file_name().unwrap().to_str().unwrap()) {
            continue;
        }
        for _ in 0..rng.within(1..4) {
            rot(object, rng);
            made += 1;
        }
    }
    made
}

/// What a verify lists as bad.
fn found(world: &World, disk: &str, code: i32) -> BTreeSet<String> {
    let list = world.place("list of errors");
    world.dsb.run(["verify", disk, "--errors", list.to_str().unwrap()]).code(code);
    let text = fs::read_to_string(&list).unwrap();
    let objects = text.lines().filter_map(|line| line.split('\t').nth(1));
    objects.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect()
}

#[test]
fn d7_storms_of_flipped_bits_are_found_to_the_last_object_and_healed() {
    let scale = std::env::var("DSB_TEST_SCALE").ok().map_or(1, |scale| scale.parse::<usize>().unwrap());
    let mut rng = Rng::from_environment(20);
    let world = World::new();
    for number in 0..FILES {
        // Of one byte, of several blocks, and of everything between.
        let bits = rng.within(1..17);
        let size = 1 + rng.below(1 << bits) as usize;
        world.write(&format!("folder {}/{number}", number % 7), noise(size + 9, number as u64 + 1));
    }
    let (red, blue) = (world.add_disk("red", None), world.add_disk("blue", None));
    world.update_and_back_up("red");
    world.update_and_back_up("blue");
    let (mut flips, mut hit) = (0, 0);
    for number in 0..STORMS * scale {
        flips += storm(&red, rng.within(1..300) as usize, &BTreeSet::new(), &mut rng);
        let on_red = damaged(&red);
        // The other copy of what was hit is spared, so that it can come back.
        flips += storm(&blue, rng.within(1..100) as usize, &on_red, &mut rng);
        let on_blue = damaged(&blue);
        hit += on_red.len() + on_blue.len();

        let source = lose_source(&world);
        // A restore from both delivers what is good somewhere, and nothing else (R1, N10).
        let to = tempfile::tempdir().unwrap();
        world.dsb.run(["restore", "--to", to.path().to_str().unwrap()]).code(4);
        let restored = to.path().join("data");
        distbackup_testkit::compare::assert_same_trees(&source, &restored, Compare::as_far_as_possible());

        assert_eq!(found(&world, "red", 4), on_red, "storm {number} on red");
        let code = if on_blue.is_empty() { 0 } else { 4 };
        assert_eq!(found(&world, "blue", code), on_blue, "storm {number} on blue");
        world.dsb.run(["heal"]).ok();
        fs::rename(source, world.source()).unwrap();
        assert_eq!((damaged(&red), damaged(&blue)), Default::default(), "storm {number}");
        assert_eq!(found(&world, "red", 0), BTreeSet::new());
        let catalog = if rng.once_in(2) { &red } else { &blue };
        rot(&catalog.join("distbackup.sqlite"), &mut rng);
        flips += 1;
        let name = catalog.file_name().unwrap().to_str().unwrap();
        let verify = answer(&world, &["verify", name], 4, "verify");
        assert_eq!((verify["catalog_copy_damaged"].as_bool(), verify["bad"].as_u64()), (Some(true), Some(0)));
        world.dsb.run(["backup", name]).ok();
        world.dsb.run(["verify", name]).ok();
    }
    eprintln!("{} storms: {flips} flips in {hit} objects, all found, all healed", STORMS * scale);
}
