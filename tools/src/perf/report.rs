// SPDX-License-Identifier: BSD-3-Clause

//! Results as a table and as JSON.

use serde_json::{Value, json};

use super::Op;
use super::measure::Measured;
use crate::units;

/// What was measured of one operation and one size.
pub(super) struct Row {
    pub(super) op: Op,
    pub(super) size: u64,
    pub(super) librpma: Measured,
    /// The same without librpma.
    pub(super) raw: Option<Measured>,
    /// How many nanoseconds longer an operation takes with librpma.
    pub(super) cost: Option<f64>,
}

/// The percentiles of the table, and what they are called in JSON.
const PERCENTILES: [(f64, &str, &str); 4] = [
    (50.0, "p50", "p50"),
    (90.0, "p90", "p90"),
    (99.0, "p99", "p99"),
    (99.9, "p99.9", "p99_9"),
];

impl Measured {
    /// The percentile of the latency, in nanoseconds.
    pub(super) fn percentile(&self, percentile: f64) -> u64 {
        self.latency.value_at_percentile(percentile)
    }

    /// The mean latency of the quicker half of the operations, in which little else has run on the machine.
    fn quicker_half(&self) -> Option<f64> {
        let half = self.operations().div_ceil(2);
        let (mut counted, mut sum) = (0, 0.0);
        for step in self.latency.iter_recorded() {
            let count = step.count_at_value().min(half - counted);
            counted += count;
            sum += count as f64 * step.value_iterated_to() as f64;
            if counted == half {
                break;
            }
        }
        (counted > 0).then(|| sum / counted as f64)
    }

    pub(super) fn per_second(&self) -> f64 {
        let seconds = self.time.as_secs_f64();
        if seconds > 0.0 {
            self.operations() as f64 / seconds
        } else {
            0.0
        }
    }

    fn bytes_per_second(&self, op: Op, size: u64) -> Option<f64> {
        op.moves_data().then(|| self.per_second() * size as f64)
    }

    fn line(&self, name: &str, op: Op, size: u64) -> String {
        let rate = match self.bytes_per_second(op, size) {
            Some(rate) => format!("{:.1}", rate / (1 << 20) as f64),
            None => "-".into(),
        };
        let mut line = format!(
            "{name:<14} {:>6} {:>12.0} {rate:>10}",
            units::size(size),
            self.per_second()
        );
        for (percentile, _, _) in PERCENTILES {
            line += &format!(" {:>8}", units::microseconds(self.percentile(percentile)));
        }
        line + &format!(" {:>8}\n", units::microseconds(self.latency.max()))
    }

    fn json(&self, op: Op, size: u64) -> Value {
        let mut latency = json!({
            "min": self.latency.min(),
            "mean": self.latency.mean(),
            "p99_99": self.percentile(99.99),
            "max": self.latency.max(),
        });
        for (percentile, _, name) in PERCENTILES {
            latency[name] = self.percentile(percentile).into();
        }
        json!({
            "operations": self.operations(),
            "seconds": self.time.as_secs_f64(),
            "operations_per_second": self.per_second(),
            "bytes_per_second": self.bytes_per_second(op, size),
            "latency_ns": latency,
        })
    }
}

/// How many nanoseconds longer an operation takes with librpma than without. Each waits for all that are under way
/// on its connection, so its latency has the cost of as many.
pub(super) fn cost(librpma: &Measured, raw: &Measured, depth: u16) -> Option<f64> {
    Some((librpma.quicker_half()? - raw.quicker_half()?) / f64::from(depth))
}

/// The one in the middle, since a turn in which the machine had other things to do may have any cost.
pub(super) fn median(costs: &mut [f64]) -> Option<f64> {
    costs.sort_unstable_by(f64::total_cmp);
    let middle = costs.len() / 2;
    match costs.len() {
        0 => None,
        len if len % 2 == 0 => Some((costs[middle - 1] + costs[middle]) / 2.0),
        _ => Some(costs[middle]),
    }
}

/// The first line of the table.
pub(super) fn header() -> String {
    let mut line = format!(
        "{:<14} {:>6} {:>12} {:>10}",
        "operation", "size", "operations/s", "MiB/s"
    );
    for (_, name, _) in PERCENTILES {
        line += &format!(" {name:>8}");
    }
    format!("{line} {:>8}\n{:>77}\n", "max", "latency in microseconds")
}

impl Row {
    pub(super) fn text(&self) -> String {
        let mut text = self.librpma.line(self.op.name(), self.op, self.size);
        if let Some(raw) = &self.raw {
            text += &raw.line("  raw verbs", self.op, self.size);
        }
        if let Some(cost) = self.cost {
            text += &format!("  librpma takes {cost:+.0} ns for each operation\n");
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let mut row = self.librpma.json(self.op, self.size);
        row["operation"] = self.op.name().into();
        row["size"] = self.size.into();
        if let Some(raw) = &self.raw {
            row["raw"] = raw.json(self.op, self.size);
            row["librpma_ns_per_operation"] = self.cost.into();
        }
        row
    }
}

#[cfg(test)]
mod tests {
    // A test fails by panicking.
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn measured(ns: u64, operations: u64) -> Measured {
        let mut measured = Measured::new().unwrap();
        measured.latency.record_n(ns, operations).unwrap();
        measured.time = Duration::from_secs(2);
        measured
    }

    #[test]
    fn rates_are_those_of_the_time() {
        let row = Row {
            op: Op::Write,
            size: 1 << 20,
            librpma: measured(1000, 200),
            raw: None,
            cost: None,
        };
        let json = row.json();
        assert_eq!(json["operations_per_second"], 100.0);
        assert_eq!(json["bytes_per_second"], (100u64 << 20) as f64);
        assert_eq!(json["latency_ns"]["p50"], 1000);
        assert!(row.text().contains("100.0"), "{}", row.text());
    }

    #[test]
    fn the_cost_is_that_of_the_quicker_half() {
        let mut librpma = measured(900, 20);
        librpma.latency.record_n(1_000_000, 20).unwrap();
        assert_eq!(cost(&librpma, &measured(400, 3), 2), Some(250.0));
    }

    #[test]
    fn one_turn_that_was_disturbed_does_not_count() {
        assert_eq!(median(&mut [1e9, 3.0, 2.0]), Some(3.0));
        assert_eq!(median(&mut [4.0, -1e9, 1e9, 2.0]), Some(3.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn flushes_have_no_data_rate() {
        let row = Row {
            op: Op::Flush,
            size: 8,
            librpma: measured(900, 20),
            raw: None,
            cost: None,
        };
        assert_eq!(row.json()["bytes_per_second"], Value::Null);
    }

    #[test]
    fn nothing_measured_is_no_cost() {
        let nothing = || Measured::new().unwrap();
        assert_eq!(cost(&nothing(), &nothing(), 1), None);
        let row = Row {
            op: Op::Read,
            size: 8,
            librpma: nothing(),
            raw: Some(nothing()),
            cost: None,
        };
        assert!(!row.text().contains("NaN"));
    }

    #[test]
    fn lines_of_the_table_are_aligned() {
        let row = Row {
            op: Op::WriteFlush,
            size: 4096,
            librpma: measured(1234, 10),
            raw: None,
            cost: None,
        };
        let header = header();
        assert_eq!(
            header.lines().next().unwrap().len(),
            row.text().lines().next().unwrap().len()
        );
    }
}
