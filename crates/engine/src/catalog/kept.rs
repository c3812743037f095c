//! Answers that are kept until something changes.
//!
//! Nothing is counted up or down (DESIGN 4): an answer is read from the tables as a whole, and remembered with the number
//! of changes at that time. Every transaction is a change unless it says that no kept answer is about it, so what is
//! forgotten here costs time and never truth.

use rusqlite::OptionalExtension;

use super::{CatalogError, Reader};

/// An answer that was worked out by who may not write, beside other work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was asked, with all that the answer depends on besides the tables.
    pub question: String,
    /// [`Reader::changes`] before the tables were read.
    pub changes: i64,
    /// JSON.
    pub answer: String,
}

impl Reader<'_> {
    /// Keeps an answer that was worked out elsewhere; if something has changed meanwhile, nobody will find it.
    pub fn keep(&self, answer: &Answer) -> bool {
        self.keep_answer(&answer.question, answer.changes, &answer.answer)
    }

    /// The answer to a question that was kept, if nothing has changed since.
    pub fn kept_answer(&self, question: &str) -> Result<Option<String>, CatalogError> {
        const SQL: &str = "
            SELECT answer FROM kept_answer
             WHERE question = ?1 AND changes = (SELECT changes FROM catalog)";
        self.connection
            .query_row(SQL, [question], |row| row.get(0))
            .optional()
            .map_err(|source| CatalogError::sql("look for a kept answer", source))
    }

    /// How many changes there were. To be asked before the tables are read for an answer that is to be kept.
    pub fn changes(&self) -> Result<i64, CatalogError> {
        self.connection
            .query_row("SELECT changes FROM catalog", [], |row| row.get(0))
            .map_err(|source| CatalogError::sql("read the number of changes", source))
    }

    /// Keeps an answer, and forgets those that hold no longer. Tells whether it could: a catalog that cannot be written
    /// just now is asked again next time.
    pub fn keep_answer(&self, question: &str, changes: i64, answer: &str) -> bool {
        let keep = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            transaction.execute(
                "DELETE FROM kept_answer WHERE changes <> ?1 OR question = ?2",
                (changes, question),
            )?;
            transaction.execute(
                "INSERT INTO kept_answer (question, changes, answer) VALUES (?1, ?2, ?3)",
                (question, changes, answer),
            )?;
            transaction.commit()
        };
        keep().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::{Catalog, CatalogError};

    fn catalog(folder: &tempfile::TempDir) -> Catalog {
        Catalog::create(&folder.path().join("distbackup.sqlite"), 1).unwrap()
    }

    fn keep(catalog: &Catalog, question: &str) {
        let reader = catalog.read();
        assert!(reader.keep_answer(question, reader.changes().unwrap(), "42"));
        assert_eq!(reader.kept_answer(question).unwrap().as_deref(), Some("42"));
    }

    #[test]
    fn an_answer_holds_until_anything_is_written_that_does_not_say_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let mut catalog = catalog(&folder);
        keep(&catalog, "how many");
        assert_eq!(catalog.read().kept_answer("how much").unwrap(), None);
        catalog.write_aside("note the time", |writer| writer.advance_time(5, false)).unwrap();
        assert_eq!(catalog.read().kept_answer("how many").unwrap().as_deref(), Some("42"));
        catalog.write("change a setting", |writer| writer.record_setting("note", "x")).unwrap();
        assert_eq!(catalog.read().kept_answer("how many").unwrap(), None);
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_kept_as_one_from_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut catalog = catalog(&folder);
        let before = catalog.read().changes().unwrap();
        catalog.write("change a setting", |writer| writer.record_setting("note", "x")).unwrap();
        catalog.read().keep_answer("how many", before, "41");
        assert_eq!(catalog.read().kept_answer("how many").unwrap(), None);
    }

    #[test]
    fn what_failed_changed_nothing_and_a_new_answer_takes_the_place_of_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mut catalog = catalog(&folder);
        keep(&catalog, "how many");
        let failed: Result<(), CatalogError> =
            catalog.write("fail", |_| Err(CatalogError::DamagedRow { what: "a test" }));
        assert!(failed.is_err());
        assert!(catalog.read().kept_answer("how many").unwrap().is_some());
        catalog.write("change a setting", |writer| writer.record_setting("note", "x")).unwrap();
        keep(&catalog, "how much");
        let rows: i64 =
            catalog.connection.query_row("SELECT count(*) FROM kept_answer", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1, "what holds no longer goes");
    }
}
