//! Which disks to connect for a restore, in which order, and what each of them gives back.
//!
//! Objects that lie on the same disks are one case, so the input is one tally per distinct set of
//! holders, however many objects there are. Choosing the disks is a set cover: exact where that is
//! quick, greedy beyond.

use crate::plan::Tally;

/// Objects wanted that lie on exactly these disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders {
    /// Indices of the disks that hold them, in any order; empty if none does any more.
    pub disks: Vec<u16>,
    /// How many and how much.
    pub tally: Tally,
}

/// What a restore needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestorePlan {
    /// The disks to read, in order: connected ones first, then the one that gives back most.
    pub steps: Vec<RestoreStep>,
    /// For each [`Holders`] of the input, the disk to read its objects from; `None`: lost.
    pub disk_of: Vec<Option<u16>>,
    /// What no disk holds.
    pub lost: Tally,
    /// Whether no smaller number of disks would do; `false`: not proven within the search's bound.
    pub exact: bool,
}

/// One disk to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreStep {
    /// Its index.
    pub disk: u16,
    /// Whether it is connected now.
    pub connected: bool,
    /// What is read from it.
    pub tally: Tally,
    /// Disks that are not in the plan and hold a part of the same objects, most objects first.
    pub instead: Vec<(u16, Tally)>,
}

/// Disks beyond this number are chosen greedily: bit sets have this many bits, and nobody changes
/// that many disks for the sake of one less.
const EXACT_DISKS_MAX: usize = 64;

/// Steps of the exact search before the best found so far is taken. 20 disks need some thousands.
const SEARCH_STEPS_MAX: u32 = 200_000;

/// Plans a restore of `wanted` with the fewest disks that have to be fetched.
///
/// Among equally few, the fewest disks in all, so connected ones cost nothing but are not read
/// without need. `connected` are indices of disks that need not be fetched. What lies on several
/// disks of the plan is read from the first of them. The same input gives the same plan.
pub fn plan_restore(wanted: &[Holders], connected: &[u16]) -> RestorePlan {
    let mut plan = RestorePlan { disk_of: vec![None; wanted.len()], ..RestorePlan::default() };
    let mut disks: Vec<u16> = wanted.iter().flat_map(|class| class.disks.iter().copied()).collect();
    disks.sort_unstable();
    disks.dedup();
    // Connected disks first, then those with most to give: the search and the greedy choice try them in this order.
    let offer = |disk: u16| {
        let classes = wanted.iter().filter(|class| class.disks.contains(&disk));
        classes.fold(Tally::default(), |mut sum, class| {
            sum.merge(class.tally);
            sum
        })
    };
    let mut ordered: Vec<(bool, Tally, u16)> =
        disks.iter().map(|&disk| (!connected.contains(&disk), offer(disk), disk)).collect();
    ordered.sort_by_key(|&(fetch, tally, disk)| {
        (fetch, std::cmp::Reverse(tally.bytes), std::cmp::Reverse(tally.objects), disk)
    });

    let (mut chosen, exact) = choose(wanted, &ordered);
    plan.exact = exact;
    drop_unneeded(wanted, &mut chosen);

    for (class, disk_of) in wanted.iter().zip(&mut plan.disk_of) {
        *disk_of = chosen.iter().copied().find(|disk| class.disks.contains(disk));
        if disk_of.is_none() {
            plan.lost.merge(class.tally);
        }
    }
    for &disk in &chosen {
        let mut step = RestoreStep {
            disk,
            connected: connected.contains(&disk),
            tally: Tally::default(),
            instead: Vec::new(),
        };
        for (class, _) in wanted.iter().zip(&plan.disk_of).filter(|(_, from)| **from == Some(disk)) {
            step.tally.merge(class.tally);
            for &other in class.disks.iter().filter(|other| !chosen.contains(other)) {
                match step.instead.iter_mut().find(|(known, _)| *known == other) {
                    Some((_, tally)) => tally.merge(class.tally),
                    None => step.instead.push((other, class.tally)),
                }
            }
        }
        step.instead.sort_by_key(|&(disk, tally)| (std::cmp::Reverse(tally.objects), disk));
        plan.steps.push(step);
    }
    plan.steps.sort_by_key(|step| (!step.connected, std::cmp::Reverse(step.tally.bytes), step.disk));
    plan
}

