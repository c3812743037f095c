//! What disks have lost, or one alone holds, is carried to a disk from the source and from others.

use std::cell::RefCell;

use distbackup_core::model::ObjectNo;
use distbackup_engine::catalog::Wants;
use distbackup_engine::ops::backup::{Delivered, Delivery, Holder, deliver};

use crate::visits::Trouble;
use crate::world::World;

impl World {
    /// Carries to one physical disk of a bay what is wanted, from the source or the bays `from`.
    pub fn carry(
        &mut self,
        bay: usize,
        which: usize,
        wants: Wants,
        from: Vec<usize>,
        trouble: Option<Trouble>,
    ) {
        self.figures.carried += 1;
        let clock_ns = self.now_ns();
        let delivered = RefCell::new(None);
        let done = self.visit_by(bay, which, false, trouble, |world, catalog, row, observer| {
            let holders: Vec<Holder<'_>> = from
                .iter()
                .map(|at| &world.bays[*at])
                .map(|bay| Holder { disk: Some(bay.number()), name: bay.name.clone(), port: &bay.now().disk })
                .collect();
            let delivery = Delivery { wants, holders: &holders, streams: 1, dry_run: false };
            let disk = &world.bays[bay].now().disk;
            let one = deliver(catalog, disk, row, clock_ns, None, &delivery, observer)?;
            let visit = one.visit.clone();
            *delivered.borrow_mut() = Some(one);
            Ok(visit)
        });
        // Copies that turned out to be bad where they were read have lost their claim.
        for at in &from {
            let row = self.bays[*at].row;
            let claimed = self.outside.claimed(row);
            self.known.note_claims(row, &claimed, false);
        }
        let Some(delivered) = delivered.into_inner() else { return };
        self.tell(&format!(
            "arrived {}, no room {}, away {}, lost {}, bad {}",
            delivered.visit.copied.total().objects,
            delivered.no_room.objects,
            delivered.away.objects,
            delivered.lost.count,
            delivered.bad_copies.count
        ));
        if trouble.is_none() && done.is_some() {
            self.what_could_be_had_arrived(bay, wants, &from, &delivered);
        }
    }

    /// What one of the disks that were read has whole, and claims, is on the disk now, unless there was no room.
    fn what_could_be_had_arrived(&self, bay: usize, wants: Wants, from: &[usize], delivered: &Delivered) {
        if delivered.no_room.objects > 0 || delivered.visit.full {
            return;
        }
        let catalog = self.open();
        let left = catalog.read().wanted(wants, ObjectNo(0), u32::MAX).unwrap();
        for want in left {
            let here = &self.bays[bay];
            let arrived = self.outside.claims(here.row, &want.id) && here.now().whole.contains(&want.id);
            let has_it = |other: &&crate::shelf::Bay| {
                self.outside.claims(other.row, &want.id) && other.now().whole.contains(&want.id)
            };
            if let Some(other) = from.iter().map(|at| &self.bays[*at]).find(has_it)
                && !arrived
            {
                panic!("D7: {} is whole on {}, and did not come to {}", want.id, other.name, here.name);
            }
        }
        catalog.close().unwrap();
    }
}
