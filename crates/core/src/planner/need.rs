//! Whether a content that lies on a disk as an ordinary file should become an object there (`adopt`).

use super::input::{Input, Object, State};

/// What an ordinary file with the content of an object is worth on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The object has fewer copies to rely on than it should have: worth room.
    Wanted,
    /// It has as many as it should have, and may have more: worth taking if it costs no room.
    Welcome,
    /// The disk holds it, it may have no more copies, or nothing refers to it.
    Nothing,
}

/// What an ordinary file with the content of `object` is worth on the disk of this index. `copies_min` is how many
/// copies the object should have.
///
/// Copies that are only presumed count for `copies_max`, not for `copies_min`. History is wanted if no copy of it stands,
/// and no more than that. Nothing is removed because of the answer, so what cannot be read at its source, or is held by
/// the brake, counts as live.
pub fn need(input: &Input, object: &Object, disk: u16, copies_min: u16) -> Need {
    let Some(nexus) = input.nexuses.get(object.nexus as usize) else { return Need::Nothing };
    if nexus.claimed.contains(&disk) {
        return Need::Nothing;
    }
    let class = input.classes.get(usize::from(object.class));
    let copies_max = class.and_then(|class| class.copies_max).unwrap_or(u16::MAX);
    match object.state {
        State::Dead | State::Provisional => Need::Nothing,
        State::History if nexus.standing.is_empty() => Need::Wanted,
        State::History => Need::Nothing,
        State::Live | State::LiveUnreadable => {
            if nexus.claimed.len() >= usize::from(copies_max) {
                Need::Nothing
            } else if nexus.standing.len() < usize::from(copies_min) {
                Need::Wanted
            } else {
                Need::Welcome
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::{Class, Nexus};

    const RED: u16 = 0;

    fn worth(state: State, claimed: &[u16], standing: &[u16], min: u16, max: Option<u16>) -> Need {
        let nexus = Nexus { claimed: claimed.to_vec(), standing: standing.to_vec() };
        let classes = vec![Class { priority: 1, copies_max: max }];
        let input = Input { nexuses: vec![nexus], classes, ..Input::default() };
        need(&input, &Object { blocks: 1, nexus: 0, directory: 1, class: 0, state }, RED, min)
    }

    #[test]
    fn what_has_too_few_copies_to_rely_on_is_worth_room() {
        assert_eq!(worth(State::Live, &[], &[], 2, None), Need::Wanted);
        assert_eq!(worth(State::Live, &[1], &[1], 2, None), Need::Wanted);
        assert_eq!(worth(State::Live, &[1, 2], &[1], 2, None), Need::Wanted, "one is only presumed");
        assert_eq!(worth(State::LiveUnreadable, &[], &[], 2, None), Need::Wanted);
    }

    #[test]
    fn what_has_enough_is_welcome_up_to_its_largest_number_of_copies() {
        assert_eq!(worth(State::Live, &[1, 2], &[1, 2], 2, None), Need::Welcome);
        assert_eq!(worth(State::Live, &[1, 2], &[1, 2], 2, Some(2)), Need::Nothing);
        assert_eq!(
            worth(State::Live, &[1, 2], &[], 2, Some(2)),
            Need::Nothing,
            "a visit would remove one again"
        );
    }

    #[test]
    fn what_is_here_or_in_nothing_is_not_needed_and_history_once() {
        assert_eq!(worth(State::Live, &[RED], &[], 2, None), Need::Nothing);
        assert_eq!(worth(State::Dead, &[], &[], 2, None), Need::Nothing);
        assert_eq!(worth(State::History, &[1], &[], 2, None), Need::Wanted, "that copy is only presumed");
        assert_eq!(worth(State::History, &[1], &[1], 2, None), Need::Nothing);
    }
}
