//! A length of time for a person to read.
//!
//! Owns its form. Deliberately knows nothing of what lasts so long.

/// Seconds in the two largest units.
pub(super) fn in_words(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_two_largest_units() {
        for (seconds, text) in [(0.9, "0s"), (61.0, "1m01s"), (3600.0, "1h00m"), (90000.0, "1d01h")] {
            assert_eq!(in_words(seconds), text);
        }
    }
}
