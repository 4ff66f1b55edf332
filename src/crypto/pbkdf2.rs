//! PBKDF2-HMAC-SHA512 (RFC 8018 §5.2) for keys of one block, which is 64 bytes.
//!
//! The start waits for one such key, and nothing makes its rounds run side by side: each is two compressions of SHA-512
//! (FIPS 180-4 §6.4) over the outcome of the one before. So the compression is written out here for processors with AVX:
//! a quarter less time than `sha2` takes (`perf/results/2026-11-26-start-ways.md`). Everywhere else the `pbkdf2` crate
//! does it, and a test compares the two.
//! Never: SHA-512 of anything but the blocks of these rounds.

use sha2::Sha512;

/// `PBKDF2-HMAC-SHA512(password, salt, rounds)`, 64 bytes of it. No rounds count as one.
pub(super) fn derive(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 64] {
    // Dependencies are optimised in every build, this crate is not.
    let by_crate = cfg!(debug_assertions);
    let written_out = if by_crate { None } else { written_out(password, salt, rounds) };
    written_out.unwrap_or_else(|| portable(password, salt, rounds))
}

/// The same, where the processor has the instructions for it.
#[allow(unsafe_code)]
fn written_out(password: &[u8], salt: &[u8], rounds: u32) -> Option<[u8; 64]> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the processor and the system support the instructions the function is compiled for.
        return Some(unsafe { avx::derive(password, salt, rounds) });
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (password, salt, rounds);
    None
}

fn portable(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 64] {
    let mut key = [0; 64];
    ::pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, &mut key);
    key
}

#[cfg(target_arch = "x86_64")]
mod avx {
    //! Two words of the message schedule at a time in vectors, while the scalar units do the rounds.

    use std::arch::x86_64::{
        __m128i, _mm_add_epi64, _mm_alignr_epi8, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x, _mm_slli_epi64,
        _mm_srli_epi64, _mm_xor_si128,
    };

    use hmac::{Hmac, Mac};
    use sha2::{Digest, Sha512};

    /// Bytes that SHA-512 compresses at a time.
    const BLOCK: usize = 128;

    type State = [u64; 8];

    /// What a message of 64 bytes that follows one block ends with: a bit, zeros, the length of both in bits.
    const PADDING: [u64; 8] = [1 << 63, 0, 0, 0, 0, 0, 0, (BLOCK as u64 + 64) * 8];

    #[target_feature(enable = "avx")]
    pub(super) fn derive(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 64] {
        // HMAC's key (RFC 2104): the password, or its hash if it is longer than a block.
        let mut key = [0; BLOCK];
        if password.len() <= BLOCK {
            key[..password.len()].copy_from_slice(password);
        } else {
            key[..64].copy_from_slice(&Sha512::digest(password));
        }
        let keyed = |pad: u8| {
            let mut state = INITIAL;
            sha2::compress512(&mut state, &[key.map(|byte| byte ^ pad).into()]);
            state
        };
        let (inner, outer) = (keyed(0x36), keyed(0x5c));

        // The first round's message is the salt and the number of the block.
        let mut first = Hmac::<Sha512>::new_from_slice(password).expect("any key length is fine");
        first.update(salt);
        first.update(&1u32.to_be_bytes());
        let first: [u8; 64] = first.finalize().into_bytes().into();
        let (words, _) = first.as_chunks();
        let mut last: State = std::array::from_fn(|at| u64::from_be_bytes(words[at]));
        let mut sum = last;
        for _ in 1..rounds {
            // A loop, because the compression is inlined only if it is called in one place.
            for state in [&inner, &outer] {
                last = compress(state, last);
            }
            for (sum, word) in sum.iter_mut().zip(last) {
                *sum ^= word;
            }
        }
        let mut derived = [0; 64];
        for (bytes, word) in derived.chunks_exact_mut(8).zip(sum) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        derived
    }

    /// One compression, of a message and its padding: 80 rounds.
    #[inline]
    #[target_feature(enable = "avx")]
    fn compress(state: &State, message: [u64; 8]) -> State {
        let mut s = *state;
        let word = |at: usize| if at < 8 { message[at] } else { PADDING[at - 8] };
        // The last sixteen words of the schedule; and the same with the constants of their rounds added.
        let mut schedule: [__m128i; 8] = std::array::from_fn(|at| pair(word(2 * at), word(2 * at + 1)));
        let mut ready: [__m128i; 8] = std::array::from_fn(|at| _mm_add_epi64(schedule[at], constants(at)));
        for batch in 1..5 {
            // Written out, so that everything stays in registers.
            macro_rules! two_rounds {
                ($($at:literal)*) => {$({
                    let [first, second] = both(ready[$at]);
                    schedule[$at] = next(&schedule, $at);
                    s = round(round(s, first), second);
                    ready[$at] = _mm_add_epi64(schedule[$at], constants(8 * batch + $at));
                })*};
            }
            two_rounds!(0 1 2 3 4 5 6 7);
        }
        for pair in ready {
            let [first, second] = both(pair);
            s = round(round(s, first), second);
        }
        std::array::from_fn(|at| state[at].wrapping_add(s[at]))
    }

