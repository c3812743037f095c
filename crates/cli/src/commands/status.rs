//! `dsb status`, and what `dsb` alone says.

use distbackup_core::model::{Bytes, DAY_NS};
use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::rot::Rot;
use distbackup_engine::ops::{guard, shelf};
use distbackup_engine::report::{self, Status};
use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::Mood;
use crate::render::words::{ago, count, grouped, share, table};

const QUICK_START: &str = "\
There is no catalog yet. To begin, by four questions: dsb init
Or step by step:
  dsb source map /photos ~/Pictures     what to protect
  dsb disk add red /media/red           a disk joins the shelf
  dsb backup --update red               scan, and make the best use of the disk
  dsb status                            what is safe
Or all in one: dsb backup /media/red --source ~/Pictures        dsb --help shows the rest.";

/// The status where there is a catalog, the quick start where there is none.
pub fn or_quick_start(context: &Context<'_>) -> Outcome {
    if context.path.exists() {
        return run(context, false);
    }
    context.render.line(QUICK_START);
    Ok(Exit::DONE)
}

/// A disk that was read in full longer ago than this should be read again.
const VERIFY_DAYS: i64 = 365;

/// Shows what is safe; with `check`, only what is not as it should be, and ends with 5 then.
pub fn run(context: &Context<'_>, check: bool) -> Outcome {
    let opened = context.open_to_read()?;
    let status = report::status(&opened.catalog.read())?;
    let held = guard::held(&opened.catalog.read())?;
    let rot = super::rot::known(&opened.catalog)?;
    if context.render.is_json() {
        as_json(context, &status, held.as_ref(), &rot);
    } else if !check {
        as_text(context, &opened.catalog, &status)?;
        if let Some(held) = &held {
            context.render.line(&format!(
                "HELD: {} of {} files were deleted or changed since snapshot {}; they stay kept until: dsb update --accept",
                grouped(held.what.gone.objects),
                grouped(held.what.of.objects),
                held.accepted.0
            ));
        }
        for line in super::rot::lines(context, &rot) {
            context.render.line(&line);
        }
    }
    if !check {
        return Ok(Exit::DONE);
    }
    let wrong = overdue(context, &status, held.is_some(), rot.total.objects);
    context.render.object("check", json!({ "wrong": wrong }));
    for line in &wrong {
        context.render.line(&format!("CHECK: {line}"));
    }
    Ok(if wrong.is_empty() { Exit::DONE } else { Exit::BELOW })
}

/// What is not as it should be, in sentences.
fn overdue(context: &Context<'_>, status: &Status, held: bool, rotten: u64) -> Vec<String> {
    let (render, mut wrong) = (context.render, Vec::new());
    let now_ns = context.clock().now_ns();
    if status.below_target.objects > 0 {
        wrong.push(format!(
            "{} ({}) below the wanted number of copies",
            count(status.below_target.objects, "object is", "objects are"),
            render.size(status.below_target.bytes)
        ));
    }
    if held {
        wrong.push("a mass change waits for a word: dsb update --accept".to_owned());
    }
    if rotten > 0 {
        wrong.push(format!("{} at the sources", count(rotten, "file has rotted", "files have rotted")));
    }
    for disk in status.disks.iter().filter(|disk| !disk.row.retiring) {
        let name = &disk.row.name;
        if disk.lost.objects > 0 {
            wrong.push(format!("{name} has lost objects: dsb heal {name}"));
        }
        if disk.row.doubt.is_some() {
            wrong.push(format!("{name} is in doubt: dsb verify {name}"));
        }
        let read_ns = disk.row.verified_ns.unwrap_or(disk.row.added_ns);
        if now_ns.saturating_sub(read_ns) / DAY_NS > VERIFY_DAYS {
            wrong.push(format!("{name} was not verified for a year: dsb verify {name}"));
        }
    }
    wrong
}

