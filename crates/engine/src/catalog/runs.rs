//! The log of runs: what each command did, when, with which result.

use distbackup_core::model::RunNo;

use super::{CatalogError, Reader, Writer, columns};

/// One run, as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its number.
    pub run: RunNo,
    /// The command as it was given.
    pub command: String,
    /// When it began.
    pub started_ns: i64,
    /// When it ended; `None`: it is running, or was killed.
    pub ended_ns: Option<i64>,
    /// Its exit code.
    pub exit_code: Option<u32>,
    /// One sentence.
    pub result: Option<String>,
    /// JSON.
    pub details: Option<String>,
}

impl Reader<'_> {
    /// The newest `limit` runs, newest first.
    pub fn runs(&self, limit: u32) -> Result<Vec<RunRow>, CatalogError> {
        self.runs_up_to(RunNo(i64::MAX), limit)
    }

    /// The run with this number.
    pub fn run(&self, number: RunNo) -> Result<Option<RunRow>, CatalogError> {
        let row = self.runs_up_to(number, 1)?.pop();
        Ok(row.filter(|row| row.run == number))
    }

    fn runs_up_to(&self, last: RunNo, limit: u32) -> Result<Vec<RunRow>, CatalogError> {
        const SQL: &str = "
            SELECT id, command, started_ns, ended_ns, exit_code, result, details
              FROM run WHERE id <= ?1 ORDER BY id DESC LIMIT ?2";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map((last.0, limit), |row| {
                Ok(RunRow {
                    run: RunNo(row.get(0)?),
                    command: row.get(1)?,
                    started_ns: row.get(2)?,
                    ended_ns: row.get(3)?,
                    exit_code: row.get::<_, Option<i64>>(4)?.map(|_| columns::small(row, 4)).transpose()?,
                    result: row.get(5)?,
                    details: row.get(6)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("read the log of runs", source))
    }
}

impl Writer<'_> {
    /// Records that a command began.
    pub fn record_run_begin(&self, command: &str, now_ns: i64) -> Result<RunNo, CatalogError> {
        self.connection
            .execute("INSERT INTO run (command, started_ns) VALUES (?1, ?2)", (command, now_ns))
            .map_err(|source| CatalogError::sql("record a run", source))?;
        Ok(RunNo(self.connection.last_insert_rowid()))
    }

    /// Records how a command ended.
    pub fn record_run_end(
        &self,
        run: RunNo,
        now_ns: i64,
        exit_code: u8,
        result: &str,
        details: &str,
    ) -> Result<(), CatalogError> {
        const SQL: &str =
            "UPDATE run SET ended_ns = ?2, exit_code = ?3, result = ?4, details = ?5 WHERE id = ?1";
        self.connection
            .execute(SQL, (run.0, now_ns, exit_code, result, details))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record the end of a run", source))
    }
}
