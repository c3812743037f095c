//! Mass changes wait for the user's word (DESIGN 7.3), and what may expire does so only behind them.

use distbackup_core::brake::Gone;
use distbackup_core::model::SnapshotNo;

use super::OpError;
use crate::catalog::{Catalog, CatalogError, CatalogTime, Reader};

/// What the brake holds: nothing that left the tree after `accepted` may be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The snapshot that was accepted last.
    pub accepted: SnapshotNo,
    /// What has gone since.
    pub what: Gone,
}

/// When a tree becomes the accepted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After an update: only the first tree, or if the user accepts it.
    Update {
        /// The user's word.
        accept: bool,
    },
    /// Before a visit plans: whatever is under the limit.
    Visit,
}

/// What the brake holds now, if anything.
pub fn held(reader: &Reader<'_>) -> Result<Option<Held>, CatalogError> {
    let (newest, accepted) = (reader.newest_ordinary_snapshot()?, reader.accepted_snapshot()?);
    let Some(accepted) = accepted.filter(|_| newest != accepted) else { return Ok(None) };
    let what = reader.gone_since(accepted)?;
    Ok(what.is_massive().then_some(Held { accepted, what }))
}

/// Holds back what changed too much, or accepts the tree and lets history expire; tells what is held, and the entries
/// that expired.
pub fn settle(
    catalog: &mut Catalog,
    time: CatalogTime,
    moment: Moment,
) -> Result<(Option<Held>, u64), OpError> {
    let reader = catalog.read();
    let Some(newest) = reader.newest_ordinary_snapshot()? else { return Ok((None, 0)) };
    let accepted = reader.accepted_snapshot()?;
    let held = held(&reader)?;
    let accept = match (moment, accepted) {
        (_, None) | (Moment::Update { accept: true }, _) => true,
        (Moment::Update { accept: false }, _) => false,
        (Moment::Visit, Some(_)) => held.is_none(),
    };
    if accept && accepted != Some(newest) {
        catalog.write("accept the tree", |writer| writer.record_accepted_snapshot(newest))?;
    }
    let held = held.filter(|_| !accept);
    let limit = if accept { newest } else { accepted.unwrap_or(newest) };
    if catalog.read().expired_up_to(time)?.is_none() {
        return Ok((held, 0));
    }
    let expired = catalog.write("expire history", |writer| -> Result<u64, CatalogError> {
        let expired = writer.expire_history(time, limit)?;
        if expired == 0 {
            writer.leaves_answers();
        }
        Ok(expired)
    })?;
    Ok((held, expired))
}
