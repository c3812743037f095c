//! The worked examples of PLACEMENT 8: small shelves whose best plan is known.

mod world;

use distbackup_core::model::Bytes;
use distbackup_core::planner::{State, advise, reachable_levels};
use world::{UNIT, World, options};

/// On no disk yet.
const NEW: &[usize] = &[];

/// Disks of so many units; objects of one unit, each on the disks given.
fn shelf(disks: &[u64], objects: &[&[usize]]) -> World {
    let mut world = World::default();
    let class = world.class(1, None);
    for &units in disks {
        world.disk(units * UNIT);
    }
    for on in objects {
        world.object(UNIT, 0, class, on);
    }
    world
}

fn units(world: &World) -> Vec<u64> {
    let mut levels: Vec<u64> = world.levels().iter().map(|level| level / UNIT).collect();
    while levels.last() == Some(&0) {
        levels.pop();
    }
    levels
}

fn traffic(world: &World) -> (u64, u64) {
    (world.written / UNIT, world.deleted / UNIT)
}

#[test]
fn example_1_copies_rise_like_water() {
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut world = shelf(&[4, 4, 4], &[NEW; 6]);
        world.visit_all(&order);
        assert_eq!((units(&world), traffic(&world)), (vec![6, 6], (12, 0)));
    }
    assert_eq!(reachable_levels(&[6; 3], &[4; 3]), [6, 6, 0]);
}

#[test]
fn example_2_a_disk_larger_than_the_data() {
    let mut world = shelf(&[10, 3, 3], &[NEW; 4]);
    world.visit_all(&[1, 0, 2]);
    assert_eq!((units(&world), traffic(&world)), (vec![4, 4, 2], (10, 0)));
}

#[test]
fn example_3_new_files_take_the_place_of_second_copies() {
    let mut world = shelf(&[4, 4], &[&[0, 1], &[0, 1], &[0, 1], &[0, 1], &[], &[]]);
    world.visit_all(&[0]);
    assert_eq!(traffic(&world), (2, 2));
    world.visit_all(&[1]);
    assert_eq!((units(&world), traffic(&world)), (vec![6, 2], (2, 2)));
}

/// A, B, C full, E empty; objects 5 and 6 lie on C alone.
fn waiting() -> World {
    shelf(&[4, 4, 4, 4], &[&[0, 1, 2], &[0, 1, 2], &[0, 1], &[0, 1], &[2], &[2]])
}

#[test]
fn example_4_nothing_is_evicted_for_what_another_disk_can_take() {
    let mut world = waiting();
    assert!(world.plan(0).is_idle());
    world.visit_all(&[0, 3]);
    assert_eq!((units(&world), traffic(&world)), (vec![6, 6, 4], (4, 0)));
}

#[test]
fn example_5_a_disk_takes_what_the_others_cannot_take() {
    let mut objects: Vec<&[usize]> = vec![&[1]; 4];
    objects.extend([&[0usize] as &[usize]; 6]);
    let mut world = shelf(&[6, 8, 4], &objects);
    world.visit_all(&[2, 1]);
    assert_eq!((units(&world), traffic(&world)), (vec![10, 8], (8, 0)));
}

#[test]
fn example_6_the_last_copy_stays_whatever_the_priority() {
    let mut world = shelf(&[2], &[&[0], &[0]]);
    let urgent = world.class(9, None);
    world.object(UNIT, 0, urgent, &[]);
    let plan = world.plan(0);
    assert!(plan.is_idle());
    assert_eq!(plan.unplaced_by_copies[0].objects, 1, "the report says that it has no copy");
}

#[test]
fn example_7_priority_decides_inside_a_level() {
    let mut world = shelf(&[2, 2], &[&[], &[]]);
    let urgent = world.class(5, None);
    let third = world.object(UNIT, 0, urgent, &[]);
    world.visit_all(&[0, 1]);
    assert_eq!(units(&world), [3, 1]);
    assert_eq!(world.copies(third as usize), 2);
}

/// Objects limited to one copy, and one without limit.
fn capped(disks: usize, capped: usize) -> World {
    let mut world = shelf(&vec![2; disks], &[]);
    let once = world.class(1, Some(1));
    for _ in 0..capped {
        world.object(UNIT, 0, once, &[]);
    }
    world.object(UNIT, 0, 0, &[]);
    world
}

