//! Every row of `docs/from-distbackup-1.md` has a test, and this is the list of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::{World, noise, objects_on};
use distbackup_testkit::compare::Compare;

/// What a row begins with, and the tests that hold it.
const TESTED: &[(&str, &[&str])] = &[
    (
        "`-d/--db`",
        &[
            "the_first_backup_on_a_fresh_computer_does_the_main_job",
            "a_dry_run_on_a_fresh_computer_leaves_it_fresh",
        ],
    ),
    (
        "`-l/--log FILE`",
        &[
            "c8_neither_catalog_nor_log_nor_objects_are_for_everybody_to_read",
            "the_log_goes_where_it_is_told",
        ],
    ),
    ("`-v`", &["what_distbackup_1_took_is_still_taken_or_says_what_replaces_it"]),
    ("`-e/--explain`", &["what_distbackup_1_took_is_still_taken_or_says_what_replaces_it"]),
    ("`-n/--noaction`", &["a_dry_run_of_any_command_changes_no_byte_and_no_time_anywhere"]),
    ("a bare command prints help", &["where_there_is_no_catalog_the_bare_command_says_how_to_begin"]),
    (
        "tab completion",
        &[
            "disks_paths_and_snapshots_are_offered_from_the_catalog",
            "scripts_and_manual_pages_are_there_for_every_command",
        ],
    ),
    (
        "progress bar",
        &[
            "a_phase_within_another_one_leaves_the_outer_counts_as_they_were",
            "sizes_are_shown_in_three_digits",
        ],
    ),
    ("sizes `7.4T`", &["sizes_are_read_as_people_write_them"]),
    (
        "migration of its own catalogs",
        &["a_set_of_the_last_version_1_moves_over_and_comes_back_byte_for_byte"],
    ),
    (
        "`source map`",
        &["n7_what_is_unmapped_becomes_history", "s13_of_one_source_mapped_below_another_the_inner_one_wins"],
    ),
    ("`source lock`", &["n6_what_is_locked_is_neither_looked_at_nor_forgotten"]),
    (
        "`source set`",
        &[
            "settings_can_be_given_as_json_and_are_answered_as_json",
            "a_rule_with_a_priority_decides_what_comes_first_where_room_is_short",
        ],
    ),
    (
        "`--follow`",
        &[
            "what_links_lead_to_is_backed_up_and_comes_back_as_files",
            "links_are_links_again_when_they_are_not_followed_any_more",
        ],
    ),
    ("`source reset`", &["a_reset_forgets_all_that_was_set"]),
    (
        "`noinherit`",
        &[
            "a_folder_can_refuse_what_it_inherits",
            "the_configuration_of_a_path_counts_more_than_rules_about_its_name",
        ],
    ),
    ("`include`, `exclude`", &["what_distbackup_1_exported_is_taken_over"]),
    (
        "rule syntax",
        &[
            "marks_say_what_happens_and_how_urgent_it_is",
            "a_rule_that_cannot_be_read_is_refused_with_its_place_and_changes_nothing",
            "check_shows_what_rules_would_hit_before_they_are_set",
        ],
    ),
    (
        "`.distbackup.skip`",
        &["n7_a_folder_with_a_skip_mark_becomes_history", "n7_what_is_hidden_becomes_history"],
    ),
    ("what cannot be listed", &["s12_a_folder_that_cannot_be_listed_is_not_deleted"]),
    (
        "sidecars",
        &[
            "a_file_that_its_sidecar_ranks_higher_is_served_first",
            "the_copies_of_a_file_are_those_that_its_sidecar_allows",
            "a_hash_in_a_sidecar_is_a_hint_and_a_difference_is_named",
        ],
    ),
    ("`\\` and `//`", &["other_ways_to_write_a_virtual_path_mean_the_same"]),
    ("`update`, `--ignore-lock`", &["n6_what_is_locked_is_neither_looked_at_nor_forgotten"]),
    ("`--nohelper`", &["what_distbackup_1_took_is_still_taken_or_says_what_replaces_it"]),
    (
        "unchanged: mtime",
        &[
            "s5_another_size_with_the_old_mtime_is_a_change",
            "s5_a_change_that_only_the_ctime_tells_is_found_by_every_kind_of_update",
        ],
    ),
    (
        "renames and hard links",
        &["moving_everything_is_no_mass_change", "s4_hard_links_are_read_once_told_and_repaired_together"],
    ),
    ("files and symlinks only", &["r6_everything_comes_back_as_it_was"]),
    ("goes on after an interruption", &["d1_killed_updates_leave_a_whole_catalog_and_the_next_one_finishes"]),
    ("a file that changes while", &["s8_a_file_that_never_rests_ends_the_update_all_the_same"]),
    (
        "`backup NAME",
        &[
            "a_first_backup_names_both_folders_as_a_shell_completes_them",
            "what_distbackup_1_took_is_still_taken_or_says_what_replaces_it",
        ],
    ),
    (
        "`--simulate`",
        &[
            "a_plan_says_what_the_visit_then_does",
            "what_distbackup_1_took_is_still_taken_or_says_what_replaces_it",
        ],
    ),
    ("`--noflush`", &["what_distbackup_1_took_is_still_taken_or_says_what_replaces_it"]),
    (
        "refuses while a file lacks",
        &["s7_one_file_that_cannot_be_read_does_not_keep_the_others_from_the_backup"],
    ),
    (
        "catalog on the disk",
        &["c4_a_damaged_catalog_copy_is_noticed_by_verify_and_replaced_by_the_next_visit"],
    ),
    (
        "deletes what is unreferenced",
        &[
            "what_was_deleted_is_history_for_as_long_as_the_user_wants_and_its_object_is_kept",
            "s3_when_everything_is_overwritten_the_old_contents_stay_until_the_user_accepts_it",
        ],
    ),
    (
        "fewest copies first",
        &[
            "a_rule_with_a_priority_decides_what_comes_first_where_room_is_short",
            "n3_a_copy_is_not_given_up_because_of_one_on_a_disk_that_is_to_leave",
        ],
    ),
    ("4 KiB and 4 KiB", &["room_is_billed_in_whole_units_and_one_block"]),
    ("Ctrl-C keeps", &["n9_ctrl_c_ends_a_backup_in_order_and_the_next_visit_finishes"]),
    (
        "`restore DISK DEST`",
        &[
            "what_distbackup_1_took_is_still_taken_or_says_what_replaces_it",
            "r5_files_on_no_connected_disk_are_told_with_the_disks_that_hold_them",
        ],
    ),
    ("`-e/--existing`", &["files_that_are_elsewhere_already_are_left_out_of_a_restore"]),
    ("`-l/--link`", &["what_distbackup_1_took_is_still_taken_or_says_what_replaces_it"]),
    (
        "`--minset`",
        &["the_smallest_set_of_disks_for_a_restore_is_told_without_a_disk_and_without_a_destination"],
    ),
    ("`NAME.dbtmp~`", &["r4_killed_restores_leave_nothing_half_done_under_a_files_name_and_go_on"]),
    ("symlinks in the wrong place", &["r3_a_symlink_in_the_place_of_a_folder_is_never_written_through"]),
    (
        "`verify DISK`",
        &[
            "n10_d7_verify_finds_every_flipped_bit_and_the_next_backup_heals_it",
            "d7_the_list_of_errors_has_a_line_for_each_damaged_or_missing_object",
        ],
    ),
    ("bad objects move", &["n10_d7_quarantine_keeps_what_was_bad_for_inspection_and_out_of_the_way"]),
    ("`-d/--delete`", &["what_distbackup_1_took_is_still_taken_or_says_what_replaces_it"]),
    (
        "`-s/--start HEX`",
        &[
            "d7_what_a_verify_found_before_it_was_interrupted_counts_for_the_one_that_goes_on",
            "what_distbackup_1_took_is_still_taken_or_says_what_replaces_it",
        ],
    ),
    ("`info`", &["info_tells_how_much_each_disk_holds_alone_and_together_with_others"]),
    (
        "`ls [PATTERN]",
        &["a_star_crosses_folders_as_in_1x", "a_file_that_its_sidecar_ranks_higher_is_served_first"],
    ),
    (
        "`tree`, `ncdu`",
        &[
            "the_tree_shows_folders_and_files_by_size_with_what_they_hold_by_number_of_copies",
            "filters_choose_by_copies_and_disks",
            "ncdu_reads_what_is_exported_for_it",
        ],
    ),
    ("`debug hash`", &["debug_tells_the_hash_of_a_file_and_what_is_known_of_an_entry"]),
    ("`disk list`", &["a_disk_is_renamed_set_refreshed_dropped_and_deleted"]),
    ("slots of deleted disks", &["d14_a_new_disk_inherits_nothing_from_one_that_left"]),
    (
        "found by filesystem",
        &["d12_a_clone_used_in_turn_with_its_original_is_recognised_and_nothing_on_either_is_deleted"],
    ),
    ("`.distbackup.uuid`", &["a_disk_from_before_1_0_is_taken_over_where_it_lies"]),
    (
        "`config export`",
        &[
            "what_is_exported_can_be_imported_into_a_new_set",
            "the_configuration_can_be_edited_and_a_mistake_changes_nothing",
        ],
    ),
];

