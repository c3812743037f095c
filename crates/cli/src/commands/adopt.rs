//! `dsb adopt`.

use distbackup_core::model::RunNo;
use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::backup::adopt::{self, Adopted, Adoption, How, Survey};
use distbackup_engine::platform::{self, Access};
use distbackup_engine::report::visit_record;
use serde_json::{Value, json};

use crate::Outcome;
use crate::args::{AdoptArgs, HowChoice};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{count, grouped, shell_word};

use super::plan::tally;
use super::status;

/// Makes objects of ordinary files, after it said which and how.
pub fn run(context: &Context<'_>, args: &AdoptArgs) -> Outcome {
    let mut opened = context.open_to_write()?;
    let run = context.begin_run(&mut opened.catalog)?;
    let mut visits = Vec::new();
    let outcome = work(context, args, &mut opened.catalog, run, &mut visits);
    context.end_run(&mut opened.catalog, run, &outcome, &json!({ "visits": visits }))?;
    outcome
}

fn work(
    context: &Context<'_>,
    args: &AdoptArgs,
    catalog: &mut Catalog,
    run: Option<RunNo>,
    visits: &mut Vec<Value>,
) -> Outcome {
    let dry_run = context.global.dry_run;
    let folder = adopt::resolve(&args.folder)?;
    let connected = adopt::disk_of(catalog, &folder, args.disk.as_deref())?;
    adopt::check_folder(&catalog.read(), &connected.folder, &folder)?;
    let _lock = context.lock_disk(&connected, if dry_run { Access::Shared } else { Access::Exclusive })?;
    let row = connected.row.clone();
    context.render.note(&format!("{} recognised at {}", row.name, connected.folder.display()));
    let name = row.name.clone();
    let consent = |survey: &Survey, how: How| consent(context, &name, survey, how);
    let adoption = Adoption {
        folder: &folder,
        how: args.how.map(|how| match how {
            HowChoice::Move => How::Move,
            HowChoice::Reflink => How::Reflink,
            HowChoice::Link => How::Link,
            HowChoice::Copy => How::Copy,
        }),
        streams: if platform::is_rotational(&folder) { 1 } else { 2 },
        dry_run,
        consent: &consent,
    };
    let now_ns = context.clock().now_ns();
    let adopted =
        adopt::adopt(catalog, &connected.disk, row.clone(), now_ns, run, &adoption, context.render)?;
    visits.push(visit_record(&row.uuid, adopted.visit.copied.total(), adopted.visit.copying));
    context.render.object("adopted", as_json(&name, &adopted, dry_run));
    let exit = report(context, &name, args, &adopted)?;
    if !dry_run && !adopted.declined {
        status::closing(context, catalog)?;
    }
    Ok(exit)
}

/// Says what was found and what will be done with it; asks where the user's own files are changed by that.
fn consent(context: &Context<'_>, disk: &str, survey: &Survey, how: How) -> bool {
    let (render, dry_run) = (context.render, context.global.dry_run);
    render.say(&format!(
        "{} of {} in the folder ({} of {}) {} the size of something that {disk} could hold.",
        grouped(survey.candidates.objects),
        count(survey.files.objects, "file", "files"),
        render.size(survey.candidates.bytes),
        render.size(survey.files.bytes),
        if survey.candidates.objects == 1 { "has" } else { "have" },
    ));
    if survey.candidates.objects == 0 {
        return true;
    }
    let what = match how {
        How::Move => "what the set needs leaves its folder and becomes an object",
        How::Reflink => {
            "what the set needs becomes an object that shares the file's content; the files stay as they are"
        }
        How::Link => {
            "what the set needs becomes an object, and the file a second name of it: read-only, because a change \
                      of the file would be one of the object"
        }
        How::Copy => "what has too few copies is copied among the objects; the files stay as they are",
    };
    render.say(&format!("{} read; {what}.", if dry_run { "They would be" } else { "They are" }));
    if dry_run || !how.changes_files() || context.global.yes {
        return true;
    }
    context.choose("Go on? (y)es, (n)o", "yn") == Some('y')
}

fn as_json(disk: &str, adopted: &Adopted, dry_run: bool) -> Value {
    let (visit, survey) = (&adopted.visit, &adopted.survey);
    json!({
        "disk": disk, "dry_run": dry_run,
        "how": match adopted.how {
            How::Move => "move", How::Reflink => "reflink", How::Link => "link", How::Copy => "copy",
        },
        "files": tally(survey.files), "candidates": tally(survey.candidates),
        "elsewhere": survey.elsewhere, "disks": survey.disks,
        "taken": visit.copied.0.iter().map(|one| tally(*one)).collect::<Vec<_>>(),
        "not_needed": tally(adopted.not_needed), "twice": tally(adopted.twice), "no_room": tally(adopted.no_room),
        "left": adopted.left.count, "problems": survey.problems.count,
        "pending": tally(visit.pending), "full": visit.full, "interrupted": visit.interrupted,
    })
}

