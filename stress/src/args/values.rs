//! Values with units.

use std::time::Duration;

const SECONDS_MAX: f64 = 7.0 * 86_400.0;
const TIME_UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
/// The longer ones first: every one of them ends with the last.
pub(crate) const BYTE_UNITS: [(&str, f64); 7] = [
    ("KiB", 1024.0),
    ("MiB", 1024.0 * 1024.0),
    ("GiB", 1024.0 * 1024.0 * 1024.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("B", 1.0),
];

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("not a number between 0.001 and 10000000".to_owned()),
    }
}

/// A rate, or 0 for never.
pub(super) fn rate_or_none(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(0.0) => Ok(0.0),
        Ok(_) | Err(_) => rate(text),
    }
}

/// A part of all, from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err("not a number between 0 and 1".to_owned()),
    }
}

/// Of a Zipf distribution.
pub(super) fn exponent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(exponent) if (0.0..=10.0).contains(&exponent) => Ok(exponent),
        Ok(_) | Err(_) => Err("not a number between 0 and 10".to_owned()),
    }
}

/// `500ms`, `30s`, `5m`, `2h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    in_units(text, &TIME_UNITS)
        .filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "not a duration like 500ms, 30s, 5m or 2h, at most a week".to_owned())
}

/// `64MiB`, `500KB`, `10B`.
pub(super) fn bytes(text: &str) -> Result<f64, String> {
    in_units(text, &BYTE_UNITS)
        .filter(|bytes| (0.0..=1e15).contains(bytes))
        .ok_or_else(|| "not a size like 10B, 500KB or 64MiB".to_owned())
}

fn in_units(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    units.iter().find_map(|(unit, size)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Some(number * size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        for bad in ["", "5", "s", "-1s", "1d", "nans", "infs", "9999h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("64MiB"), Ok(67_108_864.0));
        assert_eq!(bytes("1.5KB"), Ok(1_500.0));
        assert_eq!(bytes("10B"), Ok(10.0));
        for bad in ["", "5", "B", "-1B", "1TB", "nanB"] {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn some_rates_may_be_nothing() {
        assert_eq!(rate_or_none("0"), Ok(0.0));
        assert_eq!(rate_or_none("2.5"), Ok(2.5));
        assert!(rate_or_none("-1").is_err());
        assert!(rate("0").is_err());
        assert!(share("1.1").is_err());
        assert!(exponent("nan").is_err());
    }
}
