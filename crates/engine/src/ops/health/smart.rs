//! What `smartctl --json -a` says of a drive, and what to think of it.
//!
//! The report is another program's about a stranger's device: any key may be missing or of another type, and then it is
//! not known. Keys as smartctl 7 writes them; attributes of ATA drives by their numbers in its `drivedb.h`.

use serde_json::Value;

/// What is known of a drive.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Smart {
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its own judgement.
    pub passed: Option<bool>,
    /// Sectors that were replaced by spare ones; of SCSI, the grown defects.
    pub reallocated: Option<u64>,
    /// Sectors that could not be read and wait for being written.
    pub pending: Option<u64>,
    /// Sectors that were lost: found uncorrectable by a self-test, or reported so to the computer, whichever is more.
    pub uncorrectable: Option<u64>,
    /// NVMe: times that content came back damaged.
    pub media_errors: Option<u64>,
    /// Hours under power.
    pub power_on_hours: Option<u64>,
    /// Degrees Celsius.
    pub temperature_c: Option<u64>,
    /// Flash: how much of the promised life is used, in percent; can exceed 100.
    pub percentage_used: Option<u64>,
    /// What the drive itself warns of, in words.
    pub warnings: Vec<String>,
    /// Why nothing is known, as smartctl says it.
    pub silent_because: Option<String>,
    /// What smartctl could not do without: another `-d`. Typical of drives behind USB.
    pub wants_device_type: bool,
}

/// What to think of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing speaks against it.
    Good,
    /// Nothing is known.
    Unknown,
    /// It works, and has begun to lose sectors, or is at the end of its promised life.
    Worn,
    /// It says so itself, or has lost many sectors: it is to be replaced.
    Failing,
}

/// Pending and lost sectors together that are no single incident any more.
const SECTORS_FAILING: u64 = 10;
/// Replaced sectors that show that it goes on.
const REALLOCATED_FAILING: u64 = 100;
/// Used share of the promised life of flash from which on it is worth knowing.
const USED_WORN: u64 = 80;

const REALLOCATED: u64 = 5;
const REPORTED_UNCORRECTABLE: u64 = 187;
const PENDING: u64 = 197;
const OFFLINE_UNCORRECTABLE: u64 = 198;

/// The first texts of a report that are kept, in characters.
const TEXT_MAX: usize = 120;

impl Smart {
    /// Understands a report; what it does not say, or says in an unknown way, is not known.
    pub fn parse(report: &[u8]) -> Self {
        let Ok(report) = serde_json::from_slice::<Value>(report) else {
            return Smart {
                silent_because: Some("smartctl did not answer in JSON".to_owned()),
                ..Smart::default()
            };
        };
        let mut smart = Smart {
            model: text(&report["model_name"]).or_else(|| text(&report["scsi_model_name"])),
            serial: text(&report["serial_number"]),
            passed: report["smart_status"]["passed"].as_bool(),
            power_on_hours: number(&report["power_on_time"]["hours"]),
            temperature_c: number(&report["temperature"]["current"]),
            percentage_used: number(&report["endurance_used"]["current_percent"]),
            ..Smart::default()
        };
        smart.take_ata(&report["ata_smart_attributes"]["table"]);
        smart.take_nvme(&report["nvme_smart_health_information_log"]);
        smart.take_scsi(&report);
        smart.take_silence(&report);
        smart
    }

    fn take_ata(&mut self, table: &Value) {
        let rows = table.as_array().map(Vec::as_slice).unwrap_or_default();
        let raw = |id: u64| {
            let row = rows.iter().find(|row| row["id"].as_u64() == Some(id));
            row.and_then(|row| number(&row["raw"]["value"]))
        };
        self.reallocated = raw(REALLOCATED);
        self.pending = raw(PENDING);
        self.uncorrectable = raw(OFFLINE_UNCORRECTABLE).max(raw(REPORTED_UNCORRECTABLE));
        for row in rows.iter().filter(|row| row["when_failed"].as_str() == Some("now")) {
            let name = text(&row["name"]).unwrap_or_else(|| "an attribute".to_owned());
            self.warnings.push(format!("{} is below its limit", name.replace('_', " ")));
        }
        if self.percentage_used.is_none() {
            // SATA drives count the life that is left, from 100 down.
            let life = rows.iter().find(|row| {
                let name = row["name"].as_str().unwrap_or_default();
                ["SSD_Life_Left", "Media_Wearout_Indicator", "Percent_Lifetime_Remain"].contains(&name)
            });
            let left = life.and_then(|row| number(&row["value"])).filter(|left| *left <= 100);
            self.percentage_used = left.map(|left| 100 - left);
        }
    }

