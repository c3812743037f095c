//! The world of one history: a PC with its catalog, a source, a shelf; and what must be true of it at every moment.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use distbackup_core::model::{DAY_NS, ObjectId, VirtualPath};
use distbackup_engine::catalog::{At, Catalog, CatalogError};
use distbackup_engine::clock::Clock;
use distbackup_engine::disk::Disk;
use distbackup_engine::ops::restore::{self, Readable, RestoreOptions};
use distbackup_engine::ops::{recover, sources};
use distbackup_engine::progress::{Event, Observer, Silent};
use tempfile::TempDir;

use crate::known::Known;
use crate::outside::{Outside, catalog_path, copy_catalog};
use crate::random::Random;
use crate::shelf::Bay;
use crate::source::Source;

/// What was simulated, for the report.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    pub steps: u64,
    pub updates: u64,
    pub visits: u64,
    pub kills: u64,
    pub faults: u64,
    pub verifies: u64,
    pub restores: u64,
    pub recovers: u64,
    pub copied: u64,
    pub removed: u64,
    pub evicted: u64,
    pub refused: u64,
    pub held: u64,
    pub carried: u64,
}

/// The clock of the simulation.
pub struct Time(AtomicI64);

impl Clock for Time {
    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Somebody who stops a run, or kills it: then the catalog is copied as it is at that moment.
pub struct Watcher {
    /// So many events or questions to come before that.
    left: AtomicU64,
    kill: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Watcher {
    /// Asks to stop when it was asked `after` times.
    pub fn stops(after: u64) -> Watcher {
        Watcher { left: AtomicU64::new(after), kill: None }
    }

    /// Kills at an event.
    pub fn kills(after: u64, kill: impl Fn() + Send + Sync + 'static) -> Watcher {
        Watcher { left: AtomicU64::new(after), kill: Some(Box::new(kill)) }
    }

    /// Counts down; whether this is the last one, or one after it.
    fn count(&self) -> (bool, bool) {
        let count = |left: u64| Some(left.saturating_sub(1));
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count).unwrap_or(0);
        (before == 1, before <= 1)
    }
}

impl Observer for Watcher {
    fn event(&self, _: Event<'_>) {
        if let Some(kill) = &self.kill
            && self.count().0
        {
            kill();
        }
    }

    fn stop_requested(&self) -> bool {
        self.kill.is_none() && self.count().1
    }
}

/// Everything there is.
pub struct World {
    pub seed: u64,
    pub random: Random,
    pub folder: TempDir,
    /// Where the PC's catalog lies now.
    pub home: PathBuf,
    homes: u64,
    pub source: Source,
    pub clock: Arc<Time>,
    pub bays: Vec<Bay>,
    pub known: Known,
    /// The catalog, seen from outside, after the last step.
    pub outside: Outside,
    /// What the catalogs on disks know, by their hash.
    pub published: HashMap<ObjectId, Known>,
    /// Older copies of the PC's catalog.
    pub saved: Vec<(PathBuf, Known)>,
    pub trace: Vec<String>,
    pub figures: Figures,
    pub print: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let steps = self.trace.join("\n");
            eprintln!("\nThe steps of seed {}:\n{steps}", self.seed);
            eprintln!(
                "play again: DSB_SIM_SEED={} DSB_SIM_STEPS={} cargo test -p distbackup-engine --test simulator\n",
                self.seed, self.figures.steps
            );
        }
    }
}

/// Billed room that the objects of a disk may have, besides what its catalogs need.
const ROOM_MIN: usize = 60_000;
const ROOM_MAX: usize = 900_000;
/// What catalogs and recovery files need on a disk.
const ROOM_FOR_CATALOGS: u64 = 1_200_000;

