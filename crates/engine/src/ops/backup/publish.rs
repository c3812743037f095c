//! The end of a visit: the catalog and the recovery files go to the disk, then it counts as visited.

use std::path::Path;

use distbackup_core::model::Bytes;

use super::Visit;
use crate::catalog::{Answer, inspect};
use crate::disk::DiskError;
use crate::ops::page::{self, PageTree};
use crate::ops::{OpError, ahead, tempdir::TempFolder};
use crate::progress::{Event, Observer, Phase};

/// For people who have the disk but not this program.
const RESTORE_TXT: &str = include_str!("../../../recovery/RESTORE.txt");
/// The same as a program that needs only Python.
const RESTORE_PY: &str = include_str!("../../../recovery/restore.py");

/// Copies the catalog to the disk, unless a checked copy of its current state is there. Tells
/// whether anything was written.
pub fn publish(visit: &mut Visit<'_>, interrupted: bool) -> Result<bool, OpError> {
    let generation = visit.catalog.read().generation()?;
    let recorded = visit.row.copy_sha256.is_some();
    let current = recorded && visit.row.copy_generation == Some(generation);
    let differs = current && visit.disk.catalog_hash() != visit.row.copy_sha256;
    if current && !differs && !visit.writing {
        // A visit that was interrupted, or found no room for it, has left the page before.
        return Ok(!interrupted && refresh_page(visit));
    }
    visit.observer.event(Event::Begin { phase: Phase::Publish, files: 1, bytes: Bytes(0) });
    let written = write_copy_and_tree(visit, interrupted, differs || !recorded);
    visit.observer.event(Event::End);
    let (page, answers) = written?;
    if interrupted {
        // The claims are true, but the visit did not end as planned: its evidence settles at the next one, which also
        // brings the page up to date. Nobody who says stop wants to wait for that.
        return Ok(true);
    }
    let (disk, now_ns) = (visit.row.disk, visit.time.now_ns);
    visit.catalog.write_aside("record the end of a visit", |writer| writer.record_visit_end(disk, now_ns))?;
    for answer in answers {
        // One that cannot be kept is worked out when it is asked for.
        let _kept = visit.catalog.read().keep(&answer);
    }
    tell_of_page(visit, page.and_then(|page| page.map_or(Ok(true), |page| finish_page(visit, &page))));
    Ok(true)
}

/// A page whose tree is written.
struct Page {
    folder: TempFolder,
    data: String,
    tree: PageTree,
}

/// Writes the catalog onto the disk. Beside that, the tree of the page is written, and what people ask after a visit is
/// worked out: all three only read the catalog, and take about as long as each other.
///
/// An error of the page is one inside; without one to be made there is none.
fn write_copy_and_tree(
    visit: &mut Visit<'_>,
    interrupted: bool,
    in_question: bool,
) -> Result<Beside, OpError> {
    visit.begin_writing()?;
    if interrupted {
        write_copy(visit, in_question)?;
        return Ok((Ok(None), Vec::new()));
    }
    let wanted = page::is_wanted(&visit.catalog.read())?;
    let beside = if wanted { Some(beside_catalog(visit)?) } else { None };
    let (observer, data, now_ns, disk) =
        (Unseen(visit.observer), data_of(visit), visit.time.now_ns, visit.row.disk);
    let (view, other_view) = (visit.catalog.view()?, visit.catalog.view()?);
    let (copied, tree, answers) = std::thread::scope(|scope| {
        let (folder, data) = (beside.as_ref().map(TempFolder::path), &data);
        let tree =
            scope.spawn(move || folder.map(|folder| page::write_tree(view.read(), folder, data, &observer)));
        let answers = scope.spawn(move || ahead::answers_after_visit(&other_view.read(), now_ns, disk));
        let copied = write_copy(visit, in_question);
        let tree = tree.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let answers = answers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (copied, tree, answers)
    });
    copied?;
    let page = match (beside, tree) {
        (Some(folder), Some(tree)) => tree.map(|tree| Some(Page { folder, data, tree })),
        _ => take_page_away(visit).map(|_| None),
    };
    // An answer costs no visit.
    let answers = answers.unwrap_or_else(|error| {
        ahead::tell_failure(visit.observer, &error);
        Vec::new()
    });
    Ok((page, answers))
}

/// A page to be finished, and answers to be kept.
type Beside = (Result<Option<Page>, OpError>, Vec<Answer>);

/// Watches nothing, and stops when another one says so.
struct Unseen<'o>(&'o dyn Observer);

impl Observer for Unseen<'_> {
    fn event(&self, _: Event<'_>) {}

    fn stop_requested(&self) -> bool {
        self.0.stop_requested()
    }
}