/// Chooses disks that cover all that can be covered, in the order given, and says whether fewer
/// would be impossible.
fn choose(wanted: &[Holders], ordered: &[(bool, Tally, u16)]) -> (Vec<u16>, bool) {
    let greedy = choose_greedily(wanted, ordered);
    if ordered.len() > EXACT_DISKS_MAX {
        return (greedy, false);
    }
    let bit = |disk: u16| ordered.iter().position(|&(_, _, known)| known == disk).map_or(0, |at| 1u64 << at);
    let mask = |disks: &[u16]| disks.iter().fold(0u64, |set, &disk| set | bit(disk));
    let mut sets: Vec<u64> = wanted.iter().map(|class| mask(&class.disks)).filter(|&set| set != 0).collect();
    sets.sort_unstable_by_key(|&set| (set.count_ones(), set));
    sets.dedup();
    // Whatever serves a smaller set of holders serves every larger one that contains it.
    let mut needed: Vec<u64> = Vec::new();
    for set in sets {
        if !needed.iter().any(|&small| small & !set == 0) {
            needed.push(set);
        }
    }
    let fetch = ordered.iter().enumerate().fold(0u64, |all, (at, &(fetch, ..))| all | u64::from(fetch) << at);
    let mut search = Search { needed, fetch, best: mask(&greedy), steps: 0 };
    search.visit(0, 0);
    let chosen = (0..ordered.len()).filter(|at| search.best >> at & 1 == 1).map(|at| ordered[at].2).collect();
    (chosen, search.steps < SEARCH_STEPS_MAX)
}

/// Takes the disk with most that is still missing, again and again; connected disks before others.
fn choose_greedily(wanted: &[Holders], ordered: &[(bool, Tally, u16)]) -> Vec<u16> {
    let mut chosen: Vec<u16> = Vec::new();
    let mut missing: Vec<&Holders> = wanted.iter().filter(|class| !class.disks.is_empty()).collect();
    while !missing.is_empty() {
        let gain = |disk: u16| {
            let held = missing.iter().filter(|class| class.disks.contains(&disk));
            held.fold((0u64, 0u64), |sum, class| (sum.0 + 1, sum.1 + class.tally.bytes.0))
        };
        let best = ordered
            .iter()
            .map(|&(fetch, _, disk)| (gain(disk), fetch, disk))
            .filter(|&((classes, _), ..)| classes > 0)
            .min_by_key(|&((classes, bytes), fetch, disk)| {
                (fetch, std::cmp::Reverse(bytes), std::cmp::Reverse(classes), disk)
            });
        let Some((_, _, disk)) = best else { break };
        chosen.push(disk);
        missing.retain(|class| !class.disks.contains(&disk));
    }
    chosen
}

/// Drops every disk whose objects the others hold too; the last chosen, least useful ones first.
fn drop_unneeded(wanted: &[Holders], chosen: &mut Vec<u16>) {
    for at in (0..chosen.len()).rev() {
        let disk = chosen[at];
        let sole = wanted.iter().any(|class| {
            class.disks.contains(&disk)
                && !chosen.iter().any(|other| *other != disk && class.disks.contains(other))
        });
        if !sole {
            chosen.remove(at);
        }
    }
}

/// Branch and bound over bit sets of disks.
struct Search {
    /// Sets of holders, none contained in another; smallest first.
    needed: Vec<u64>,
    /// Disks that have to be fetched.
    fetch: u64,
    best: u64,
    steps: u32,
}

impl Search {
    fn cost(&self, set: u64) -> (u32, u32) {
        ((set & self.fetch).count_ones(), set.count_ones())
    }

