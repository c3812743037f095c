//! `dsb disk`.

use std::io::{BufRead, IsTerminal, Write};

use distbackup_core::model::{Bytes, SizeRule};
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::{disks, shelf};
use distbackup_engine::platform::{Access, bytes_of_path};
use serde_json::json;

use crate::Outcome;
use crate::args::DiskCommand;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{ago, count, table};

/// Lists or changes the disks of the set.
pub fn run(context: &Context<'_>, command: Option<&DiskCommand>) -> Outcome {
    match command {
        None | Some(DiskCommand::List) => list(context),
        Some(DiskCommand::Add { name, path, size, location }) => {
            refuse_dry_run(context)?;
            let size = size.as_deref().map_or(Ok(SizeRule::Automatic), SizeRule::parse)?;
            let mut opened = context.open_or_create()?;
            let request = disks::AddDisk { name, folder: path, size, location: location.as_deref() };
            let added = disks::add(&mut opened.catalog, &context.clock(), &request)?;
            say_added(context, &added);
            Ok(Exit::DONE)
        }
        Some(DiskCommand::Set { disk, size, path, relpath, location, note }) => {
            let mut opened = context.open_to_write()?;
            let settings = disks::Settings {
                size: size.as_deref().map(SizeRule::parse).transpose()?,
                location: location.clone(),
                note: note.clone(),
                path: path.clone(),
                relative_path: relpath.as_ref().map(|path| bytes_of_path(std::path::Path::new(path))),
            };
            let (before, after) = disks::set(&mut opened.catalog, &context.clock(), disk, &settings)?;
            let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "not set".into());
            for (key, old, new) in [
                ("size", capacity(context, &before.size_rule), capacity(context, &after.size_rule)),
                ("location", word(&before.location), word(&after.location)),
                ("note", word(&before.note), word(&after.note)),
            ] {
                if old != new {
                    context.render.say(&format!("{}: {key}: {old} -> {new}", after.name));
                }
            }
            Ok(Exit::DONE)
        }
        Some(DiskCommand::Rename { disk, name }) => {
            let mut opened = context.open_to_write()?;
            let row = disks::rename(&mut opened.catalog, disk, name)?;
            context
                .render
                .say(&format!("{disk} is {} now; on the disk itself from its next visit on.", row.name));
            Ok(Exit::DONE)
        }
        Some(DiskCommand::Drop { disk }) => drop_disk(context, disk),
        Some(DiskCommand::Retire { disk, cancel: true, .. }) => super::carry::keep(context, disk),
        Some(DiskCommand::Retire { disk, staging, .. }) => super::carry::retire(context, disk, staging),
        Some(DiskCommand::Replace { old, new, staging }) => super::carry::replace(context, old, new, staging),
        Some(DiskCommand::Del { disk }) => {
            let mut opened = context.open_to_write()?;
            let row = disks::delete(&mut opened.catalog, disk)?;
            context.render.say(&format!("{} has left the set.", row.name));
            Ok(Exit::DONE)
        }
        Some(DiskCommand::Eject { disk }) => super::eject::run(context, disk.as_deref()),
        Some(DiskCommand::Health { disks }) => super::health::run(context, disks),
        Some(DiskCommand::Label { disk, svg, .. }) => super::label::run(context, disk, svg.as_deref()),
        Some(DiskCommand::Refresh { disk }) => {
            let mut opened = context.open_to_write()?;
            let run = context.begin_run(&mut opened.catalog)?;
            let outcome = (|| {
                let connected = shelf::open(&opened.catalog, disk.as_deref())?;
                let dry_run = context.global.dry_run;
                let mode = if dry_run { Access::Shared } else { Access::Exclusive };
                let _lock = context.lock_disk(&connected, mode)?;
                let (clock, render) = (context.clock(), context.render);
                let visit = disks::refresh(&mut opened.catalog, &connected, &clock, run, dry_run, render)?;
                let found = &visit.reconciled;
                context.render.problems("missing; they no longer count as copies", &found.missing);
                context
                    .render
                    .problems("of the wrong size; they no longer count as copies", &found.wrong_size);
                let (present, adopted) = (found.present.objects, found.adopted.objects);
                context.render.say(&format!(
                    "{}: {} there, {} taken over, {} missing.",
                    visit.disk,
                    count(present, "object", "objects"),
                    adopted,
                    found.missing.count
                ));
                Ok(if found.missing.is_empty() && found.wrong_size.is_empty() {
                    Exit::DONE
                } else {
                    Exit::DAMAGE
                })
            })();
            context.end_run(&mut opened.catalog, run, &outcome, &json!({}))?;
            outcome
        }
    }
}