    fn take_nvme(&mut self, log: &Value) {
        if !log.is_object() {
            return;
        }
        self.media_errors = number(&log["media_errors"]);
        self.percentage_used = number(&log["percentage_used"]).or(self.percentage_used);
        self.power_on_hours = self.power_on_hours.or(number(&log["power_on_hours"]));
        self.temperature_c = self.temperature_c.or(number(&log["temperature"]));
        // Bits of the NVMe specification, "SMART / Health Information". The second, heat, says nothing of wear.
        let bits = number(&log["critical_warning"]).unwrap_or_default();
        for (bit, meaning) in [
            (0, "its spare blocks run out"),
            (2, "it became unreliable"),
            (3, "it has turned read-only"),
            (4, "its buffer against power cuts has failed"),
        ] {
            if bits >> bit & 1 == 1 {
                self.warnings.push(meaning.to_owned());
            }
        }
    }

    fn take_scsi(&mut self, report: &Value) {
        self.reallocated = self.reallocated.or(number(&report["scsi_grown_defect_list"]));
        let counters = &report["scsi_error_counter_log"];
        let lost = ["read", "write", "verify"]
            .iter()
            .filter_map(|kind| number(&counters[kind]["total_uncorrected_errors"]));
        self.uncorrectable = self.uncorrectable.or(lost.reduce(u64::saturating_add));
    }

