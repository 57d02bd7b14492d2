//! Numbers and amounts, as people read them.

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// An amount of bytes in the largest unit of which there is a whole one, rounded down: free space is never
/// overstated.
pub(crate) fn bytes(amount: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let Some(unit) = amount.checked_ilog2().and_then(|log| (log / 10).checked_sub(1)) else {
        return format!("{amount} B");
    };
    let tenths = u128::from(amount) * 10 / (1024 << (10 * unit));
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit as usize])
}

/// So many of something, with its name in the right number.
pub(crate) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([0, 999, 1000, 1_000_000].map(grouped), ["0", "999", "1,000", "1,000,000"]);
    }

    #[test]
    fn bytes_come_in_units_that_fit_and_never_more_than_there_are() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1 << 30, "1.0 GiB"),
            (1_717_986_918, "1.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ];
        for (amount, expected) in cases {
            assert_eq!(bytes(amount), expected);
        }
    }

    #[test]
    fn one_of_a_thing_is_not_many() {
        assert_eq!([0, 1, 2000].map(|number| counted(number, "blob")), ["0 blobs", "1 blob", "2,000 blobs"]);
    }
}
