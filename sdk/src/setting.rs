//! Values of a plugin's settings, written as in the rest of `broker.toml`.
//!
//! Owns how they are read. Deliberately knows no key and no bound: those are the plugin's.

use std::time::Duration;

/// Whether a text may be a program: a name that is looked up in PATH, or an absolute path.
pub fn is_program(name: &str) -> bool {
    let plain = !name.is_empty() && !name.starts_with('-') && !name.contains(char::is_control);
    plain && (name.starts_with('/') || !name.contains('/'))
}

/// Reads a duration as the rest of `broker.toml` writes it, such as `1h30m`.
pub fn duration(text: &str) -> Option<Duration> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'h' | b'm' | b's'));
    let parsed = text.parse::<jiff::SignedDuration>().ok().filter(|_| plain)?;
    Duration::try_from(parsed).ok()
}

/// Reads a size as the rest of `broker.toml` writes it, such as `64MiB`. Returns bytes.
pub fn size(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (digits, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()?.checked_mul(unit))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_in_the_rest_of_the_file() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert!(is_program("rclone") && is_program("/usr/bin/rclone"));
        for wrong in ["", "-5s", "5", "5 s", "1d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        for wrong in ["", "64", "64MB", "-1KiB", "99999999999999999999GiB", "18446744073709551615KiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
        for wrong in ["", "-x", "bin/x", "a\nb"] {
            assert!(!is_program(wrong), "{wrong:?}");
        }
    }
}
