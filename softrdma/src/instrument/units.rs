// SPDX-License-Identifier: BSD-3-Clause

//! Durations and bandwidths, as the settings have them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration with its unit, for example `5us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// How many bits pass in a second, for example `10Gbit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Never 0.
    pub bits_per_second: u64,
}

/// The units of durations, in nanoseconds. A longer one comes before those that it ends with.
const TIMES: [(&str, u64); 5] = [
    ("ns", 1),
    ("µs", 1_000),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
];

/// The units of bandwidths, in bits per second.
const RATES: [(&str, u64); 4] = [
    ("Gbit", 1_000_000_000),
    ("Mbit", 1_000_000),
    ("Kbit", 1_000),
    ("bit", 1),
];

/// A number with a unit, in the smallest of the units.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, scale) = units.iter().find_map(|(unit, scale)| {
        let at = text.len().checked_sub(unit.len())?;
        let (number, end) = text.split_at_checked(at)?;
        end.eq_ignore_ascii_case(unit).then_some((number, *scale))
    })?;
    let is_decimal = |c: char| c.is_ascii_digit() || c == '.';
    if !number.starts_with(|c: char| c.is_ascii_digit()) || !number.chars().all(is_decimal) {
        return None;
    }
    let value = number.parse::<f64>().ok()? * scale as f64;
    // Beyond 2 to the power of 53 not every number is one that a `f64` can be.
    (value < 9e15).then(|| value.round() as u64)
}

/// The number in the largest unit in which it is a whole one.
fn show(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let largest = units
        .iter()
        .filter(|(_, scale)| value % scale == 0)
        .max_by_key(|(_, scale)| *scale);
    match largest {
        Some((unit, scale)) => write!(f, "{}{unit}", value / scale),
        None => write!(f, "{value}"),
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &TIMES)
            .map(|ns| Self(Duration::from_nanos(ns)))
            .ok_or_else(|| {
                format!("'{text}' is not a duration such as 5us (the units are ns, us, ms and s)")
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(
            f,
            u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX),
            &TIMES,
        )
    }
}

impl FromStr for Bandwidth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.strip_suffix("/s").unwrap_or(text);
        match scaled(rate, &RATES) {
            Some(bits_per_second) if bits_per_second > 0 => Ok(Self { bits_per_second }),
            _ => Err(format!(
                "'{text}' is not a bandwidth such as 10Gbit (the units are bit, Kbit, Mbit and Gbit per second)"
            )),
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.bits_per_second, &RATES)
    }
}

impl Bandwidth {
    /// How long so many bytes take.
    pub fn time_for(self, bytes: u64) -> Duration {
        let ns = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(self.bits_per_second);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanoseconds(text: &str) -> Option<u128> {
        text.parse().ok().map(|Span(duration)| duration.as_nanos())
    }

    fn bits(text: &str) -> Option<u64> {
        text.parse()
            .ok()
            .map(|bandwidth: Bandwidth| bandwidth.bits_per_second)
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(nanoseconds("5us"), Some(5_000));
        assert_eq!(nanoseconds("5µs"), Some(5_000));
        assert_eq!(nanoseconds("1.5ms"), Some(1_500_000));
        assert_eq!(nanoseconds("0s"), Some(0));
        assert_eq!(nanoseconds("300NS"), Some(300));
        for wrong in [
            "",
            "5",
            "us",
            "5 us",
            "-5us",
            "+5us",
            "1e3us",
            "1.2.3s",
            "infs",
            "5min",
            ".5s",
            "99999999999s",
        ] {
            assert_eq!(nanoseconds(wrong), None, "{wrong}");
        }
        for text in ["5us", "1500us", "2s", "7ns"] {
            assert_eq!(
                text.parse::<Span>().map(|span| span.to_string()),
                Ok(text.into())
            );
        }
    }

    #[test]
    fn bandwidths_have_units() {
        assert_eq!(bits("10Gbit"), Some(10_000_000_000));
        assert_eq!(bits("10gbit/s"), Some(10_000_000_000));
        assert_eq!(bits("2.5Mbit"), Some(2_500_000));
        assert_eq!(bits("64kbit"), Some(64_000));
        assert_eq!(bits("9bit"), Some(9));
        for wrong in [
            "", "10", "10G", "0Gbit", "-1Gbit", "0.1bit", "Gbit", "10Gbit/m",
        ] {
            assert_eq!(bits(wrong), None, "{wrong}");
        }
        let shown = |text: &str| text.parse::<Bandwidth>().map(|rate| rate.to_string());
        assert_eq!(shown("10Gbit/s"), Ok("10Gbit".into()));
        assert_eq!(shown("2.5Gbit"), Ok("2500Mbit".into()));
    }

    #[test]
    fn bytes_take_their_time() {
        let gigabit = Bandwidth {
            bits_per_second: 1_000_000_000,
        };
        assert_eq!(gigabit.time_for(125), Duration::from_micros(1));
        assert_eq!(gigabit.time_for(0), Duration::ZERO);
        let slow = Bandwidth { bits_per_second: 1 };
        assert_eq!(slow.time_for(u64::MAX), Duration::from_nanos(u64::MAX));
    }
}
