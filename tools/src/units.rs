// SPDX-License-Identifier: BSD-3-Clause

//! Sizes, times and rates as people write and read them.

use std::time::Duration;

/// A size in bytes: `64`, `4K`, `1M`, `2G` (powers of 1024).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1u64),
    };
    let bad = || format!("'{text}' is no size such as 64, 4K or 1M");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let number: u64 = digits.parse().map_err(|_| bad())?;
    match number.checked_mul(factor) {
        Some(size) if size > 0 => Ok(size),
        Some(_) => Err("a size is at least 1".into()),
        None => Err(bad()),
    }
}

/// A list of sizes with commas. `8..1M` in it stands for 8 and its doubles up to 1M.
pub fn parse_sizes(text: &str) -> Result<Vec<u64>, String> {
    let mut sizes = Vec::new();
    for part in text.split(',') {
        match part.split_once("..") {
            None => sizes.push(parse_size(part)?),
            Some((from, to)) => {
                let (from, to) = (parse_size(from)?, parse_size(to)?);
                if from > to {
                    return Err(format!("'{part}' goes from the larger to the smaller size"));
                }
                let mut size = from;
                while size <= to {
                    sizes.push(size);
                    match size.checked_mul(2) {
                        Some(double) => size = double,
                        None => break,
                    }
                }
            }
        }
    }
    Ok(sizes)
}

/// A time: `2`, `0.5` or `2s` (seconds), `200ms`, `1m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no time such as 2, 0.5s, 200ms or 1m");
    let trimmed = text.trim();
    let (number, factor) = if let Some(number) = trimmed.strip_suffix("ms") {
        (number, 0.001)
    } else if let Some(number) = trimmed.strip_suffix('s') {
        (number, 1.0)
    } else if let Some(number) = trimmed.strip_suffix('m') {
        (number, 60.0)
    } else {
        (trimmed, 1.0)
    };
    let seconds: f64 = number.parse().map_err(|_| bad())?;
    let seconds = seconds * factor;
    if (0.001..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("'{text}': a duration is from 1 ms to a day"))
    }
}

/// A size as [`parse_size`] takes it.
pub fn size(bytes: u64) -> String {
    for (shift, unit) in [(30, 'G'), (20, 'M'), (10, 'K')] {
        if bytes >= 1 << shift && bytes % (1 << shift) == 0 {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A size to read: `7.5 GiB`.
pub fn size_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift {
            let value = bytes as f64 / (1u64 << shift) as f64;
            return if value.fract() == 0.0 {
                format!("{value} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
    }
    format!("{bytes} bytes")
}

/// Nanoseconds in microseconds, with as many digits as say something.
pub fn microseconds(ns: u64) -> String {
    let us = ns as f64 / 1000.0;
    match ns {
        0..10_000 => format!("{us:.2}"),
        10_000..1_000_000 => format!("{us:.1}"),
        _ => format!("{us:.0}"),
    }
}

#[cfg(test)]
mod tests {
    // A test fails by panicking.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(parse_size("64"), Ok(64));
        assert_eq!(parse_size("4k"), Ok(4096));
        assert_eq!(parse_size("1M"), Ok(1 << 20));
        for bad in ["", "K", "-1", "+1", "1.5K", "4KB", "0", "99999999999G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_range_of_sizes_doubles() {
        assert_eq!(parse_sizes("8..64"), Ok(vec![8, 16, 32, 64]));
        assert_eq!(parse_sizes("8..20,1K"), Ok(vec![8, 16, 1024]));
        assert!(parse_sizes("64..8").is_err());
        assert!(parse_sizes("8,,9").is_err());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        for bad in ["", "s", "0", "-1", "inf", "nan", "3d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for bytes in [1, 8, 1000, 1024, 4096, 3 << 20, 1 << 30] {
            assert_eq!(parse_size(&size(bytes)).unwrap(), bytes);
        }
        assert_eq!(size_text(1536), "1.5 KiB");
        assert_eq!(size_text(4096), "4 KiB");
    }
}
