//! Masking: the same operation both ways, in place, eight bytes at a time.

/// Masks or unmasks a payload from its beginning.
pub fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let wide = [a, b, c, d, a, b, c, d];
    let word_key = u64::from_ne_bytes(wide);
    // A plain loop over words: the compiler turns it into vector instructions.
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ word_key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
}

/// Masks or unmasks a piece of a payload that lies `position` bytes behind its beginning.
pub fn apply_at(piece: &mut [u8], key: [u8; 4], position: u32) {
    // Rotating the key left by n bytes makes it start with its n-th byte.
    let shift = (position & 3).wrapping_mul(8);
    apply(piece, u32::from_be_bytes(key).rotate_left(shift).to_be_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;

    fn slow(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            key in any::<[u8; 4]>(),
            cut in any::<usize>(),
        ) {
            let mut whole = payload.clone();
            apply(&mut whole, key);
            prop_assert_eq!(&whole, &slow(&payload, key));

            let cut = cut.checked_rem(payload.len()).unwrap_or(0);
            let mut pieces = payload.clone();
            let (first, second) = pieces.split_at_mut(cut);
            apply(first, key);
            apply_at(second, key, u32::try_from(cut).unwrap());
            prop_assert_eq!(&pieces, &whole);

            apply(&mut whole, key);
            prop_assert_eq!(&whole, &payload);
        }
    }
}