/// Puts the page onto the disk by which the catalog can be browsed there, or takes it away if nobody wants it, unless it
/// is as it should be. Tells whether anything was written. What goes wrong is told and costs no visit: the
/// page only shows what the catalog says, which is safely there.
fn refresh_page(visit: &Visit<'_>) -> bool {
    tell_of_page(visit, write_page(visit))
}

fn tell_of_page(visit: &Visit<'_>, written: Result<bool, OpError>) -> bool {
    match written {
        Ok(written) => written,
        Err(error) => {
            let name = &visit.row.name;
            let text = format!("{name} has no new CATALOG.html: {error}; the catalog itself is there");
            visit.observer.event(Event::Note { text: &text });
            false
        }
    }
}

fn write_page(visit: &Visit<'_>) -> Result<bool, OpError> {
    if !page::is_wanted(&visit.catalog.read())? {
        return take_page_away(visit);
    }
    let data = data_of(visit);
    if visit.disk.page_data().map_err(OpError::disk(&visit.row.name))?.as_ref() == Some(&data) {
        return Ok(false);
    }
    let folder = beside_catalog(visit)?;
    let files = visit.catalog.read().entry_count()?;
    visit.observer.event(Event::Begin { phase: Phase::Page, files, bytes: Bytes(0) });
    let tree = page::write_tree(visit.catalog.read(), folder.path(), &data, visit.observer);
    visit.observer.event(Event::End);
    finish_page(visit, &Page { folder, data, tree: tree? })
}

/// Each visit that writes has a stamp of its own: so the data of a page say of which state they are.
fn data_of(visit: &Visit<'_>) -> String {
    format!("{}-{:016x}", visit.row.stamp.counter, visit.row.stamp.random)
}

/// Tells whether there was one.
fn take_page_away(visit: &Visit<'_>) -> Result<bool, OpError> {
    let present = visit.disk.page_data().map_err(OpError::disk(&visit.row.name))?;
    visit.disk.remove_page().map_err(OpError::disk(&visit.row.name))?;
    Ok(present.is_some())
}

/// Adds what the page says of the disks, and puts it onto the disk.
fn finish_page(visit: &Visit<'_>, page: &Page) -> Result<bool, OpError> {
    let options = page::PageOptions { disk: Some(visit.row.disk), written_ns: visit.time.now_ns };
    page::write_rest(visit.catalog.read(), options, page.folder.path(), &page.data, &page.tree)?;
    visit.disk.publish_page(page.folder.path(), &page.data).map_err(OpError::disk(&visit.row.name))?;
    Ok(true)
}

/// A folder beside the PC's catalog: there is room for one more, and it is as private.
fn beside_catalog(visit: &Visit<'_>) -> Result<TempFolder, OpError> {
    let beside = visit.catalog.path().parent().map_or_else(std::env::temp_dir, |folder| folder.to_owned());
    TempFolder::inside(&beside).map_err(OpError::io("make a folder in", beside))
}

/// With `in_question` the copy that is there may be damaged: it is looked at before it becomes the previous one (C4).
fn write_copy(visit: &mut Visit<'_>, in_question: bool) -> Result<(), OpError> {
    let name = visit.row.name.clone();
    let text = RESTORE_TXT.replace("{disk_name}", &name);
    visit.disk.write_recovery_file("RESTORE.txt", text.as_bytes()).map_err(OpError::disk(&name))?;
    visit.disk.write_recovery_file("restore.py", RESTORE_PY.as_bytes()).map_err(OpError::disk(&name))?;
    let folder = beside_catalog(visit)?;
    if in_question && !present_is_whole(visit, &folder.path().join("present.sqlite")) {
        visit.disk.drop_catalog().map_err(OpError::disk(&name))?;
    }
    let local = folder.path().join("copy.sqlite");
    let generation = visit.catalog.read().generation()?;
    visit.catalog.write_copy(&local)?;
    let hash = visit.disk.publish_catalog(&local).map_err(OpError::disk(&name))?;
    let disk = visit.row.disk;
    visit.catalog.write_aside("record the catalog copy", |writer| {
        writer.record_catalog_copy(disk, generation, &hash)
    })?;
    Ok(())
}

/// Whether the catalog on the disk can be read and is one. What this computer has no room for counts as whole.
fn present_is_whole(visit: &Visit<'_>, local: &Path) -> bool {
    let whole = match visit.disk.fetch_catalog(local) {
        Ok(false) | Err(DiskError::Io { action: "write", .. }) => true,
        // The state that was recorded, in other bytes than were recorded: a flipped bit that hurts no structure.
        Ok(true) => inspect(local, true).is_ok_and(|copy| visit.row.copy_generation != Some(copy.generation)),
        Err(_) => false,
    };
    // It takes as much room as the catalog itself; the folder goes in any case.
    let _room = std::fs::remove_file(local);
    whole
}