impl World {
    /// A set with its disks, its source and its first update.
    pub fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let mut named = tempfile::Builder::new();
        named.prefix("simulator-");
        let folder = named.tempdir_in("/dev/shm").or_else(|_| named.tempdir()).unwrap();
        let home = folder.path().join("home-0");
        fs::create_dir(&home).unwrap();
        let mut source = Source::new(folder.path().join("files"));
        (0..random.within(15, 50)).for_each(|_| drop(source.add(&mut random)));
        let mut catalog = Catalog::create(&catalog_path(&home), DAY_NS).unwrap();
        let root = VirtualPath::parse(b"/files").unwrap();
        sources::map(&mut catalog, &root, &folder.path().join("files")).unwrap();
        let count = random.within(3, 9);
        let bays = (0..count).map(|number| {
            let room = random.within(ROOM_MIN, ROOM_MAX) as u64;
            Bay::join(&mut catalog, number, (room + ROOM_FOR_CATALOGS) / 95 * 100)
        });
        let bays: Vec<Bay> = bays.collect();
        catalog.close().unwrap();
        let mut world = World {
            seed,
            random,
            folder,
            outside: Outside::look(&home),
            home,
            homes: 0,
            source,
            clock: Arc::new(Time(AtomicI64::new(20_000 * DAY_NS))),
            bays,
            known: Known::default(),
            published: HashMap::new(),
            saved: Vec::new(),
            trace: Vec::new(),
            figures: Figures::default(),
            print: std::env::var_os("DSB_SIM_TRACE").is_some(),
        };
        for bay in &world.bays {
            world.known.disk(bay.row).settled = true;
        }
        world.keep(Some(90));
        world.update_plainly(true);
        world
    }

    pub fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    /// Time goes by.
    pub fn pass(&self, ns: i64) {
        self.clock.0.fetch_add(ns, Ordering::Relaxed);
    }

    /// A line of the trace.
    pub fn say(&mut self, what: String) {
        let line = format!("{:4}  day {:6}  {what}", self.figures.steps, self.now_ns() / DAY_NS);
        if self.print {
            eprintln!("{line}");
        }
        self.trace.push(line);
    }

    /// What became of the step.
    pub fn tell(&mut self, what: &str) {
        let line = format!("{:18}  {what}", "");
        if self.print {
            eprintln!("{line}");
        }
        self.trace.push(line);
    }

    /// A folder for a catalog that has none yet.
    pub fn new_home(&mut self) -> PathBuf {
        self.homes += 1;
        self.folder.path().join(format!("home-{}", self.homes))
    }

    /// The catalog in this folder is the PC's from now on.
    pub fn move_to(&mut self, home: PathBuf) {
        fs::remove_dir_all(&self.home).unwrap();
        self.home = home;
    }

    pub fn open(&self) -> Catalog {
        Catalog::open(&catalog_path(&self.home)).unwrap()
    }

    /// Changes a setting: days that history is kept.
    pub fn keep(&mut self, days: Option<i64>) {
        let text = days.map_or("off".to_owned(), |days| format!("{days}d"));
        let mut catalog = self.open();
        catalog
            .write::<_, CatalogError>("keep", |writer| writer.record_setting("keep-deleted", &text))
            .unwrap();
        catalog.close().unwrap();
        self.known.keep_days = days;
    }

    /// Disks that are not lost.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.bays.len()).filter(|at| !self.bays[*at].lost).collect()
    }

    /// Looks at the catalog, and checks everything that must be true at every moment.
    pub fn check(&mut self) {
        self.outside = Outside::look(&self.home);
        self.known.note_captured(&self.outside);
        self.claims_are_true();
        self.removals_are_no_claims();
        self.tree_is_right();
        let kept = self.known.kept();
        let forgotten: Vec<&ObjectId> = kept.difference(&self.outside.referenced).collect();
        assert!(
            forgotten.is_empty(),
            "N7: no name refers any more to {forgotten:?}, which is in the tree or kept"
        );
    }

    fn claims_are_true(&self) {
        for bay in self.bays.iter().filter(|bay| !bay.lost) {
            let excused = self.known.disks.get(&bay.row).map(|known| &known.excused);
            for id in self.outside.claimed(bay.row) {
                let known = excused.is_some_and(|excused| excused.contains(&id));
                let whole = bay.now().whole.contains(&id);
                assert!(
                    whole || known,
                    "N1: {id} is claimed on {}, where it is not durable and whole",
                    bay.name
                );
            }
        }
    }

    fn removals_are_no_claims(&self) {
        for (disk, removals) in &self.outside.removals {
            let both: Vec<ObjectId> = removals.intersection(&self.outside.claimed(*disk)).copied().collect();
            assert!(both.is_empty(), "N2: {both:?} are claimed on disk {disk}, and released");
        }
    }

    fn tree_is_right(&self) {
        for (path, leaf) in &self.known.tree {
            let Some(file) = self.outside.live.get(&format!("files/{path}")) else {
                panic!("{path} is not in the tree");
            };
            assert!(file.pending || file.size == leaf.size, "{path} has {} bytes", file.size);
            let object = (leaf.size > 0).then_some(leaf.id);
            assert!(
                file.pending || file.object == object,
                "{path} is {:?} instead of {object:?}",
                file.object
            );
        }
        for path in self.outside.live.keys().filter_map(|path| path.strip_prefix("files/")) {
            assert!(self.known.tree.contains_key(path), "{path} is in the tree and should not be");
        }
    }

    /// The catalog is another one now: claims of it that are not true are so by accident, not by a fault.
    pub fn excuse_claims(&mut self) {
        self.outside = Outside::look(&self.home);
        for bay in &self.bays {
            let whole = if bay.lost { BTreeSet::new() } else { bay.now().whole.clone() };
            let claimed = self.outside.claimed(bay.row);
            self.known.disk(bay.row).excused = claimed.difference(&whole).copied().collect();
        }
    }

    /// What lies on the disks and is named by their catalogs only: the recovered catalog never knew it.
    pub fn find_precious(&mut self) {
        for bay in &mut self.bays {
            for physical in &mut bay.physical {
                let theirs = physical.disk.catalog_hash().and_then(|hash| self.published.get(&hash));
                let kept = theirs.map(Known::kept).unwrap_or_default();
                let ever = self.known.ever.union(&self.known.merged).copied().collect();
                let here: BTreeSet<ObjectId> = kept.intersection(&physical.whole).copied().collect();
                physical.precious = here.difference(&ever).copied().collect();
            }
        }
    }

    /// The PC's catalog is lost; the one on this disk takes its place. `false` if it has none.
    pub fn recover(&mut self, bay: usize) -> bool {
        let Some(hash) = self.bays[bay].now().disk.catalog_hash() else { return false };
        let home = self.new_home();
        fs::create_dir(&home).unwrap();
        let physical = self.bays[bay].now();
        let folder = PathBuf::from(&self.bays[bay].name);
        recover::recover_from(&physical.disk, &folder, &catalog_path(&home), self.now_ns(), false).unwrap();
        self.known = self.published[&hash].clone();
        self.move_to(home);
        self.known.disks.values_mut().for_each(|disk| {
            (disk.unproven, disk.settled) = (true, false);
        });
        self.source.rewrite_rotten(&mut self.random);
        self.excuse_claims();
        self.find_precious();
        self.figures.recovers += 1;
        self.check();
        true
    }

    /// Keeps a copy of the catalog.
    pub fn save(&mut self) {
        let to = self.new_home();
        copy_catalog(&self.home, &to);
        self.saved.push((to, self.known.clone()));
    }

    /// Puts an older copy of the catalog in its place.
    pub fn roll_back(&mut self) -> bool {
        let Some(at) = (!self.saved.is_empty()).then(|| self.random.below(self.saved.len())) else {
            return false;
        };
        let home = self.new_home();
        copy_catalog(&self.saved[at].0, &home);
        self.known = self.saved[at].1.clone();
        self.move_to(home);
        self.source.rewrite_rotten(&mut self.random);
        self.excuse_claims();
        self.find_precious();
        self.check();
        true
    }

    /// Restores the current tree from all disks, and compares it with what should come (N10, R1).
    pub fn restore(&mut self) {
        self.figures.restores += 1;
        let destination = tempfile::tempdir_in(self.folder.path()).unwrap();
        let catalog = self.open();
        let disks: Vec<Readable<'_>> = self
            .bays
            .iter()
            .filter(|bay| !bay.lost)
            .map(|bay| Readable { disk: bay.number(), name: bay.name.clone(), port: &bay.now().disk })
            .collect();
        let options = RestoreOptions {
            patterns: Vec::new(),
            destination: destination.path().to_owned(),
            at: At::Now,
            overwrite: false,
            numeric_ids: true,
            streams: 1,
            done: Vec::new(),
            again: Default::default(),
            existing: Vec::new(),
        };
        let connected: Vec<_> = disks.iter().map(|disk| disk.disk).collect();
        let needs = restore::needs(catalog.read(), &options, &connected).unwrap();
        let outcome = restore::restore(catalog.read(), &disks, &options, &needs, &Silent).unwrap();
        let (mut absent, mut unconfirmed) = (0, 0);
        for (path, leaf) in &self.known.tree {
            let real = destination.path().join("files").join(path);
            let good = |bay: &&Bay| {
                !bay.lost && self.outside.claims(bay.row, &leaf.id) && bay.now().whole.contains(&leaf.id)
            };
            let available = leaf.captured && (leaf.size == 0 || self.bays.iter().any(|bay| good(&bay)));
            match fs::read(&real) {
                Ok(bytes) => {
                    let file = self.outside.live.get(&format!("files/{path}"));
                    match file.filter(|file| file.pending).and_then(|file| file.object) {
                        // Only its ctime tells of a change, and it was not read since: it comes as it was, and is named.
                        Some(presumed) => {
                            assert!(
                                bytes == **self.source.contents[&presumed],
                                "{path} came with bytes of its own"
                            );
                            unconfirmed += 1;
                        }
                        None => {
                            assert!(
                                bytes == **self.source.contents[&leaf.id],
                                "{path} was restored with other bytes"
                            );
                            assert!(available, "{path} was restored, but where from?");
                        }
                    }
                }
                Err(_) => {
                    assert!(!available, "{path} was not restored: {outcome:?}");
                    absent += 1;
                }
            }
        }
        // What is damaged on a connected disk may be whole on another one: then it is named twice.
        let missing: u64 = outcome.missing.iter().map(|(_, tally)| tally.objects).sum();
        let named = outcome.lost.count + outcome.never_captured.count + missing;
        let all_named = named <= absent && absent <= named + outcome.bad.count;
        assert!(all_named, "{absent} could not be restored, and others were named: {outcome:?}");
        assert!(outcome.unconfirmed.count >= unconfirmed, "not each unconfirmed file was named: {outcome:?}");
        drop(disks);
        catalog.close().unwrap();
    }
}