    fn take_silence(&mut self, report: &Value) {
        if self.passed.is_some() {
            return;
        }
        let messages = report["smartctl"]["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let said = messages
            .iter()
            .find(|message| message["severity"].as_str() == Some("error"))
            .or(messages.first());
        let said = said.and_then(|message| text(&message["string"]));
        let support = &report["smart_support"];
        self.wants_device_type =
            said.as_ref().is_some_and(|said| said.contains("USB bridge") || said.contains("-d "));
        self.silent_because = Some(if support["available"].as_bool() == Some(false) {
            "the drive, or what connects it, does not report its health".to_owned()
        } else if support["enabled"].as_bool() == Some(false) {
            "reporting is switched off in the drive (smartctl -s on)".to_owned()
        } else {
            said.unwrap_or_else(|| "the drive says nothing of its health".to_owned())
        });
    }

    /// What to think of it, and why.
    pub fn verdict(&self) -> (Verdict, Vec<String>) {
        let of = |number: Option<u64>| number.unwrap_or_default();
        let mut failing = Vec::new();
        let mut worn = Vec::new();
        if self.passed == Some(false) {
            failing.push("the drive itself says that it is failing".to_owned());
        }
        failing.extend(self.warnings.iter().cloned());
        let lost = of(self.pending).saturating_add(of(self.uncorrectable));
        if lost > 0 {
            let list = if lost >= SECTORS_FAILING { &mut failing } else { &mut worn };
            list.push(format!("{} could not be read", sectors(lost)));
        }
        let reallocated = of(self.reallocated);
        if reallocated > 0 {
            let list = if reallocated >= REALLOCATED_FAILING { &mut failing } else { &mut worn };
            list.push(format!("{} replaced by spare ones", sectors(reallocated)));
        }
        if of(self.media_errors) > 0 {
            worn.push(format!("content came back damaged {} times", of(self.media_errors)));
        }
        if of(self.percentage_used) >= USED_WORN {
            worn.push(format!("{} % of its promised life is used", of(self.percentage_used)));
        }
        match (failing.is_empty(), worn.is_empty()) {
            (false, _) => (Verdict::Failing, [failing, worn].concat()),
            (true, false) => (Verdict::Worn, worn),
            // Numbers without a judgement are no reason for calling it good.
            (true, true) if self.passed.is_none() => {
                (Verdict::Unknown, self.silent_because.iter().cloned().collect())
            }
            (true, true) => (Verdict::Good, Vec::new()),
        }
    }
}

fn sectors(number: u64) -> String {
    if number == 1 { "1 sector".to_owned() } else { format!("{number} sectors") }
}

/// A number that can be one; a negative or broken one is none.
fn number(value: &Value) -> Option<u64> {
    value.as_u64()
}

/// A text, cut where it is absurdly long.
fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?.trim();
    (!text.is_empty()).then(|| text.chars().take(TEXT_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(name: &str) -> (Smart, Verdict, String) {
        let file = format!("{}/tests/smartctl/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let smart = Smart::parse(&std::fs::read(file).unwrap());
        let (verdict, why) = smart.verdict();
        (smart, verdict, why.join(", "))
    }

    #[test]
    fn a_healthy_sata_disk_is_good() {
        let (smart, verdict, why) = judged("sata-good");
        assert_eq!((verdict, why.as_str()), (Verdict::Good, ""));
        assert_eq!((smart.reallocated, smart.pending, smart.uncorrectable), (Some(0), Some(0), Some(0)));
        assert_eq!((smart.power_on_hours, smart.temperature_c), (Some(8123), Some(34)));
        assert_eq!((smart.passed, smart.percentage_used), (Some(true), None));
        assert_eq!(smart.model.as_deref(), Some("WDC WD40EFRX-68N32N0"));
    }

    #[test]
    fn a_sata_disk_that_loses_sectors_is_failing() {
        let (smart, verdict, why) = judged("sata-failing");
        assert_eq!(verdict, Verdict::Failing);
        assert_eq!((smart.reallocated, smart.pending, smart.uncorrectable), (Some(2184), Some(96), Some(41)));
        assert_eq!(
            why,
            "the drive itself says that it is failing, Reallocated Sector Ct is below its limit, \
             137 sectors could not be read, 2184 sectors replaced by spare ones"
        );
    }

    #[test]
    fn nvme_is_judged_by_its_own_log() {
        let (smart, verdict, _) = judged("nvme-good");
        assert_eq!((verdict, smart.percentage_used, smart.media_errors), (Verdict::Good, Some(3), Some(0)));
        let (smart, verdict, why) = judged("nvme-worn");
        assert_eq!((verdict, smart.power_on_hours), (Verdict::Worn, Some(21_877)));
        assert_eq!(why, "content came back damaged 2 times, 97 % of its promised life is used");
    }

    #[test]
    fn a_bridge_that_hides_the_drive_makes_it_unknown() {
        let (smart, verdict, why) = judged("usb-unsupported");
        assert_eq!(verdict, Verdict::Unknown);
        assert!(smart.wants_device_type);
        assert_eq!(why, "/dev/sdb: Unknown USB bridge [0x152d:0x0583 (0x209)]");
    }

    #[test]
    fn one_bad_sector_is_worn_and_ten_are_failing() {
        let with = |pending: u64, passed: &str| {
            let row = format!(
                r#"{{"id":197,"name":"Current_Pending_Sector","when_failed":"","raw":{{"value":{pending}}}}}"#
            );
            let text = format!(
                r#"{{"smart_status":{{"passed":{passed}}},"ata_smart_attributes":{{"table":[{row}]}}}}"#
            );
            Smart::parse(text.as_bytes()).verdict().0
        };
        assert_eq!(with(0, "true"), Verdict::Good);
        assert_eq!(with(1, "true"), Verdict::Worn);
        assert_eq!(with(10, "true"), Verdict::Failing);
        assert_eq!(with(0, "false"), Verdict::Failing);
        assert_eq!(with(0, "null"), Verdict::Unknown);
    }

    #[test]
    fn n12_a_report_that_is_cut_bent_or_hostile_makes_nothing_fall_and_nothing_good() {
        for name in ["sata-good", "sata-failing", "nvme-good", "nvme-worn", "usb-unsupported"] {
            let file = format!("{}/tests/smartctl/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let report = std::fs::read(file).unwrap();
            for cut in 0..report.trim_ascii_end().len() {
                assert_eq!(Smart::parse(&report[..cut]).verdict().0, Verdict::Unknown, "{name} cut at {cut}");
            }
        }
        for report in [
            "null",
            "[]",
            "7",
            "\"x\"",
            r#"{"smart_status":7}"#,
            r#"{"smart_status":{"passed":"true"}}"#,
            r#"{"ata_smart_attributes":{"table":[null,7,{"id":"5"},{"id":5,"raw":{"value":-1}},{"id":197,"raw":{"value":1e300}}]}}"#,
            r#"{"nvme_smart_health_information_log":{"media_errors":[],"critical_warning":-4}}"#,
        ] {
            assert_eq!(Smart::parse(report.as_bytes()).verdict().0, Verdict::Unknown, "{report}");
        }
        let huge = r#"{"smart_status":{"passed":true},"scsi_error_counter_log":{"read":{"total_uncorrected_errors":18446744073709551615},"write":{"total_uncorrected_errors":9}}}"#;
        assert_eq!(Smart::parse(huge.as_bytes()).verdict().0, Verdict::Failing);
        let long = format!(r#"{{"model_name":"{}"}}"#, "x".repeat(1 << 20));
        assert_eq!(Smart::parse(long.as_bytes()).model.map(|model| model.len()), Some(TEXT_MAX));
    }
}
