//! Numbers as people read them.

/// A number of bytes as Kubernetes users write sizes: `25.1Gi`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    let mut unit = "";
    let mut scale = 1_u64;
    for next in ["Ki", "Mi", "Gi", "Ti", "Pi"] {
        if bytes / scale < 1024 {
            break;
        }
        scale *= 1024;
        unit = next;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(scale);
    if tenths >= 1000 || tenths % 10 == 0 {
        format!("{}{unit}", tenths / 10)
    } else {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (number, want) in
            [(0, "0"), (999, "999"), (1536, "1.5Ki"), (26_954_000_000, "25.1Gi"), (400 << 20, "400Mi")]
        {
            assert_eq!(bytes(number), want);
        }
    }
}