    /// The two words of the schedule that take the place of those at `at`, which are sixteen rounds old.
    #[inline]
    #[target_feature(enable = "avx")]
    fn next(schedule: &[__m128i; 8], at: usize) -> __m128i {
        let [word, one, four, five, seven] = [0, 1, 4, 5, 7].map(|further| schedule[(at + further) % 8]);
        let w15 = _mm_alignr_epi8::<8>(one, word);
        let w7 = _mm_alignr_epi8::<8>(five, four);
        let sum = _mm_add_epi64(_mm_add_epi64(word, w7), small_sigma::<1, 63, 8, 56, 7>(w15));
        _mm_add_epi64(sum, small_sigma::<19, 45, 61, 3, 6>(seven))
    }

    /// Rotations to the right by `R1` and `R2`, whose complements are `L1` and `L2`, and a shift.
    #[inline]
    #[target_feature(enable = "avx")]
    fn small_sigma<const R1: i32, const L1: i32, const R2: i32, const L2: i32, const SHIFT: i32>(
        w: __m128i,
    ) -> __m128i {
        let one = _mm_xor_si128(_mm_srli_epi64::<R1>(w), _mm_slli_epi64::<L1>(w));
        let two = _mm_xor_si128(_mm_srli_epi64::<R2>(w), _mm_slli_epi64::<L2>(w));
        _mm_xor_si128(_mm_xor_si128(one, two), _mm_srli_epi64::<SHIFT>(w))
    }

