//! `status` and `next` are worked out before they are asked, at the end of what took long anyway: then they answer at once.
//!
//! A visit does so beside the copy of the catalog, where it costs next to no time. Other long commands do it in a large set
//! only: in a small one both are quick whatever has changed, and the command would be slower for nothing.

use distbackup_core::model::{Bytes, DiskNo};

use crate::catalog::{Answer, Catalog, CatalogError, Reader};
use crate::progress::{Event, Observer, Phase};
use crate::report;

/// With fewer objects `status` takes less than a fifth of a second whatever has changed.
const LARGE: i64 = 250_000;

/// The answers as they will be when the visit of `visited` has ended, for who may keep them. One after the other: each needs
/// some memory for every object.
pub fn answers_after_visit(
    reader: &Reader<'_>,
    now_ns: i64,
    visited: DiskNo,
) -> Result<Vec<Answer>, CatalogError> {
    let mut answers = report::status_ahead(reader)?;
    answers.extend(report::advice_after_visit(reader, now_ns, visited)?);
    Ok(answers)
}

/// Works out the answers that hold no longer, as of `now_ns`; not once the user has asked to stop. What goes wrong is told
/// and costs no more: all that the command did is recorded.
pub fn look_ahead(catalog: &Catalog, now_ns: i64, observer: &dyn Observer) {
    look_ahead_from(LARGE, catalog, now_ns, observer);
}

/// Tells that there are no answers ahead.
pub fn tell_failure(observer: &dyn Observer, error: &CatalogError) {
    let text = format!("status and next are not prepared and take longer when they are asked: {error}");
    observer.event(Event::Note { text: &text });
}

fn look_ahead_from(objects: i64, catalog: &Catalog, now_ns: i64, observer: &dyn Observer) {
    if let Err(error) = try_look_ahead(objects, &catalog.read(), now_ns, observer) {
        tell_failure(observer, &error);
    }
}

fn try_look_ahead(
    objects: i64,
    reader: &Reader<'_>,
    now_ns: i64,
    observer: &dyn Observer,
) -> Result<(), CatalogError> {
    if reader.highest_object()? < objects || is_ready(reader, now_ns)? || observer.stop_requested() {
        return Ok(());
    }
    observer.event(Event::Begin { phase: Phase::LookAhead, files: 0, bytes: Bytes(0) });
    let answered = answer(reader, now_ns, observer);
    observer.event(Event::End);
    answered
}

fn is_ready(reader: &Reader<'_>, now_ns: i64) -> Result<bool, CatalogError> {
    Ok(report::status_is_ready(reader)? && report::advice_is_ready(reader, now_ns)?)
}

/// One after the other, as above. What is asked is kept.
fn answer(reader: &Reader<'_>, now_ns: i64, observer: &dyn Observer) -> Result<(), CatalogError> {
    report::status(reader)?;
    if !observer.stop_requested() {
        report::advice(reader, now_ns)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    /// Asks to stop when the first phase begins.
    struct Stops(std::sync::atomic::AtomicBool);

    impl Observer for Stops {
        fn event(&self, event: Event<'_>) {
            if let Event::Begin { .. } = event {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }

        fn stop_requested(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    fn catalog(folder: &tempfile::TempDir) -> Catalog {
        let mut catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), 1).unwrap();
        let id = distbackup_core::model::ObjectId([7; 32]);
        catalog.write("record an object", |writer| writer.intern_object(&id, Bytes(1))).unwrap();
        catalog
    }

    #[test]
    fn in_a_large_set_status_and_next_have_their_answers_when_a_long_command_ends() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog(&folder);
        assert!(!is_ready(&catalog.read(), 5).unwrap());
        look_ahead_from(1, &catalog, 5, &Silent);
        assert!(is_ready(&catalog.read(), 5).unwrap());
    }

    #[test]
    fn who_asks_to_stop_does_not_wait_for_answers() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = catalog(&folder);
        look_ahead_from(1, &catalog, 5, &Stops(true.into()));
        assert!(!report::status_is_ready(&catalog.read()).unwrap());
        look_ahead_from(1, &catalog, 5, &Stops(false.into()));
        assert!(report::status_is_ready(&catalog.read()).unwrap(), "it had begun");
        assert!(!report::advice_is_ready(&catalog.read(), 5).unwrap());
    }
}
