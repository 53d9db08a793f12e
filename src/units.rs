//! Formats numbers for messages, and parses and formats Kubernetes quantities.

/// A number of files: `1 file`, `2 files`.
#[must_use]
pub fn files(count: usize) -> String {
    self::count(count, "file", "files")
}

/// `1 repo`, `2 repos`.
#[must_use]
pub fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A number of bytes for messages: `25.1 GiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let (number, prefix) = scaled(bytes);
    if prefix.is_empty() { format!("{number} B") } else { format!("{number} {prefix}B") }
}

/// A number of bytes as a Kubernetes quantity, for columns: `25.1Gi`.
#[must_use]
pub fn quantity(bytes: u64) -> String {
    let (number, prefix) = scaled(bytes);
    format!("{number}{prefix}")
}

/// A duration in the style of `kubectl` ages: `59s`, `12m`, `3h`, `5d`.
#[must_use]
pub fn age(time: jiff::SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The number in the largest fitting binary unit, with one decimal if it is not zero. No floating point.
fn scaled(bytes: u64) -> (String, &'static str) {
    let mut prefix = "";
    let mut unit: u128 = 1;
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"] {
        // A number that would be rounded to 1,024 of a unit is 1 of the next.
        if u128::from(bytes) * 10 + unit / 2 < unit * 10_240 {
            break;
        }
        unit *= 1024;
        prefix = next;
    }
    let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
    let number = match tenths % 10 {
        0 => (tenths / 10).to_string(),
        decimal => format!("{}.{decimal}", tenths / 10),
    };
    (number, prefix)
}

/// Parses a Kubernetes quantity, rounded down. `None` if it is invalid or out of range.
#[must_use]
pub fn parse_quantity(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 12 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let scaled: u128 = format!("{whole}{fraction}").parse().ok()?;
    let unit: u128 = match suffix {
        "" => 1,
        "k" => 1000,
        "M" => 1000_u128.pow(2),
        "G" => 1000_u128.pow(3),
        "T" => 1000_u128.pow(4),
        "P" => 1000_u128.pow(5),
        "E" => 1000_u128.pow(6),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        // `m` for thousandths and `e3` are valid but not used for storage; `1e9` is.
        "m" => return u64::try_from(scaled / 1000 / 10_u128.pow(u32::try_from(fraction.len()).ok()?)).ok(),
        exponent => 10_u128.checked_pow(exponent.strip_prefix(['e', 'E'])?.parse().ok()?)?,
    };
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    u64::try_from(scaled.checked_mul(unit)? / divisor).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_parsed_as_by_kubernetes() {
        for (text, want) in [
            ("1Gi", Some(1 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("500M", Some(500_000_000)),
            ("1e9", Some(1_000_000_000)),
            ("123", Some(123)),
            ("1500m", Some(1)),
            ("", None),
            ("Gi", None),
            ("1Gib", None),
            ("-1Gi", None),
            ("99999Ei", None),
        ] {
            assert_eq!(parse_quantity(text), want, "{text}");
        }
    }

    #[test]
    fn sizes_are_short_and_rounded() {
        for (bytes, sentence, column) in [
            (0, "0 B", "0"),
            (1023, "1023 B", "1023"),
            (1024, "1 KiB", "1Ki"),
            (1536, "1.5 KiB", "1.5Ki"),
            (1024 * 1024 - 1, "1 MiB", "1Mi"),
            (400 << 20, "400 MiB", "400Mi"),
            (26_954_000_000, "25.1 GiB", "25.1Gi"),
            (u64::MAX, "16 EiB", "16Ei"),
        ] {
            assert_eq!((size(bytes).as_str(), quantity(bytes).as_str()), (sentence, column));
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in
            [(-5, "0s"), (119, "119s"), (120, "2m"), (7_199, "119m"), (7_200, "2h"), (172_800, "2d")]
        {
            assert_eq!(age(jiff::SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_singular_is_used_for_one_file() {
        assert_eq!([files(1), files(3)], ["1 file", "3 files"]);
    }
}
