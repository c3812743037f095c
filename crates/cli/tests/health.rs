//! `disk health`: what smartctl tells, in words; the reports are those of the engine's tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod tools;

use common::{World, object};
use distbackup_testkit::dsb::{Dsb, Run};
use distbackup_testkit::mounts::{Filesystem, LoopDisk};
use distbackup_testkit::or_skip;
use tools::Tools;

/// A computer with a mounted disk `red`.
fn with_disk() -> Option<(World, LoopDisk)> {
    let disk = LoopDisk::new(Filesystem::Ext4, 32 << 20)?;
    let world = World::empty();
    world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
    Some((world, disk))
}

/// Asks on the same computer, where these programs only are found.
fn asked(world: &World, tools: &Tools, arguments: &[&str]) -> Run {
    let dsb = Dsb::new(env!("CARGO_BIN_EXE_dsb"))
        .with_env("DISTBACKUP_PATH", world.dsb.catalog())
        .with_env("PATH", tools.path());
    dsb.run([arguments, &["disk", "health"]].concat())
}

/// The words of a shell that answer with a stored report.
fn report(name: &str) -> String {
    format!("cat '{}/../engine/tests/smartctl/{name}.json'", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_good_drive_is_called_good_with_its_age_and_heat() {
    let (world, _disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add("smartctl", &report("sata-good"));
    let run = asked(&world, &tools, &[]).ok().says("red: good (WDC WD40EFRX-68N32N0, /dev/");
    run.says("): 8,123 h under power, 34 °C\n");
    let calls = tools.calls();
    assert!(calls.len() == 1 && calls[0].starts_with("smartctl --json -a /dev/"), "{calls:?}");
}

#[test]
fn a_failing_drive_ends_with_4_and_the_way_to_replace_it() {
    let (world, _disk) = or_skip!(with_disk());
    let tools = Tools::none();
    // Its exit status is a set of bits; here, that the drive is failing and has logged errors.
    tools.add("smartctl", &format!("{}; exit 24", report("sata-failing")));
    let run = asked(&world, &tools, &[]).code(4).says("red: failing (").says("137 sectors could not be read");
    run.warns("dsb disk replace red NEW");
    let health = object(&asked(&world, &tools, &["--json"]).code(4), "health");
    let drive = &health["drives"][0];
    assert_eq!((&health["verdict"], &drive["passed"]), (&"failing".into(), &false.into()), "{health}");
    assert_eq!((&drive["pending"], &drive["power_on_hours"]), (&96.into(), &51_022.into()), "{health}");
}

#[test]
fn a_worn_drive_is_no_damage_yet() {
    let (world, _disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add("smartctl", &report("nvme-worn"));
    let run = asked(&world, &tools, &[]).ok().says("red: worn (Samsung SSD 970 EVO Plus 1TB");
    run.says("97 % of its promised life is used").warns("dsb verify red");
}

#[test]
fn a_drive_behind_a_usb_bridge_is_asked_again_through_it() {
    let (world, _disk) = or_skip!(with_disk());
    let tools = Tools::none();
    let (good, silent) = (report("sata-good"), report("usb-unsupported"));
    tools.add("smartctl", &format!("case \"$*\" in *'-d sat'*) {good};; *) {silent}; exit 1;; esac"));
    asked(&world, &tools, &[]).ok().says("red: good (WDC");
    assert_eq!(tools.calls().len(), 2, "{:?}", tools.calls());

    tools.add("smartctl", &format!("{silent}; exit 1"));
    asked(&world, &tools, &[]).ok().says("red: unknown (/dev/").says("Unknown USB bridge");
}

#[test]
fn without_rights_or_without_smartctl_the_command_is_said_that_helps() {
    let (world, _disk) = or_skip!(with_disk());
    let tools = Tools::none();
    let said = r#"{"smartctl":{"messages":[{"string":"Smartctl open device: /dev/sdb failed: Permission denied","severity":"error"}],"exit_status":2}}"#;
    tools.add("smartctl", &format!("echo '{said}'; exit 2"));
    let run = asked(&world, &tools, &[]).ok().says("red: unknown").says("Permission denied");
    run.warns("smartctl --json -a /dev/");

    let nothing = Tools::none();
    let run = asked(&world, &nothing, &[]).code(1).warns("smartctl is not installed");
    run.warns("hint: sudo apt install smartmontools");
}

#[test]
fn n12_a_drive_that_sends_nonsense_is_unknown_and_steers_no_terminal() {
    let (world, _disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools
        .add("smartctl", r#"printf '{"model_name":"\\u001b[31mX\\u009b2J","smart_status":{"passed":true}}'"#);
    asked(&world, &tools, &[]).ok().harmless().says("red: good (");
    tools.add("smartctl", "head -c 100000 /dev/urandom");
    asked(&world, &tools, &[]).ok().harmless().says("red: unknown (");
}