fn report(context: &Context<'_>, disk: &str, args: &AdoptArgs, adopted: &Adopted) -> Outcome {
    let (render, visit) = (context.render, &adopted.visit);
    let found = &visit.reconciled;
    render.problems("claimed on the disk, but missing; they no longer count as copies", &found.missing);
    render.problems("of the wrong size on the disk; they no longer count as copies", &found.wrong_size);
    render.problems("needed, but damaged on the disk", &found.damaged);
    if adopted.declined {
        return Err(Failure::Consent { what: format!("nothing in {} was changed", args.folder.display()) });
    }
    for (number, one, many) in [
        (adopted.survey.elsewhere, "entry is on another filesystem", "entries are on other filesystems"),
        (
            adopted.survey.disks,
            "folder is a backup disk: its own files",
            "folders are backup disks: their own files",
        ),
    ] {
        if number > 0 && context.global.verbose > 0 {
            render.note(&format!("{} and left out.", count(number, one, many)));
        }
    }
    if context.global.dry_run {
        render.say("Nothing was read or changed.");
    } else {
        say_taken(context, disk, adopted);
    }
    render.problems("could not be looked at", &adopted.survey.problems);
    render.problems("left as they are", &adopted.left);
    if adopted.no_room.objects > 0 {
        let folder = shell_word(&args.folder.display().to_string());
        render.warning(&format!(
            "no room on {disk} for copies of {} ({}); without taking room: dsb adopt --how move {folder}",
            count(adopted.no_room.objects, "file", "files"),
            render.size(adopted.no_room.bytes),
        ));
    }
    if visit.full {
        render.warning("the disk refused room that it had promised; what was taken in before is safe");
    }
    if visit.pending.objects > 0 {
        render.warning(&format!(
            "{} not hashed yet ({}), and so recognised nowhere: dsb update first",
            count(visit.pending.objects, "file of the sources is", "files of the sources are"),
            render.size(visit.pending.bytes)
        ));
    }
    Ok(exit(context, adopted))
}

fn say_taken(context: &Context<'_>, disk: &str, adopted: &Adopted) {
    let (render, visit) = (context.render, &adopted.visit);
    let verb = match adopted.how {
        How::Move => "Moved",
        How::Reflink => "Shared",
        How::Link => "Linked",
        How::Copy => "Copied",
    };
    for (before, tally) in visit.copied.0.iter().enumerate().filter(|(_, tally)| tally.objects > 0) {
        let objects = count(tally.objects, "file", "files");
        render.say(&format!(
            "{verb} {objects}, {}: {}.",
            render.size(tally.bytes),
            super::plan::level(before)
        ));
    }
    let others = adopted.left.count + adopted.no_room.objects;
    if visit.copied.total().objects == 0 && others == 0 && !visit.interrupted && !visit.full {
        render.say(&format!("Nothing there that {disk} needs."));
    }
    for (tally, what) in [(adopted.twice, "twice there: one is enough"), (adopted.not_needed, "not needed")] {
        if tally.objects > 0 {
            let files = count(tally.objects, "file", "files");
            render.say(&format!("{files} ({}): {what}.", render.size(tally.bytes)));
        }
    }
    if visit.interrupted {
        render.note("Stopped as asked; what was taken in is recorded. Run the same command again to go on.");
    } else if visit.published {
        render
            .say(&format!("Everything is written and flushed. Safe to unplug {disk} once it is unmounted."));
    }
}

fn exit(context: &Context<'_>, adopted: &Adopted) -> Exit {
    let visit = &adopted.visit;
    let mut exit = Exit::DONE;
    if visit.interrupted {
        exit = exit.or_graver(Exit::INTERRUPTED);
    }
    if visit.full || adopted.no_room.objects > 0 {
        exit = exit.or_graver(Exit::FULL);
    }
    if !adopted.left.is_empty() || !adopted.survey.problems.is_empty() {
        exit = exit.or_graver(Exit::PART);
    }
    let found = &visit.reconciled;
    if !found.wrong_size.is_empty() || !found.missing.is_empty() || !found.damaged.is_empty() {
        exit = exit.or_graver(Exit::DAMAGE);
    }
    if visit.pending.objects > 0 && !context.global.dry_run {
        exit = exit.or_graver(Exit::PART);
    }
    exit
}