    /// Extends `taken`, never using `banned`: each branch bans what the branches before it tried,
    /// so no set is looked at twice. Depth is at most the number of disks.
    fn visit(&mut self, taken: u64, banned: u64) {
        self.steps += 1;
        if self.steps >= SEARCH_STEPS_MAX {
            return;
        }
        // Holders that share no disk need one each: a lower bound for what is still to come.
        let (mut seen, mut fetches, mut more) = (0u64, 0u32, 0u32);
        let mut branch: Option<u64> = None;
        for &set in self.needed.iter().filter(|&&set| set & taken == 0) {
            let open = set & !banned;
            if open == 0 {
                return;
            }
            if branch.is_none_or(|known: u64| open.count_ones() < known.count_ones()) {
                branch = Some(open);
            }
            if open & seen == 0 {
                seen |= open;
                more += 1;
                fetches += u32::from(open & !self.fetch == 0);
            }
        }
        let (fetched, count) = self.cost(taken);
        if (fetched + fetches, count + more) >= self.cost(self.best) {
            return;
        }
        let Some(mut open) = branch else {
            self.best = taken;
            return;
        };
        let mut banned = banned;
        while open != 0 {
            let disk = open & open.wrapping_neg();
            open ^= disk;
            self.visit(taken | disk, banned);
            banned |= disk;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bytes;

    fn on(disks: &[u16], megabytes: u64) -> Holders {
        Holders { disks: disks.to_vec(), tally: Tally { objects: 1, bytes: Bytes(megabytes << 20) } }
    }

    fn order(plan: &RestorePlan) -> Vec<u16> {
        plan.steps.iter().map(|step| step.disk).collect()
    }

    #[test]
    fn a_connected_disk_that_holds_all_is_enough() {
        let plan = plan_restore(&[on(&[0, 1], 5), on(&[1, 2], 5)], &[1]);
        assert_eq!(order(&plan), [1]);
        assert_eq!(plan.steps[0].tally.objects, 2);
        assert_eq!(plan.steps[0].instead.len(), 2);
        assert!(plan.exact);
    }

    #[test]
    fn the_disk_with_most_is_not_taken_if_two_others_hold_everything() {
        // Greedy takes disk 0 with 4 of 6 and then needs both others as well.
        let wanted =
            [on(&[0, 1], 10), on(&[0, 1], 10), on(&[0, 2], 10), on(&[0, 2], 10), on(&[1], 9), on(&[2], 9)];
        let plan = plan_restore(&wanted, &[]);
        assert_eq!(order(&plan), [1, 2]);
    }

    #[test]
    fn connected_disks_cost_nothing_and_come_first() {
        let plan = plan_restore(&[on(&[0, 2], 50), on(&[1, 2], 50), on(&[3], 1)], &[0, 1]);
        assert_eq!(order(&plan), [0, 1, 3], "disk 2 would serve both, but has to be fetched");
        assert!(plan.steps[0].connected && !plan.steps[2].connected);
    }

    #[test]
    fn what_no_disk_holds_is_told_and_the_rest_is_planned() {
        let plan = plan_restore(&[on(&[], 3), on(&[4], 2)], &[]);
        assert_eq!(plan.lost, Tally { objects: 1, bytes: Bytes(3 << 20) });
        assert_eq!(plan.disk_of, [None, Some(4)]);
        assert_eq!(plan_restore(&[], &[]).steps, []);
    }

    #[test]
    fn a_hundred_disks_are_planned_without_the_exact_search() {
        let wanted: Vec<Holders> = (0..100).map(|disk| on(&[disk, (disk + 1) % 100], 1)).collect();
        let plan = plan_restore(&wanted, &[]);
        assert!(!plan.exact);
        assert!(plan.disk_of.iter().all(Option::is_some));
    }

    /// Every set of up to 6 disks is compared with trying all subsets.
    #[test]
    fn no_smaller_set_of_disks_would_do() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..500 {
            let disks = 1 + random(6) as u16;
            let connected: Vec<u16> = (0..disks).filter(|_| random(4) == 0).collect();
            let wanted: Vec<Holders> = (0..1 + random(8))
                .map(|_| {
                    let held: Vec<u16> = (0..disks).filter(|_| random(3) == 0).collect();
                    on(&held, 1 + random(9))
                })
                .collect();
            let plan = plan_restore(&wanted, &connected);
            let cost = |set: u32| {
                let fetched =
                    (0..disks).filter(|disk| set >> disk & 1 == 1 && !connected.contains(disk)).count();
                (fetched, set.count_ones() as usize)
            };
            let covers = |set: u32| {
                wanted.iter().all(|class| {
                    class.disks.is_empty() || class.disks.iter().any(|disk| set >> disk & 1 == 1)
                })
            };
            let least = (0..1u32 << disks).filter(|&set| covers(set)).map(cost).min();
            let ours = plan.steps.iter().fold(0u32, |set, step| set | 1 << step.disk);
            assert!(covers(ours), "{wanted:?}");
            assert_eq!(Some(cost(ours)), least, "{wanted:?} connected {connected:?} {plan:?}");
        }
    }
}
