//! SHA-1 (FIPS 180-4), for the accept key of the WebSocket handshake and nothing else: it is not secure any more.

/// The digest of `bytes`.
pub(super) fn digest(bytes: &[u8]) -> [u8; 20] {
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        state = compress(state, block);
    }
    // What is left, a single one bit, zeros, and the length in bits fill one or two more blocks.
    let mut tail = [0_u8; 128];
    for (slot, &byte) in tail.iter_mut().zip(rest.iter().chain(&[0x80])) {
        *slot = byte;
    }
    let bits = u64::try_from(bytes.len()).unwrap_or(u64::MAX).wrapping_mul(8);
    let tail_len = if rest.len() < 56 { 64 } else { 128 };
    let length_at = tail.iter_mut().take(tail_len).rev();
    for (slot, byte) in length_at.zip(bits.to_le_bytes()) {
        *slot = byte;
    }
    let (blocks, _) = tail.as_chunks::<64>();
    for block in blocks.iter().take(tail_len / 64) {
        state = compress(state, block);
    }
    let [a, b, c, d, e] = state.map(u32::to_be_bytes);
    let mut out = [0; 20];
    for (slot, byte) in out.iter_mut().zip([a, b, c, d, e].concat()) {
        *slot = byte;
    }
    out
}

fn compress(state: [u32; 5], block: &[u8; 64]) -> [u32; 5] {
    // The sixteen words the schedule still needs; the oldest is first.
    let mut words = [0_u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let [mut a, mut b, mut c, mut d, mut e] = state;
    for round in 0..80 {
        let (mix, constant) = match round {
            0..20 => (b & c | !b & d, 0x5a82_7999_u32),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => (b & c | b & d | c & d, 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(words[0]);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        words[0] = (words[13] ^ words[8] ^ words[2] ^ words[0]).rotate_left(1);
        words.rotate_left(1);
    }
    let [s0, s1, s2, s3, s4] = state;
    [s0.wrapping_add(a), s1.wrapping_add(b), s2.wrapping_add(c), s3.wrapping_add(d), s4.wrapping_add(e)]
}

#[cfg(test)]
mod tests {
    use super::digest;

    fn hex(bytes: &[u8]) -> String {
        digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn vectors_of_the_standard() {
        assert_eq!(hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(two_blocks), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        assert_eq!(hex(&[b'a'; 1_000_000]), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }

    /// Lengths around the edges of a block, made with the coreutils.
    #[test]
    fn block_edges() {
        assert_eq!(hex(&[b'a'; 55]), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
        assert_eq!(hex(&[b'a'; 56]), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
        assert_eq!(hex(&[b'a'; 63]), "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
        assert_eq!(hex(&[b'a'; 64]), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
        assert_eq!(hex(&[b'a'; 119]), "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
        assert_eq!(hex(&[b'a'; 120]), "f34c1488385346a55709ba056ddd08280dd4c6d6");
    }
}