    /// One round; `word` is the schedule's with the constant added.
    #[inline(always)]
    fn round([a, b, c, d, e, f, g, h]: State, word: u64) -> State {
        let chosen = g ^ (e & (f ^ g));
        let big_sigma1 = e.rotate_right(14) ^ e.rotate_right(18) ^ e.rotate_right(41);
        let t = h.wrapping_add(word).wrapping_add(chosen).wrapping_add(big_sigma1);
        let majority = b ^ ((a ^ b) & (b ^ c));
        let big_sigma0 = a.rotate_right(28) ^ a.rotate_right(34) ^ a.rotate_right(39);
        [t.wrapping_add(majority).wrapping_add(big_sigma0), a, b, c, d.wrapping_add(t), e, f, g]
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn pair(first: u64, second: u64) -> __m128i {
        _mm_set_epi64x(second.cast_signed(), first.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn both(pair: __m128i) -> [u64; 2] {
        [_mm_cvtsi128_si64(pair).cast_unsigned(), _mm_extract_epi64::<1>(pair).cast_unsigned()]
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn constants(at: usize) -> __m128i {
        pair(CONSTANTS[2 * at], CONSTANTS[2 * at + 1])
    }

    /// FIPS 180-4 §5.3.5.
    const INITIAL: State = [
        0x6a09_e667_f3bc_c908,
        0xbb67_ae85_84ca_a73b,
        0x3c6e_f372_fe94_f82b,
        0xa54f_f53a_5f1d_36f1,
        0x510e_527f_ade6_82d1,
        0x9b05_688c_2b3e_6c1f,
        0x1f83_d9ab_fb41_bd6b,
        0x5be0_cd19_137e_2179,
    ];

    /// FIPS 180-4 §4.2.3.
    static CONSTANTS: [u64; 80] = [
        0x428a_2f98_d728_ae22,
        0x7137_4491_23ef_65cd,
        0xb5c0_fbcf_ec4d_3b2f,
        0xe9b5_dba5_8189_dbbc,
        0x3956_c25b_f348_b538,
        0x59f1_11f1_b605_d019,
        0x923f_82a4_af19_4f9b,
        0xab1c_5ed5_da6d_8118,
        0xd807_aa98_a303_0242,
        0x1283_5b01_4570_6fbe,
        0x2431_85be_4ee4_b28c,
        0x550c_7dc3_d5ff_b4e2,
        0x72be_5d74_f27b_896f,
        0x80de_b1fe_3b16_96b1,
        0x9bdc_06a7_25c7_1235,
        0xc19b_f174_cf69_2694,
        0xe49b_69c1_9ef1_4ad2,
        0xefbe_4786_384f_25e3,
        0x0fc1_9dc6_8b8c_d5b5,
        0x240c_a1cc_77ac_9c65,
        0x2de9_2c6f_592b_0275,
        0x4a74_84aa_6ea6_e483,
        0x5cb0_a9dc_bd41_fbd4,
        0x76f9_88da_8311_53b5,
        0x983e_5152_ee66_dfab,
        0xa831_c66d_2db4_3210,
        0xb003_27c8_98fb_213f,
        0xbf59_7fc7_beef_0ee4,
        0xc6e0_0bf3_3da8_8fc2,
        0xd5a7_9147_930a_a725,
        0x06ca_6351_e003_826f,
        0x1429_2967_0a0e_6e70,
        0x27b7_0a85_46d2_2ffc,
        0x2e1b_2138_5c26_c926,
        0x4d2c_6dfc_5ac4_2aed,
        0x5338_0d13_9d95_b3df,
        0x650a_7354_8baf_63de,
        0x766a_0abb_3c77_b2a8,
        0x81c2_c92e_47ed_aee6,
        0x9272_2c85_1482_353b,
        0xa2bf_e8a1_4cf1_0364,
        0xa81a_664b_bc42_3001,
        0xc24b_8b70_d0f8_9791,
        0xc76c_51a3_0654_be30,
        0xd192_e819_d6ef_5218,
        0xd699_0624_5565_a910,
        0xf40e_3585_5771_202a,
        0x106a_a070_32bb_d1b8,
        0x19a4_c116_b8d2_d0c8,
        0x1e37_6c08_5141_ab53,
        0x2748_774c_df8e_eb99,
        0x34b0_bcb5_e19b_48a8,
        0x391c_0cb3_c5c9_5a63,
        0x4ed8_aa4a_e341_8acb,
        0x5b9c_ca4f_7763_e373,
        0x682e_6ff3_d6b2_b8a3,
        0x748f_82ee_5def_b2fc,
        0x78a5_636f_4317_2f60,
        0x84c8_7814_a1f0_ab72,
        0x8cc7_0208_1a64_39ec,
        0x90be_fffa_2363_1e28,
        0xa450_6ceb_de82_bde9,
        0xbef9_a3f7_b2c6_7915,
        0xc671_78f2_e372_532b,
        0xca27_3ece_ea26_619c,
        0xd186_b8c7_21c0_c207,
        0xeada_7dd6_cde0_eb1e,
        0xf57d_4f7f_ee6e_d178,
        0x06f0_67aa_7217_6fba,
        0x0a63_7dc5_a2c8_98a6,
        0x113f_9804_bef9_0dae,
        0x1b71_0b35_131c_471b,
        0x28db_77f5_2304_7d84,
        0x32ca_ab7b_40c7_2493,
        0x3c9e_be0a_15c9_bebc,
        0x431d_67c4_9c10_0d4c,
        0x4cc5_d4be_cb3e_42b6,
        0x597f_299c_fc65_7e2a,
        0x5fcb_6fab_3ad6_faec,
        0x6c44_198c_4a47_5817,
    ];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What this machine can do; a machine without the instructions has only one way.
    fn both_ways(password: &[u8], salt: &[u8], rounds: u32) -> [[u8; 64]; 2] {
        let portable = portable(password, salt, rounds);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(written_out(b"", b"", 1).is_some(), std::arch::is_x86_feature_detected!("avx"));
        [written_out(password, salt, rounds).unwrap_or(portable), portable]
    }

    proptest! {
        #[test]
        fn as_the_crate_derives(
            password in proptest::collection::vec(any::<u8>(), 0..300),
            salt in proptest::collection::vec(any::<u8>(), 0..300),
            rounds in 0u32..5,
        ) {
            let [written_out, portable] = both_ways(&password, &salt, rounds);
            prop_assert_eq!(written_out, portable);
        }
    }

    #[test]
    fn as_the_crate_derives_at_the_edges() {
        for length in [0, 63, 64, 65, 127, 128, 129, 255, 256, 257] {
            let text = vec![b'x'; length];
            for [written_out, portable] in [both_ways(&text, b"salt", 3), both_ways(b"password", &text, 3)] {
                assert_eq!(written_out, portable, "{length}");
            }
        }
    }

    #[test]
    fn many_rounds() {
        let [written_out, portable] = both_ways(b"password", b"salt", 1_000);
        assert_eq!(written_out, portable);
    }
}