/// How a disk's capacity is given, in words: bytes as a size, anything else as it is.
fn capacity(context: &Context<'_>, rule: &str) -> String {
    let (sign, digits) = rule.strip_prefix('-').map_or(("", rule), |digits| ("-", digits));
    digits
        .parse()
        .map_or_else(|_| rule.to_owned(), |bytes| format!("{sign}{}", context.render.size(Bytes(bytes))))
}

fn refuse_dry_run(context: &Context<'_>) -> Result<(), Failure> {
    if context.global.dry_run {
        return Err(Failure::Usage("this command has no dry run".into()));
    }
    Ok(())
}

/// Says that a disk joined.
pub fn say_added(context: &Context<'_>, added: &disks::Added) {
    let row = &added.connected.row;
    let room = context.render.size(row.capacity);
    let how = if added.adopted { "is back in the set" } else { "joins the set" };
    context.render.say(&format!("{} {how}: {} at {}.", row.name, room, added.connected.folder.display()));
    if let Some(source) = &added.shares_source {
        context.render.warning(&format!(
            "it is on the same filesystem as the source {}: one disk's death would take both",
            source.display()
        ));
    }
    if added.connected.unnamed_filesystem {
        context
            .render
            .warning("its filesystem has no identity of its own: the disk is found by its path alone");
    }
}

fn list(context: &Context<'_>) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let rows = reader.disks()?;
    let connected = shelf::connected_folders(&reader)?;
    let now_ns = context.clock().now_ns();
    if rows.is_empty() {
        context.render.note("No disk has joined yet. dsb disk add NAME PATH");
    }
    let mut cells = Vec::new();
    for row in rows {
        let (objects, bytes) = reader.held_total(row.disk)?;
        let folder = connected.get(&row.disk).map(|folder| folder.display().to_string());
        context.render.object(
            "disk",
            json!({ "name": row.name, "uuid": row.uuid.0, "capacity": row.capacity.0, "objects": objects,
                    "bytes": bytes.0, "location": row.location, "path": folder, "seen_ns": row.seen_ns }),
        );
        cells.push(vec![
            row.name,
            context.render.size(row.capacity),
            context.render.size(bytes),
            row.location.unwrap_or_default(),
            folder.unwrap_or_else(|| format!("seen {}", ago(row.seen_ns, now_ns))),
            row.uuid.0,
        ]);
    }
    if !cells.is_empty() {
        let head = ["name", ">size", ">holds", "where", "path", "uuid"];
        table(&head, &cells).iter().for_each(|line| context.render.line(line));
    }
    Ok(Exit::DONE)
}

/// Says what would be lost, asks for the disk's name, and forgets what it held.
fn drop_disk(context: &Context<'_>, disk: &str) -> Outcome {
    let mut opened = context.open_to_write()?;
    let (row, without) = disks::without(&opened.catalog, disk)?;
    let render = context.render;
    let total = without.elsewhere + without.only_here;
    render.say(&format!("{} holds {}. Without it:", row.name, render.size(total)));
    render.say(&format!("  {:>9}  keeps a copy or more elsewhere", render.size(without.elsewhere)));
    if without.only_here_objects > 0 {
        render.say(&format!(
            "  {:>9}  ({}) has no other copy on a disk; {} of it is still at the sources",
            render.size(without.only_here),
            count(without.only_here_objects, "object", "objects"),
            render.size(without.in_sources)
        ));
    }
    if !context.global.yes {
        let asked = !context.global.no_input && std::io::stdin().is_terminal();
        let what = format!("what {} holds was not forgotten", row.name);
        if !asked {
            return Err(Failure::Consent { what });
        }
        eprint!("Type the disk's name to forget it: ");
        std::io::stderr().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() != row.name {
            return Err(Failure::Consent { what });
        }
    }
    let (row, copies) = disks::drop_copies(&mut opened.catalog, disk)?;
    let copies = count(copies, "copy", "copies");
    render.say(&format!(
        "{copies} on {} no longer count. dsb disk del {} takes it out of the set.",
        row.name, row.name
    ));
    Ok(Exit::DONE)
}