/// The first cells of the tables of what 1.x does.
fn rows() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/from-distbackup-1.md");
    let text = fs::read_to_string(file).unwrap();
    let firsts = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    firsts.filter(|cell| *cell != "distbackup 1.x").map(str::to_owned).collect()
}

fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("#[test]").skip(1).filter_map(|rest| rest.split("fn ").nth(1));
            found.extend(names.filter_map(|rest| rest.split('(').next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_row_of_what_distbackup_1_does_has_a_test_that_exists() {
    let mut tests = BTreeSet::new();
    tests_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut tests);
    let rows = rows();
    assert!(rows.len() > 50, "the tables are not read any more: {rows:?}");
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in &rows {
        let Some((begin, names)) = TESTED.iter().find(|(begin, _)| row.starts_with(begin)) else {
            wrong.push(format!("no test is named for: {row}"));
            continue;
        };
        *used.entry(begin).or_default() += 1;
        wrong.extend(
            names
                .iter()
                .filter(|name| !tests.contains(**name))
                .map(|name| format!("{row}: there is no test {name}")),
        );
    }
    wrong.extend(
        TESTED
            .iter()
            .filter(|(begin, _)| !used.contains_key(begin))
            .map(|(begin, _)| format!("no row begins with {begin}")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_log_goes_where_it_is_told() {
    let world = World::new();
    let logs = world.place("logs");
    fs::create_dir(&logs).unwrap();
    let pattern = logs.join("dsb-@@.txt");
    world.dsb.run(["-l", pattern.to_str().unwrap(), "update"]).ok();
    let names: Vec<_> = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1);
    let name = names[0].to_str().unwrap();
    assert!(name.starts_with("dsb-20") && !name.contains('@'), "{name}");
    let usual = || fs::read_dir(world.dsb.catalog().join("log")).map_or(0, |names| names.count());
    let before = usual();
    fs::remove_dir_all(world.dsb.catalog().join("log")).ok();
    world.dsb.run(["-L", "update"]).ok();
    assert!(usual() == 0, "there was {before}");
}

#[test]
fn where_there_is_no_catalog_the_bare_command_says_how_to_begin() {
    let world = World::empty();
    world
        .dsb
        .run([] as [&str; 0])
        .ok()
        .says("There is no catalog yet")
        .says("dsb init")
        .says("dsb backup --update");
    world.map("/data", &world.source());
    world.dsb.run([] as [&str; 0]).ok().says("NOTHING PROTECTED YET").says("Next:");
}

#[test]
fn a_reset_forgets_all_that_was_set() {
    let world = World::new();
    world.write("a.tmp", "a");
    world
        .dsb
        .run(["source", "set", "-p", "3", "-m", "2", "-i", "*.tmp", "--follow", "/data"])
        .ok()
        .says("priority");
    world
        .dsb
        .run(["source", "reset", "/data"])
        .ok()
        .says("priority: 3 -> not set")
        .says("rules: *.tmp -> not set");
    world.dsb.run(["source", "set", "/data"]).ok().says("nothing is configured");
    world.dsb.run(["update"]).ok();
    world.dsb.run(["ls", "*.tmp"]).ok().says("/data/a.tmp");
}

#[test]
fn other_ways_to_write_a_virtual_path_mean_the_same() {
    let world = World::new();
    world.write("deep/file", "x");
    world.dsb.run(["update"]).ok();
    for way in ["/data/deep/file", "/data//deep//file", "\\data\\deep\\file", "/data/deep/file/"] {
        world.dsb.run(["where", way]).ok().says("/data/deep/file ");
    }
}

#[test]
fn debug_tells_the_hash_of_a_file_and_what_is_known_of_an_entry() {
    let world = World::new();
    let file = world.write("abc", "abc");
    world.dsb.run(["update"]).ok();
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    world.dsb.run(["debug", "hash", file.to_str().unwrap()]).ok().says(hash);
    world.dsb.run(["debug", "info", "/data/abc"]).ok().says(hash);
}

#[test]
fn a_disk_is_renamed_set_refreshed_dropped_and_deleted() {
    let world = World::new();
    world.write("a", "a");
    world.add_disk("red", Some("10M"));
    world.update_and_back_up("red");
    world.dsb.run(["disk", "list"]).ok().says("red");
    world.dsb.run(["disk", "mv", "red", "crimson"]).ok();
    world.dsb.run(["disk", "rename", "crimson", "scarlet"]).ok();
    world
        .dsb
        .run(["disk", "set", "scarlet", "-s", "20M", "--location", "safe"])
        .ok()
        .says("10.0 MB -> 20.0 MB");
    world.dsb.run(["disk", "refresh", "scarlet"]).ok().says("1 object there");
    world.dsb.run(["disk", "del", "scarlet"]).code(14);
    world.dsb.run(["disk", "drop", "scarlet"]).code(14);
    world.dsb.run(["disk", "drop", "scarlet", "--yes"]).ok();
    world.dsb.run(["disk", "del", "scarlet"]).ok();
    assert!(!world.dsb.run(["disk", "list"]).ok().stdout().contains("scarlet"));
    assert_eq!(objects_on(&world.place("red")).len(), 1, "what lies on it is the user's");
}

#[test]
fn a_disk_from_before_1_0_is_taken_over_where_it_lies() {
    let world = World::new();
    for seed in 1..4 {
        world.write(&format!("{seed}"), noise(5000, seed));
    }
    let old = world.add_disk("old", None);
    world.update_and_back_up("old");
    // The same disk as it was then, and a computer that has never seen it.
    fs::rename(old.join("distbackup-objects"), old.join(".distbackup.data")).unwrap();
    for name in ["distbackup-disk.json", "distbackup.sqlite", "RESTORE.txt", "restore.py"] {
        fs::remove_file(old.join(name)).unwrap();
    }
    let uuid = "0123ABCD-0123-4567-89ab-0123456789AB";
    fs::write(old.join(".distbackup.uuid"), format!("{uuid}\n")).unwrap();
    fs::write(old.join(".distbackup.name"), "old\n").unwrap();
    fs::remove_dir_all(world.dsb.catalog()).unwrap();
    world.map("/data", &world.source());
    world.dsb.run(["update"]).ok();
    world.dsb.run(["disk", "add", "old", old.to_str().unwrap()]).ok().says("old is back in the set");
    let identity = fs::read_to_string(old.join("distbackup-disk.json")).unwrap();
    assert!(identity.contains(&uuid.to_lowercase()), "{identity}");
    let visit = world.dsb.run(["backup", "old"]).ok();
    assert!(!visit.stdout().contains("Copied"), "all of it is there already\n{visit}");
    assert_eq!(objects_on(&old).len(), 3);
    world.dsb.run(["verify", "old"]).ok();
    world.restores(&world.source(), Compare::EVERYTHING);
}
