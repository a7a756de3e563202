//! Masking of payloads.

/// Masks or unmasks a payload in place: the same operation.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let twice = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ twice).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_masked_by_position() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..40_u8 {
            let plain: Vec<u8> = (0..length).collect();
            let mut payload = plain.clone();
            apply_mask(&mut payload, mask);
            for (index, (masked, plain)) in payload.iter().zip(&plain).enumerate() {
                assert_eq!(*masked, plain ^ mask[index % 4]);
            }
            apply_mask(&mut payload, mask);
            assert_eq!(payload, plain);
        }
    }
}
