//! The two hashes that goim's processes must agree on.

const FNV_OFFSET_BASIS: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// The partition of a record key among `partitions`, as goim's producer picks
/// it: FNV-1a taken as a signed number, remainder, absolute value.
///
/// # Panics
///
/// When `partitions` is 0.
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    // The remainder of a wider type equals that of i32 and takes any count.
    let hash = i64::from(fnv1a(key).cast_signed());
    let partition = (hash % i64::from(partitions)).unsigned_abs();
    u32::try_from(partition).expect("invariant: a remainder is below its 32-bit divisor")
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(FNV_OFFSET_BASIS, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;
const C3: u32 = 0xe654_6b64;

/// Google's `CityHash32`: the bucket of a key and the field of a room's online
/// count in goim.
pub fn cityhash32(input: &[u8]) -> u32 {
    match input.len() {
        0..=4 => up_to_4(input),
        5..=12 => up_to_12(input),
        13..=24 => up_to_24(input),
        _ => longer(input),
    }
}

fn up_to_4(input: &[u8]) -> u32 {
    let mut b = 0_u32;
    let mut c = 9_u32;
    for &byte in input {
        // The definition reads bytes as signed.
        let value = i32::from(byte.cast_signed()).cast_unsigned();
        b = b.wrapping_mul(C1).wrapping_add(value);
        c ^= b;
    }
    finish(mix(b, mix(length(input), c)))
}

fn up_to_12(input: &[u8]) -> u32 {
    let len = length(input);
    let a = len.wrapping_add(word(input, 0));
    let b = len.wrapping_mul(5);
    let c = word(input, (input.len() >> 1) & 4).wrapping_add(9);
    let d = b;
    let b = b.wrapping_add(word(input, input.len() - 4));
    finish(mix(c, mix(b, mix(a, d))))
}

fn up_to_24(input: &[u8]) -> u32 {
    let half = input.len() >> 1;
    let end = input.len();
    let words = [half - 4, 4, end - 8, half, 0, end - 4].map(|at| word(input, at));
    finish(
        words
            .into_iter()
            .fold(length(input), |hash, w| mix(w, hash)),
    )
}

fn longer(input: &[u8]) -> u32 {
    let len = length(input);
    let end = input.len();
    let scramble = |at: usize| scrambled(word(input, at));
    let step = |hash: u32, value: u32| rotate_mul(hash ^ value, 19);

    let mut g = C1.wrapping_mul(len);
    let mut f = g;
    let mut h = step(step(len, scramble(end - 4)), scramble(end - 16));
    g = step(step(g, scramble(end - 8)), scramble(end - 12));
    f = rotate_mul(f.wrapping_add(scramble(end - 20)), 19);

    for start in (0..(end - 1) / 20).map(|block| block * 20) {
        let a0 = scramble(start);
        let a1 = word(input, start + 4);
        let a2 = scramble(start + 8);
        let a3 = scramble(start + 12);
        let a4 = word(input, start + 16);
        h = rotate_mul(h ^ a0, 18);
        f = f.wrapping_add(a1).rotate_right(19).wrapping_mul(C1);
        g = rotate_mul(g.wrapping_add(a2), 18);
        h = rotate_mul(h ^ a3.wrapping_add(a1), 19);
        g = (g ^ a4).swap_bytes().wrapping_mul(5);
        h = h.wrapping_add(a4.wrapping_mul(5)).swap_bytes();
        f = f.wrapping_add(a0);
        (f, h, g) = (g, f, h);
    }

    let fold = |value: u32| {
        let once = value.rotate_right(11).wrapping_mul(C1);
        once.rotate_right(17).wrapping_mul(C1)
    };
    g = fold(g);
    f = fold(f);
    h = rotate_mul(h.wrapping_add(g), 19)
        .rotate_right(17)
        .wrapping_mul(C1);
    h = rotate_mul(h.wrapping_add(f), 19);
    h.rotate_right(17).wrapping_mul(C1)
}

fn mix(value: u32, hash: u32) -> u32 {
    rotate_mul(hash ^ scrambled(value), 19)
}

fn scrambled(value: u32) -> u32 {
    value.wrapping_mul(C1).rotate_right(17).wrapping_mul(C2)
}

fn rotate_mul(hash: u32, bits: u32) -> u32 {
    hash.rotate_right(bits).wrapping_mul(5).wrapping_add(C3)
}

fn finish(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The little-endian word at `at`.
fn word(input: &[u8], at: usize) -> u32 {
    let bytes = input[at..at + 4]
        .try_into()
        .expect("invariant: the slice has four bytes");
    u32::from_le_bytes(bytes)
}

/// The length modulo 2³², as the definition takes it.
#[allow(clippy::cast_possible_truncation)]
fn length(input: &[u8]) -> u32 {
    input.len() as u32
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors(prefix: &str) -> Vec<(Vec<u8>, Value)> {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../wire/tests/goim-vectors.json")).unwrap();
        vectors
            .into_iter()
            .filter(|vector| vector["name"].as_str().unwrap().starts_with(prefix))
            .map(|vector| {
                let input = hex::decode(vector["hex"].as_str().unwrap()).unwrap();
                (input, vector["decoded"].clone())
            })
            .collect()
    }

    #[test]
    fn cityhash32_equals_goims() {
        let vectors = vectors("cityhash32:");
        assert_eq!(vectors.len(), 12);
        for (input, decoded) in vectors {
            let hash = u64::from(cityhash32(&input));
            assert_eq!(decoded["cityhash32"], hash, "input {input:?}");
            assert_eq!(decoded["online_field_mod_64"], hash % 64);
            assert_eq!(decoded["bucket_mod_32"], hash % 32);
        }
    }

    #[test]
    fn partitions_equal_goims() {
        let vectors = vectors("kafka_partition:");
        assert_eq!(vectors.len(), 5);
        for (key, decoded) in vectors {
            for partitions in [3, 8, 16] {
                let expected = &decoded[format!("partition_of_{partitions}")];
                assert_eq!(*expected, partition(&key, partitions), "key {key:?}");
            }
        }
    }
}