#[test]
fn example_8_what_needs_most_distinct_disks_goes_first() {
    let mut world = capped(2, 2);
    world.visit_all(&[0, 1]);
    assert_eq!((units(&world), traffic(&world)), (vec![3, 1], (4, 0)));
}

#[test]
fn example_9_relocation_makes_blocked_room_useful() {
    let mut world = capped(3, 3);
    world.visit_all(&[0, 1, 2, 0, 1, 2]);
    assert_eq!((units(&world), traffic(&world)), (vec![4, 1, 1], (7, 1)));
}

#[test]
fn example_10_a_rock_goes_first_where_it_fits() {
    let mut world = shelf(&[10, 10], &[]);
    for size in [9, 9, 1, 1] {
        world.object(size * UNIT, 0, 0, &[]);
    }
    world.visit_all(&[0, 1]);
    assert_eq!((units(&world), traffic(&world)), (vec![20], (20, 0)));
}

#[test]
fn example_11_the_victim_is_no_larger_than_it_has_to_be() {
    let mut world = shelf(&[10, 10, 10, 1], &[]);
    world.object(9 * UNIT, 0, 0, &[0, 1, 2]);
    let small = world.object(UNIT, 0, 0, &[0, 1, 2]);
    world.object(UNIT, 0, 0, &[3]);
    assert_eq!(world.plan(0).victims(), [small]);
    world.visit_all(&[0]);
    assert_eq!((units(&world), traffic(&world)), (vec![11, 11, 9], (1, 1)));
}

#[test]
fn example_12_nothing_is_evicted_for_a_source_that_is_gone() {
    let mut world = shelf(&[4, 4], &[&[0, 1], &[0, 1], &[0, 1], &[0, 1], &[], &[]]);
    world.objects[4].state = State::LiveUnreadable;
    world.visit_all(&[0]);
    assert_eq!((units(&world), traffic(&world)), (vec![5, 3], (1, 1)));
}

#[test]
fn example_13_an_idle_shelf_is_left_alone() {
    let mut world = shelf(&[4, 4, 4], &[NEW; 6]);
    world.visit_all(&[0, 1, 2]);
    let holders = world.claimed.clone();
    world.visit_all(&[2, 0, 1, 1, 0]);
    assert_eq!((world.claimed.clone(), traffic(&world)), (holders, (12, 0)));
}

#[test]
fn example_14_a_disk_that_is_away_too_long_is_not_waited_for() {
    let mut world = waiting();
    world.disks[3].days_away = 500;
    world.visit_all(&[0]);
    assert_eq!((units(&world), traffic(&world)), (vec![6, 6], (2, 2)));
}

#[test]
fn example_15_a_lost_disk_leaves_nothing_to_do_where_the_bound_is_met() {
    let mut world = shelf(&[4, 4, 4], &[NEW; 6]);
    world.visit_all(&[0, 1, 2]);
    world.disks.pop();
    world.claimed.iter_mut().for_each(|set| *set &= 0b011);
    world.standing.iter_mut().for_each(|set| *set &= 0b011);
    assert_eq!(units(&world), [6, 2]);
    assert!(world.plan(0).is_idle() && world.plan(1).is_idle());
    assert_eq!(world.plan(0).bound, [Bytes(6 * UNIT), Bytes(2 * UNIT)]);
}

#[test]
fn the_plan_says_what_is_reached_and_what_could_be() {
    let world = waiting();
    let plan = world.plan(3);
    let of = |levels: &[Bytes]| levels.iter().map(|level| level.0 / UNIT).collect::<Vec<_>>();
    assert_eq!(of(&plan.levels_before), [6, 4, 2, 0]);
    assert_eq!(of(&plan.levels_after), [6, 6, 4, 0]);
    assert_eq!(of(&plan.bound), [6, 6, 4, 0]);
    assert_eq!(plan.floor[0].copies, 2);
    assert_eq!(plan.room_after, Bytes(0));
}

#[test]
fn the_next_disk_is_the_one_that_gains_most() {
    let advice = advise(&waiting().input(), &options(0));
    assert_eq!(advice[0].disk, 3);
    assert_eq!(advice[0].gain, [0, 2 * UNIT as i64, 2 * UNIT as i64, 0]);
    assert_eq!(advice[1].gain, [0, 0, 0, 0]);
}