/// The last lines of a backup: what is safe now.
pub fn closing(context: &Context<'_>, catalog: &Catalog) -> Result<(), Failure> {
    let status = report::status(&catalog.read())?;
    let total = status.total();
    let render = context.render;
    let none = status.levels.first().map_or(Bytes(0), |level| level.bytes) + status.pending.bytes;
    let one = status.levels.get(1).map_or(Bytes(0), |level| level.bytes);
    let disks = count(status.disks.len() as u64, "disk", "disks");
    let sentence = if total.files == 0 {
        "The sources hold no content yet.".to_owned()
    } else if none > Bytes(0) {
        format!("{} of {} are on no disk yet.", render.size(none), render.size(total.bytes))
    } else if one > Bytes(0) {
        format!(
            "Safe now: all {} have a copy; {} have only one. Another disk gives them a second.",
            render.size(total.bytes),
            render.size(one)
        )
    } else {
        format!("Safe now: all {} have two copies or more, on {disks}.", render.size(total.bytes))
    };
    render.say(&sentence);
    Ok(())
}

fn as_json(context: &Context<'_>, status: &Status, held: Option<&guard::Held>, rot: &Rot) {
    let level = |level: &report::Level| json!({ "files": level.files, "bytes": level.bytes.0 });
    context.render.object(
        "status",
        json!({
            "levels": status.levels.iter().map(level).collect::<Vec<_>>(),
            "pending": level(&status.pending), "empty_files": status.empty_files, "too_large": level(&status.too_large),
            "below_target": { "objects": status.below_target.objects, "bytes": status.below_target.bytes.0 },
            "held": held.map(super::update::held_json), "rot": super::rot::as_json(rot),
            "snapshot": status.snapshot.as_ref().map(|row| json!({ "id": row.snapshot.0, "created_ns": row.created_ns })),
            "disks": status.disks.iter().map(|disk| json!({
                "name": disk.row.name, "uuid": disk.row.uuid.0, "location": disk.row.location,
                "capacity": disk.row.capacity.0, "objects": disk.objects, "bytes": disk.bytes.0,
                "alone": disk.alone.0, "seen_ns": disk.row.seen_ns, "visited_ns": disk.row.visited_ns,
                "verified_ns": disk.row.verified_ns, "doubt": disk.row.doubt, "leaves": disk.row.retiring,
                "lost": super::plan::tally(disk.lost),
            })).collect::<Vec<_>>(),
        }),
    );
}

