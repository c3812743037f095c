//! What a set has and what it can reach, without any visit.

use crate::model::Bytes;
use crate::planner::groups::Groups;
use crate::planner::input::{Input, Options};
use crate::planner::reach::Reach;
use crate::planner::shelf::Shelf;

/// How far a set of disks is and how far it can get. In billed bytes (PLACEMENT 1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// `D`: all live data.
    pub live: Bytes,
    /// `N_k`: live data with at least `k + 1` copies, excess copies not counted.
    pub levels: Vec<Bytes>,
    /// `N*_k`: the most that these disks can reach, long absent ones included (PLACEMENT 3).
    pub bound: Vec<Bytes>,
}

/// Looks at a set as a whole. One pass over the rows; without any disk only `live` is told, as nothing.
pub fn outlook(input: &Input) -> Outlook {
    let options = Options { disk: 0, ..Options::default() };
    let Some(shelf) = Shelf::new(input, &options) else { return Outlook::default() };
    let (groups, _) = Groups::new(&shelf);
    let reach = Reach::new(&shelf, &groups, &vec![false; groups.all.len()]);
    let unit = shelf.unit_of[shelf.here];
    let live = groups.all.iter().enumerate().filter(|(_, group)| group.is_live());
    Outlook {
        live: live.map(|(number, _)| Bytes(groups.bill(number, unit))).sum(),
        levels: reach.levels.iter().copied().map(Bytes).collect(),
        bound: reach.bound_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::{Class, Disk, Nexus, Object, State};

    /// Example 2 of PLACEMENT 8: four objects, one disk of ten and two of three; the first holds all.
    fn example() -> Input {
        let object = Object { blocks: 1, nexus: 0, directory: 1, class: 0, state: State::Live };
        let disk = |objects: u64| Disk {
            capacity: Bytes(objects * 8192),
            occupied_otherwise: Bytes(0),
            unit: 4096,
            file_max: Bytes(u64::MAX),
            location: None,
            days_away: 0,
        };
        Input {
            objects: vec![object; 4],
            nexuses: vec![Nexus { claimed: vec![0], standing: vec![0] }],
            classes: vec![Class { priority: 1, copies_max: None }],
            disks: vec![disk(10), disk(3), disk(3)],
            history_oldest_first: Vec::new(),
        }
    }

    fn objects(bytes: &[Bytes]) -> Vec<u64> {
        bytes.iter().map(|bytes| bytes.0 / 8192).collect()
    }

    #[test]
    fn it_is_told_what_there_is_and_what_the_disks_can_hold() {
        let seen = outlook(&example());
        assert_eq!(objects(&[seen.live]), [4]);
        assert_eq!(objects(&seen.levels), [4, 0, 0]);
        assert_eq!(objects(&seen.bound), [4, 4, 2]);
    }

    #[test]
    fn a_lost_disk_takes_its_copies_and_its_room_with_it() {
        let mut input = example();
        input.lose(&[0]);
        let seen = outlook(&input);
        assert_eq!(objects(&seen.levels), [0, 0, 0]);
        assert_eq!(objects(&seen.bound), [4, 2, 0]);
        assert_eq!(outlook(&Input::default()), Outlook::default());
    }
}