#[test]
fn n3_a_copy_that_stands_alone_is_no_victim_and_the_disk_to_verify_is_named() {
    // As example 3, but nothing on B was read for years.
    let mut world = shelf(&[4, 4], &[&[0, 1], &[0, 1], &[0, 1], &[0, 1], &[], &[]]);
    world.standing.iter_mut().take(4).for_each(|set| *set &= 0b01);
    let plan = world.plan(0);
    assert!(plan.is_idle());
    assert_eq!(plan.stale.len(), 1);
    assert_eq!((plan.stale[0].disk, plan.stale[0].tally.objects), (1, 4));
}

#[test]
fn n3_no_priority_is_high_enough_for_a_copy_that_stands_alone() {
    let mut world = shelf(&[1, 1], &[&[0, 1]]);
    let urgent = world.class(9, None);
    world.object(UNIT, 0, urgent, &[]);
    world.standing[0] = 0b01;
    assert!(world.plan(0).is_idle());
    world.standing[0] = 0b11;
    assert_eq!(world.plan(0).victims(), [0]);
}

#[test]
fn n3_excess_copies_stay_until_enough_others_stand() {
    let mut world = shelf(&[4, 4, 4], &[]);
    let once = world.class(1, Some(1));
    let object = world.object(UNIT, 0, once, &[0, 1, 2]);
    assert_eq!(world.plan(0).excess, [object]);
    world.standing[object as usize] = 0b001;
    assert!(world.plan(0).is_idle());
}

#[test]
fn dead_objects_are_cleaned_and_their_room_is_used() {
    let mut world = shelf(&[2], &[&[0], &[]]);
    let dead = world.object(UNIT, 0, 0, &[0]);
    world.objects[dead as usize].state = State::Dead;
    let plan = world.plan(0);
    assert_eq!((plan.clean.clone(), plan.copies().len(), plan.victims().len()), (vec![dead], 1, 0));
}

#[test]
fn n7_redundant_history_goes_before_live_copies_and_its_last_copy_never() {
    let mut world = shelf(&[3, 3], &[&[0, 1], &[]]);
    let redundant = world.object(UNIT, 0, 0, &[0, 1]);
    let last = world.object(UNIT, 0, 0, &[0]);
    world.objects[redundant as usize].state = State::History;
    world.objects[last as usize].state = State::History;
    assert_eq!(world.plan(0).victims(), [redundant]);

    // Without the redundant one, a live second copy goes; the last copy of history stays.
    world.objects[redundant as usize].state = State::Live;
    world.claimed[redundant as usize] = 0b01;
    world.standing[redundant as usize] = 0b01;
    assert_eq!(world.plan(0).victims(), [0]);

    // Nothing is redundant: only the user's word lets history go, and only for first copies.
    world.claimed[0] = 0b01;
    world.standing[0] = 0b01;
    world.history_oldest_first = vec![last];
    assert!(world.plan(0).is_idle());
    let allowed = distbackup_core::planner::Options { allow_history_loss: true, ..options(0) };
    let plan = distbackup_core::planner::plan_visit(&world.input(), &allowed);
    assert_eq!((plan.victims(), plan.copies().len()), (&[last][..], 1));
}

#[test]
fn history_is_never_copied_and_is_no_part_of_the_levels() {
    let mut world = shelf(&[3, 3], &[]);
    let old = world.object(UNIT, 0, 0, &[0]);
    world.objects[old as usize].state = State::History;
    assert!(world.plan(1).is_idle());
    assert_eq!(world.plan(1).levels_before, [Bytes(0), Bytes(0)]);
}

#[test]
fn new_files_that_were_not_hashed_yet_evict_nothing_and_come_after_known_ones() {
    let mut world = shelf(&[3, 3], &[&[0, 1], &[0, 1], &[], &[]]);
    world.objects[2].state = State::Provisional;
    let plan = world.plan(0);
    let copies: Vec<_> = plan.copies().map(|copy| (copy.object, copy.victims.len())).collect();
    assert_eq!(copies, [(3, 0)], "the one free unit is for the known object");

    world.objects[3].state = State::Provisional;
    assert_eq!(world.plan(0).copies().len(), 1);
    assert!(world.plan(0).victims().is_empty());
}