fn as_text(context: &Context<'_>, catalog: &Catalog, status: &Status) -> Result<(), Failure> {
    let render = context.render;
    let now_ns = context.clock().now_ns();
    let total = status.total();
    let unprotected = status.levels.first().map_or(Bytes(0), |level| level.bytes) + status.pending.bytes;
    let (mood, headline) = if total.files == 0 {
        (Mood::Bad, "NOTHING PROTECTED YET")
    } else if unprotected > Bytes(0) {
        (Mood::Bad, "NOT EVERYTHING IS PROTECTED")
    } else if status.levels.get(1).is_some_and(|level| level.bytes > Bytes(0)) {
        (Mood::Fair, "PROTECTED, SOME BY ONE COPY ONLY")
    } else {
        (Mood::Good, "PROTECTED")
    };
    let updated = match &status.snapshot {
        Some(row) => {
            format!("last change {} (snapshot {})", ago(Some(row.created_ns), now_ns), row.snapshot.0)
        }
        None => "never updated".into(),
    };
    let files = count(total.files + status.empty_files, "file", "files");
    render.headline(mood, headline, &format!("      {} in {files} · {updated}", render.size(total.bytes)));
    render.line("");
    let mut rows = Vec::new();
    for (copies, level) in status.levels.iter().enumerate().filter(|(_, level)| level.files > 0) {
        let meaning = match copies {
            0 => "not on any disk yet",
            1 => "lost if that one disk dies, unless the source has it",
            _ => "",
        };
        let cells = [
            copies.to_string(),
            grouped(level.files),
            render.size(level.bytes),
            share(level.bytes, total.bytes),
        ];
        rows.push(cells.into_iter().chain([meaning.to_owned()]).collect());
    }
    if status.pending.files > 0 {
        let level = &status.pending;
        let cells =
            ["–".to_owned(), grouped(level.files), render.size(level.bytes), share(level.bytes, total.bytes)];
        rows.push(cells.into_iter().chain(["not hashed yet: unprotected".to_owned()]).collect());
    }
    for line in table(&[">copies", ">files", ">size", ">share", ""], &rows) {
        render.line(&line);
    }
    if status.below_target.objects > 0 {
        render.line(&format!(
            "  {} in {} have fewer copies than asked for.",
            render.size(status.below_target.bytes),
            count(status.below_target.objects, "object", "objects")
        ));
    }
    render.line("");
    let connected = shelf::connected_folders(&catalog.read()).unwrap_or_default();
    let rows: Vec<Vec<String>> = status
        .disks
        .iter()
        .map(|disk| {
            let here = connected.contains_key(&disk.row.disk);
            let free = disk.row.capacity - disk.bytes;
            let verified = match (&disk.row.doubt, disk.row.verified_ns) {
                (Some(_), _) => "IN DOUBT".to_owned(),
                (None, then) => ago(then, now_ns),
            };
            vec![
                disk.row.name.clone(),
                disk.row.location.clone().unwrap_or_default(),
                format!("{} / {}", render.size(free), render.size(disk.row.capacity)),
                if here { "connected".to_owned() } else { ago(disk.row.seen_ns, now_ns) },
                verified,
                render.size(disk.alone),
            ]
        })
        .collect();
    if !rows.is_empty() {
        for line in
            table(&["disk", "where", ">free / size", "last seen", "last verify", ">alone holds"], &rows)
        {
            render.line(&line);
        }
        render.line("");
    }
    for disk in &status.disks {
        let name = &disk.row.name;
        if disk.row.retiring {
            render.line(&format!(
                "{name} is to leave the set; its copies do not count: dsb disk retire {name}"
            ));
        } else if disk.row.unproven && disk.objects > 0 {
            render.line(&format!(
                "{name} was not compared since the catalog was imported or recovered; its copies are only claimed: dsb backup {name}"
            ));
        } else if disk.lost.objects > 0 {
            render.line(&format!(
                "{name} has lost {} ({}): dsb heal {name}",
                count(disk.lost.objects, "object", "objects"),
                render.size(disk.lost.bytes)
            ));
        }
    }
    if status.too_large.files > 0 {
        let files = count(status.too_large.files, "file is", "files are");
        render.line(&format!("{files} larger than every disk ({}).", render.size(status.too_large.bytes)));
    }
    render.line(&next(status, &connected, unprotected));
    Ok(())
}

fn next(
    status: &Status,
    connected: &std::collections::HashMap<distbackup_core::model::DiskNo, std::path::PathBuf>,
    unprotected: Bytes,
) -> String {
    if status.snapshot.is_none() {
        return "Next: dsb update".into();
    }
    if status.disks.is_empty() {
        return "Next: dsb disk add NAME PATH".into();
    }
    let here = status.disks.iter().find(|disk| connected.contains_key(&disk.row.disk));
    let one = status.levels.get(1).map_or(Bytes(0), |level| level.bytes);
    let lost = |disk: &&report::DiskStatus| disk.lost.objects > 0 && !disk.row.retiring;
    if unprotected == Bytes(0)
        && let Some(disk) = status.disks.iter().find(lost)
    {
        return format!("Next: dsb heal {}", disk.row.name);
    }
    match here {
        _ if unprotected == Bytes(0) && one == Bytes(0) => "Next: nothing is urgent.".into(),
        Some(disk) if status.pending.files > 0 => format!("Next: dsb backup --update {}", disk.row.name),
        Some(disk) if unprotected > Bytes(0) => format!("Next: dsb backup {}", disk.row.name),
        Some(_) if status.disks.len() == 1 => {
            "Next: a second disk, so that one disk's death loses nothing.".into()
        }
        _ => "Next: connect another disk, and dsb backup; dsb next  tells which one helps most.".into(),
    }
}
