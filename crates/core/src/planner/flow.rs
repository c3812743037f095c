//! How much of each nexus class the disks can take: a maximum flow from classes to disks.
//!
//! Copies of a class may go to every disk that does not hold it yet. What another disk takes for
//! nothing is not worth a deletion here, and what only this disk can take must not be left out.
//! The flow answers both. It starts with amounts the caller likes and is augmented along paths
//! that never lower the load of a disk, so what was full stays full.

/// Classes of bytes, disks with room, and who may go where.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    disks: usize,
    /// Bytes of each class that have no place yet.
    pub left: Vec<u64>,
    /// Disks that each class may go to, ascending.
    eligible: Vec<Vec<u16>>,
    room: Vec<u64>,
    load: Vec<u64>,
    /// Bytes of class `x` on disk `i` at `x * disks + i`.
    amounts: Vec<u64>,
    /// For each pair of disks, the number of classes with bytes on the first that may go to the second.
    movable: Vec<u32>,
}

/// Steps of work at most: about a second. Beyond it, what has no place yet counts as having none;
/// 4096 classes on 30 disks need about a hundredth.
const WORK_MAX: u64 = 1 << 30;

impl Flow {
    /// No class yet, and disks with so much room.
    pub fn new(room: Vec<u64>) -> Self {
        let disks = room.len();
        Flow { disks, load: vec![0; disks], movable: vec![0; disks * disks], room, ..Self::default() }
    }

    /// Adds a class of so many bytes that may go to the disks given, and returns its number.
    pub fn class(&mut self, bytes: u64, eligible: Vec<u16>) -> usize {
        self.left.push(bytes);
        self.eligible.push(eligible);
        self.amounts.resize(self.amounts.len() + self.disks, 0);
        self.left.len() - 1
    }

    /// Bytes of a class on a disk.
    pub fn on(&self, class: usize, disk: usize) -> u64 {
        self.amounts[class * self.disks + disk]
    }

    /// Bytes on a disk.
    pub fn load(&self, disk: usize) -> u64 {
        self.load[disk]
    }

    /// Bytes that found no place.
    pub fn unplaced(&self) -> u64 {
        self.left.iter().sum()
    }

    /// Puts bytes of a class on a disk, as much as there is and fits.
    pub fn put(&mut self, class: usize, disk: usize, bytes: u64) {
        let bytes = bytes.min(self.left[class]).min(self.room[disk].saturating_sub(self.load[disk]));
        self.shift(class, None, disk, bytes);
        self.left[class] -= bytes;
        self.load[disk] += bytes;
    }

    /// Augments to a maximum flow.
    pub fn maximise(&mut self) {
        for class in 0..self.left.len() {
            self.spread(class);
        }
        let mut work = 0;
        for class in 0..self.left.len() {
            while self.left[class] > 0 && work < WORK_MAX {
                work += (self.left.len() * self.disks) as u64;
                if !self.augment(class) {
                    break;
                }
            }
        }
    }

    /// A good start: every class on all its disks in proportion to their room.
    fn spread(&mut self, class: usize) {
        let room_on = |flow: &Self, disk: u16| flow.room[usize::from(disk)] - flow.load[usize::from(disk)];
        let open: Vec<u16> =
            self.eligible[class].iter().copied().filter(|&disk| room_on(self, disk) > 0).collect();
        let total: u128 = open.iter().map(|&disk| u128::from(room_on(self, disk))).sum();
        let wanted = u128::from(self.left[class]);
        for disk in open {
            let room = room_on(self, disk);
            // Not above `room` if `wanted` is not above `total`; `put` takes care of the rest.
            let share = wanted * u128::from(room) / total.max(1);
            self.put(class, usize::from(disk), u64::try_from(share).unwrap_or(u64::MAX));
        }
    }