#[test]
fn a_copy_at_another_place_is_worth_more_than_one_beside_the_first() {
    // A and B at home, C at the office: what lies on A and B counts as one copy.
    let mut world = shelf(&[4, 4, 2], &[&[0, 1], &[0, 1], &[0, 2], &[0, 2]]);
    for (disk, place) in [0, 0, 1].into_iter().enumerate() {
        world.disks[disk].location = Some(place);
    }
    // Both are at level 2 or 1 only by place: the office takes nothing away from those at level 2.
    assert!(world.plan(2).is_idle());
    world.disks[2].capacity = Bytes(3 * UNIT);
    assert_eq!(world.plan(2).copies().map(|copy| copy.object).collect::<Vec<_>>(), [0]);
}

#[test]
fn d17_what_the_filesystem_cannot_hold_is_not_planned_there() {
    let mut world = shelf(&[100, 5], &[]);
    let large = world.object(9 * UNIT, 0, 0, &[]);
    world.disks[0].file_max = Bytes(4096 * 10);
    let plan = world.plan(0);
    assert!(plan.is_idle());
    assert_eq!(plan.fits_nowhere.objects, 1);
    world.disks[0].file_max = Bytes(4096 * 17);
    assert_eq!(world.plan(0).copies().next().map(|copy| copy.object), Some(large));
}

#[test]
fn large_allocation_units_are_billed() {
    // Two objects of one block on a disk with units of 128 KiB: each bills 132 KiB.
    let mut world = shelf(&[0, 100], &[&[], &[]]);
    world.disks[0].unit = 131_072;
    world.disks[0].capacity = Bytes(135_168 * 2 - 1);
    assert_eq!(world.plan(0).copies().len(), 1);
    world.disks[0].capacity = Bytes(135_168 * 2);
    assert_eq!(world.plan(0).copies().len(), 2);
}

#[test]
fn limits_of_one_visit_cut_copies_and_delete_nothing() {
    let world = shelf(&[4, 4], &[&[1], &[1], &[], &[]]);
    let plan = |change: &dyn Fn(&mut distbackup_core::planner::Options)| {
        let mut options = options(0);
        change(&mut options);
        let plan = distbackup_core::planner::plan_visit(&world.input(), &options);
        plan.copies().map(|copy| copy.object).collect::<Vec<_>>()
    };
    assert_eq!(plan(&|_| ()), [2, 3, 0, 1]);
    assert_eq!(plan(&|options| options.copies_max = Some(1)), [2, 3]);
    assert_eq!(plan(&|options| options.bytes_max = Some(Bytes(3 * UNIT))), [2, 3, 0]);
}

#[test]
fn a_reserve_is_kept_free_of_copies_that_not_everything_can_have() {
    // Two objects; the disks can give both a second copy, and a third only while nothing else comes.
    let world = shelf(&[4, 2, 2], &[&[1], &[1]]);
    let copies = |reserve: u64| {
        let options = distbackup_core::planner::Options { reserve: Bytes(reserve * UNIT), ..options(2) };
        distbackup_core::planner::plan_visit(&world.input(), &options).copies().len()
    };
    assert_eq!((copies(0), copies(2)), (2, 2), "needed for the second copies");
    let world = shelf(&[4, 2, 2, 3], &[&[0, 1, 2], &[0, 1, 2], &[0], &[0]]);
    let copies = |reserve: u64| {
        let options = distbackup_core::planner::Options { reserve: Bytes(reserve * UNIT), ..options(3) };
        distbackup_core::planner::plan_visit(&world.input(), &options).copies().len()
    };
    assert_eq!((copies(0), copies(1)), (3, 2));
}

#[test]
fn numbers_that_point_nowhere_are_left_alone() {
    let mut input = shelf(&[4], &[&[], &[0]]).input();
    input.objects[0].nexus = 77;
    input.objects[1].class = 99;
    input.nexuses[0].claimed = vec![0, 9, 9];
    assert!(distbackup_core::planner::plan_visit(&input, &options(0)).is_idle());
    assert!(distbackup_core::planner::plan_visit(&input, &options(5)).is_idle());
    assert!(distbackup_core::planner::plan_visit(&Default::default(), &options(0)).is_idle());
}
