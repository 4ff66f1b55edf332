//! Masking (RFC 6455 §5.3).

/// Masks or unmasks in place, eight bytes at a time. `offset` is the position of `bytes` in the payload.
pub fn apply(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset & 3);
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0u8; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_offset_and_length() {
        let key = [1, 2, 4, 8];
        for length in 0..40usize {
            for offset in 0..9usize {
                let mut bytes = vec![0x55; length];
                super::apply(&mut bytes, key, offset);
                for (at, byte) in bytes.iter().enumerate() {
                    assert_eq!(byte ^ 0x55, key[(at + offset) % 4]);
                }
            }
        }
    }
}
