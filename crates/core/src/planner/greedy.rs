//! The simplest correct choice: fewest copies first, then priority, then directory order.

use std::cmp::Reverse;

use crate::model::{BLOCK, Bytes};
use crate::plan::{Row, VisitPlan};
use crate::planner::input::{Input, Options, State};
use crate::planner::shelf::Shelf;

/// Plans a visit looking at the connected disk alone.
pub(super) fn plan(input: &Input, options: &Options) -> VisitPlan {
    let mut plan = VisitPlan::default();
    let Some(shelf) = Shelf::new(input, options) else { return plan };
    let disk = &input.disks[usize::from(options.disk)];
    let mut room = disk.capacity.0.saturating_sub(disk.occupied_otherwise.0) as i128;

    let mut candidates: Vec<(u16, bool, Reverse<u32>, Row)> = Vec::new();
    let mut victims: Vec<(Reverse<u16>, u32, Reverse<u64>, Row)> = Vec::new();
    let mut history: Vec<Row> = Vec::new();
    for (row, object) in (0..).zip(&input.objects) {
        let Some(held) = shelf.held(object) else { continue };
        let priority = input.classes[usize::from(object.class)].priority;
        let bill = shelf.bill(object);
        match object.state {
            State::Dead => {
                if held.here {
                    plan.clean.push(row);
                }
            }
            State::History => {
                if held.here {
                    room -= i128::from(bill);
                    if held.others_standing > 0 {
                        history.push(row);
                    }
                }
            }
            State::Live | State::LiveUnreadable | State::Provisional => {
                let cap = shelf.cap(object);
                if cap == 0 {
                    plan.fits_nowhere.add(Bytes(u64::from(object.blocks) * BLOCK));
                }
                if held.here {
                    // Never below one standing copy, whatever `copies_max` says (I1).
                    if held.claims > shelf.class_cap(object)
                        && held.others_standing >= shelf.class_cap(object).max(1)
                    {
                        plan.excess.push(row);
                        continue;
                    }
                    room -= i128::from(bill);
                    if held.others_standing > 0 {
                        let level =
                            shelf.level(held.others_standing + 1, held.place, object.blocks).min(held.claims);
                        victims.push((Reverse(level), priority, Reverse(bill), row));
                    }
                } else if object.state != State::LiveUnreadable
                    && object.blocks <= shelf.blocks_max[usize::from(options.disk)]
                    && held.claims < shelf.class_cap(object).min(options.copies_max.unwrap_or(u16::MAX))
                {
                    let level = shelf.level(held.claims, held.place, object.blocks);
                    let provisional = object.state == State::Provisional;
                    candidates.push((level, provisional, Reverse(priority), row));
                }
            }
        }
    }
    candidates.sort_unstable();
    victims.sort_unstable();

    let mut history = history.into_iter().peekable();
    let mut victims = victims.into_iter().peekable();
    let mut budget = options.bytes_max.map_or(u64::MAX, |bytes| bytes.0);
    for (level, provisional, Reverse(priority), row) in candidates {
        let object = &input.objects[row as usize];
        let bill = shelf.bill(object);
        let copies_before = shelf.held[object.nexus as usize].claims;
        let mut gone = Vec::new();
        let mut gain = 0i128;
        if bill <= budget && !provisional {
            let (history_before, victims_before) = (history.clone(), victims.clone());
            while room + gain < i128::from(bill) {
                if let Some(old) = history.next() {
                    gain += i128::from(shelf.bill(&input.objects[old as usize]));
                    gone.push(old);
                    continue;
                }
                let allowed = victims.next_if(|&(Reverse(victim), victim_priority, ..)| {
                    (victim, Reverse(victim_priority)) > (level + 1, Reverse(priority))
                });
                let Some((.., Reverse(size), victim)) = allowed else { break };
                gain += i128::from(size);
                gone.push(victim);
            }
            if room + gain < i128::from(bill) {
                (history, victims) = (history_before, victims_before);
                (gone, gain) = (Vec::new(), 0);
            }
        }
        if bill <= budget && room + gain >= i128::from(bill) {
            room += gain - i128::from(bill);
            budget -= bill;
            plan.push_copy(row, copies_before, gone);
        } else {
            let content = Bytes(u64::from(object.blocks) * BLOCK);
            plan.unplaced.add(content);
            let at = usize::from(copies_before);
            if plan.unplaced_by_copies.len() <= at {
                plan.unplaced_by_copies.resize(at + 1, Default::default());
            }
            plan.unplaced_by_copies[at].add(content);
        }
    }
    plan.room_after = Bytes(u64::try_from(room).unwrap_or(0));
    plan
}

#[cfg(test)]
mod tests {
    use crate::model::Bytes;
    use crate::planner::{Class, Disk, Input, Nexus, Object, Options, State, plan_visit};

    fn disk(objects: u64) -> Disk {
        Disk {
            capacity: Bytes(objects * 8192),
            occupied_otherwise: Bytes(0),
            unit: 4096,
            file_max: Bytes(u64::MAX),
            location: None,
            days_away: 0,
        }
    }

    #[test]
    fn what_has_no_copy_goes_first_and_the_last_copy_never_goes() {
        let object = |nexus, class| Object { blocks: 1, nexus, directory: 0, class, state: State::Live };
        let on = |disks: &[u16]| Nexus { claimed: disks.to_vec(), standing: disks.to_vec() };
        let input = Input {
            objects: vec![object(0, 0), object(1, 0), object(2, 1)],
            nexuses: vec![on(&[0]), on(&[0, 1]), on(&[])],
            classes: vec![Class { priority: 1, copies_max: None }, Class { priority: 9, copies_max: None }],
            disks: vec![disk(2), disk(1)],
            history_oldest_first: Vec::new(),
        };
        let options =
            Options { disk: 0, copies_max: None, bytes_max: None, away_days: 120, allow_history_loss: false };
        let plan = plan_visit(&input, &options);
        let copies: Vec<_> = plan.copies().map(|copy| (copy.object, copy.victims.to_vec())).collect();
        assert_eq!(copies, [(2, vec![1])]);
    }
}