    /// Finds room for some of a class, moving others from disk to disk if need be.
    fn augment(&mut self, class: usize) -> bool {
        const NONE: usize = usize::MAX;
        let mut before = vec![NONE; self.disks];
        let mut queue: Vec<usize> = Vec::with_capacity(self.disks);
        for &disk in &self.eligible[class] {
            before[usize::from(disk)] = self.disks; // reached from the class itself
            queue.push(usize::from(disk));
        }
        let mut at = 0;
        let end = loop {
            let Some(&disk) = queue.get(at) else { return false };
            at += 1;
            if self.load[disk] < self.room[disk] {
                break disk;
            }
            let movable = &self.movable[disk * self.disks..(disk + 1) * self.disks];
            for (next, &classes) in movable.iter().enumerate() {
                if before[next] == NONE && classes > 0 {
                    before[next] = disk;
                    queue.push(next);
                }
            }
        };
        // Back along the path: each hop moves the class that has most to move.
        let mut bytes = self.left[class].min(self.room[end] - self.load[end]);
        let mut hops: Vec<(usize, usize, usize)> = Vec::new();
        let mut to = end;
        while before[to] != self.disks {
            let from = before[to];
            let mover = (0..self.left.len())
                .filter(|&other| self.on(other, from) > 0 && self.may_go(other, to))
                .max_by_key(|&other| (self.on(other, from), std::cmp::Reverse(other)));
            let Some(mover) = mover else { return false };
            bytes = bytes.min(self.on(mover, from));
            hops.push((mover, from, to));
            to = from;
        }
        for (mover, from, to) in hops {
            self.shift(mover, Some(from), to, bytes);
        }
        self.shift(class, None, to, bytes);
        self.left[class] -= bytes;
        self.load[end] += bytes;
        bytes > 0
    }

    fn may_go(&self, class: usize, disk: usize) -> bool {
        self.eligible[class].binary_search(&(disk as u16)).is_ok()
    }

    fn shift(&mut self, class: usize, from: Option<usize>, to: usize, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let base = class * self.disks;
        if let Some(from) = from {
            self.amounts[base + from] -= bytes;
            if self.amounts[base + from] == 0 {
                for &other in &self.eligible[class] {
                    self.movable[from * self.disks + usize::from(other)] -= 1;
                }
            }
        }
        if self.amounts[base + to] == 0 {
            for &other in &self.eligible[class] {
                self.movable[to * self.disks + usize::from(other)] += 1;
            }
        }
        self.amounts[base + to] += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_disk_can_take_pushes_the_other_aside() {
        let mut flow = Flow::new(vec![10, 10]);
        let either = flow.class(10, vec![0, 1]);
        let first_only = flow.class(10, vec![0]);
        flow.put(either, 0, 10);
        flow.maximise();
        assert_eq!(flow.unplaced(), 0);
        assert_eq!((flow.on(first_only, 0), flow.on(either, 1)), (10, 10));
        assert_eq!((flow.load(0), flow.load(1)), (10, 10));
    }

    #[test]
    fn what_has_no_place_is_left() {
        let mut flow = Flow::new(vec![4]);
        flow.class(6, vec![0]);
        flow.class(5, vec![]);
        flow.maximise();
        assert_eq!(flow.left, [2, 5]);
    }

    /// Max-flow min-cut: what finds no place equals the best of all cuts, tried one by one.
    #[test]
    fn the_flow_is_as_large_as_the_smallest_cut_allows() {
        let mut state = 5u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let disks = 1 + random(4) as u16;
            let room: Vec<u64> = (0..disks).map(|_| random(20)).collect();
            let mut flow = Flow::new(room.clone());
            let classes: Vec<(u64, Vec<u16>)> = (0..1 + random(5))
                .map(|_| (random(20), (0..disks).filter(|_| random(2) == 0).collect()))
                .collect();
            for (bytes, eligible) in &classes {
                flow.class(*bytes, eligible.clone());
            }
            flow.put(0, random(u64::from(disks)) as usize % room.len(), 0);
            flow.maximise();
            let total: u64 = classes.iter().map(|(bytes, _)| bytes).sum();
            let smallest = (0..1u32 << classes.len())
                .map(|cut| {
                    let inside = |class: usize| cut >> class & 1 == 1;
                    let outside: u64 = (0..classes.len()).filter(|&c| !inside(c)).map(|c| classes[c].0).sum();
                    let reached = (0..disks)
                        .filter(|disk| (0..classes.len()).any(|c| inside(c) && classes[c].1.contains(disk)));
                    outside + reached.map(|disk| room[usize::from(disk)]).sum::<u64>()
                })
                .min();
            assert_eq!(Some(total - flow.unplaced()), smallest, "{classes:?} {room:?}");
        }
    }
}
