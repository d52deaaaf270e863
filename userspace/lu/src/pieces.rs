// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the next kernel pays for memory in many pieces.
//!
//! A kernel without the patches that come with the module reserves what it takes over piece by
//! piece, and looks at all pieces for each. So its boot takes a time that grows with the square of
//! their number. The module warns of the same number in the log.

/// How many pieces delay the boot of an unpatched kernel by about a second, as measured.
const PER_SECOND: u64 = 7_500;

/// By how many seconds `pieces` can delay the boot of an unpatched kernel, rounded down.
pub fn boot_seconds(pieces: u64) -> u64 {
    pieces.saturating_mul(pieces) / (PER_SECOND * PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_takes_the_square_of_the_pieces() {
        assert_eq!(boot_seconds(0), 0);
        assert_eq!(boot_seconds(7_499), 0);
        assert_eq!(boot_seconds(7_500), 1);
        assert_eq!(boot_seconds(75_000), 100);
        assert!(boot_seconds(u64::MAX) > 0);
    }
}
