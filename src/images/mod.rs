//! What an image file is: its format, its size, and a placeholder of a few bytes.
//!
//! Owns: telling PNG and JPEG by content, decoding with limits, shrinking, the ThumbHash. Never: where images come from
//! or go to. It takes milliseconds to seconds, so it belongs on a thread of its own (`runtime::pool`), never on a core.
//! Limits: [`SIDE_MAX`] and [`PIXELS_MAX`], checked before memory is reserved for them, and [`JPEG_SCANS_MAX`].
//! Implements `spec/http.md` §15.3 and §9 of the vectors.

mod decode;
mod resize;
mod thumbhash;

use std::fmt;

pub use decode::{JPEG_SCANS_MAX, PIXELS_MAX, SIDE_MAX};

/// The formats that are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Png,
    Jpeg,
}

impl Format {
    /// By the first bytes; names and media types are not asked.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if bytes.starts_with(b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else {
            None
        }
    }

    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
        }
    }
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Neither PNG nor JPEG.
    UnknownFormat,
    /// More pixels than [`PIXELS_MAX`], or a side longer than [`SIDE_MAX`].
    TooLarge { width: usize, height: usize },
    /// So narrow that nothing is left of it in the placeholder.
    TooNarrow { width: usize, height: usize },
    /// Truncated or damaged; what the decoder says.
    Damaged(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat => f.write_str("the image is neither PNG nor JPEG"),
            Self::TooLarge { width, height } => {
                write!(f, "the image has {width} x {height} pixels; at most {PIXELS_MAX} in all and {SIDE_MAX} a side")
            }
            Self::TooNarrow { width, height } => write!(f, "the image has {width} x {height} pixels, too narrow"),
            Self::Damaged(text) => write!(f, "the image cannot be decoded: {text}"),
        }
    }
}

/// Pixels of four bytes, row by row: red, green, blue, alpha.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rgba {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

/// What is remembered of an image besides its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub format: Format,
    /// Of the original, as it is stored: the orientation that a camera notes beside it is not applied.
    pub width: u32,
    pub height: u32,
    /// Standard base64.
    pub thumbhash: String,
}

/// Decodes an image file. Blocks for as long as that takes.
pub fn describe(file: &[u8]) -> Result<Description, Error> {
    let format = Format::of(file).ok_or(Error::UnknownFormat)?;
    let image = decode::decode(format, file)?;
    let (width, height) = (image.width, image.height);
    let (small_width, small_height) = placeholder_size(width, height).ok_or(Error::TooNarrow { width, height })?;
    let small = resize::lanczos3(image, small_width, small_height);
    // Sides are below SIDE_MAX.
    let side = |side| u32::try_from(side).unwrap_or(u32::MAX);
    let thumbhash = protocol::base64::encode(&thumbhash::encode(&small));
    Ok(Description { format, width: side(width), height: side(height), thumbhash })
}

/// The longer side of the picture that the placeholder is made of.
const PLACEHOLDER_SIDE: usize = 100;

/// 100 pixels for the longer side, the other in proportion; `None` if that rounds to nothing.
fn placeholder_size(width: usize, height: usize) -> Option<(usize, usize)> {
    // Halves are rounded up: floor(100·a/b + 1/2).
    let shorter = |short: usize, long: usize| (2 * PLACEHOLDER_SIDE * short + long) / (2 * long);
    let size = if width >= height {
        (PLACEHOLDER_SIDE, shorter(height, width))
    } else {
        (shorter(width, height), PLACEHOLDER_SIDE)
    };
    (size.0 > 0 && size.1 > 0).then_some(size)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use proptest::prelude::*;

    use super::*;
    use crate::crypto::vectors;

    fn file_of(vector: &serde_json::Value) -> Vec<u8> {
        protocol::base64::decode_strict(vectors::text(vector, "fileBase64")).unwrap()
    }

    /// The numbers that a hash without alpha is made of.
    fn numbers(hash: &[u8]) -> Vec<u32> {
        let head = u32::from_le_bytes([hash[0], hash[1], hash[2], 0]);
        let shape = u32::from(hash[3]) | u32::from(hash[4]) << 8;
        let mut numbers = vec![head & 63, head >> 6 & 63, head >> 12 & 63, head >> 18 & 31, head >> 23];
        numbers.extend([shape & 7, shape >> 3 & 63, shape >> 9 & 63, shape >> 15]);
        numbers.extend(hash[5..].iter().flat_map(|byte| [u32::from(byte & 15), u32::from(byte >> 4)]));
        numbers
    }

    #[test]
    fn files_of_the_contract() {
        for vector in vectors::list("thumbhash.json", "/imageFiles") {
            let name = vectors::text(&vector, "name");
            let found = describe(&file_of(&vector)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(found.format.extension(), vectors::text(&vector, "fileExtension"), "{name}");
            let size = (i64::from(found.width), i64::from(found.height));
            assert_eq!(size, (vectors::number(&vector, "width"), vectors::number(&vector, "height")), "{name}");
            let hash = protocol::base64::decode_strict(&found.thumbhash).unwrap();
            let expected = protocol::base64::decode_strict(vectors::text(&vector, "thumbhashBase64")).unwrap();
            assert_eq!(hash.len(), expected.len(), "{name}");
            let note = vectors::text(&vector, "note");
            if note.contains("exactly") {
                assert_eq!(hash, expected, "{name}");
            } else if note.contains("tolerance") {
                // Resampled: each number of the header and each term of four bits within one.
                for (found, expected) in numbers(&hash).into_iter().zip(numbers(&expected)) {
                    assert!(found.abs_diff(expected) <= 1, "{name}: {found} is far from {expected}");
                }
            } else {
                let header = if note.contains("first 6") { 6 } else { 5 };
                assert!(note.contains(&format!("first {header}")), "{name}: {note}");
                assert_eq!(hash[..header], expected[..header], "{name}");
            }
        }
    }

    #[test]
    fn sizes_of_placeholders() {
        for (size, expected) in [
            ((1, 1), Some((100, 100))),
            ((460, 460), Some((100, 100))),
            ((130, 78), Some((100, 60))),
            ((8, 4), Some((100, 50))),
            ((3, 10), Some((30, 100))),
            ((200, 1), Some((100, 1))),
            ((201, 1), None),
            ((1, 201), None),
        ] {
            assert_eq!(placeholder_size(size.0, size.1), expected, "{size:?}");
        }
    }

    /// A PNG that promises this size and has nothing of it.
    fn promising(width: u32, height: u32) -> Vec<u8> {
        let mut file = Vec::new();
        let encoder = png::Encoder::new(&mut file, width, height);
        drop(encoder.write_header().unwrap());
        file
    }

    #[test]
    fn bombs_and_garbage_are_refused() {
        assert_eq!(describe(b""), Err(Error::UnknownFormat));
        assert_eq!(describe(b"GIF89a"), Err(Error::UnknownFormat));
        assert_eq!(describe(b"<svg/>"), Err(Error::UnknownFormat));
        for (width, height) in [(u32::MAX >> 1, 1), (1, SIDE_MAX + 1), (SIDE_MAX, SIDE_MAX), (4097, 4096)] {
            let refused = describe(&promising(width, height));
            assert!(matches!(refused, Err(Error::TooLarge { .. })), "{width} x {height}: {refused:?}");
        }
        assert!(matches!(describe(&promising(10, 10)), Err(Error::Damaged(_))));
        assert!(matches!(describe(b"\xff\xd8\xff\xe0garbage"), Err(Error::Damaged(_))));
        // A JPEG head that promises 65,500 x 65,500 pixels.
        let mut jpeg = b"\xff\xd8\xff\xc0\x00\x11\x08".to_vec();
        jpeg.extend([0xff, 0xdc, 0xff, 0xdc, 3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
        jpeg.extend(b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00");
        assert!(matches!(describe(&jpeg), Err(Error::TooLarge { .. } | Error::Damaged(_))));
    }

    #[test]
    fn truncated_files_are_refused_wherever_they_end() {
        for vector in vectors::list("thumbhash.json", "/imageFiles") {
            let file = file_of(&vector);
            for end in (0..file.len()).step_by(1 + file.len() / 200) {
                // The last bytes of a file say only that it ends.
                if end + 16 < file.len() {
                    let described = describe(&file[..end]);
                    let name = vectors::text(&vector, "name");
                    assert!(described.is_err(), "{name}, {end} of {} bytes: {described:?}", file.len());
                }
            }
        }
    }

    proptest! {
        /// A panic would end the process: what comes from outside must never cause one.
        #[test]
        fn damaged_files_never_panic(
            which in 0usize..5,
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
            cut in any::<prop::sample::Index>(),
        ) {
            let files = vectors::list("thumbhash.json", "/imageFiles");
            let mut file = file_of(&files[which % files.len()]);
            for (at, byte) in damage {
                let at = at.index(file.len());
                file[at] = byte;
            }
            if cut.index(4) == 0 {
                file.truncate(cut.index(file.len()));
            }
            let described = catch_unwind(|| describe(&file));
            prop_assert!(described.is_ok());
        }
    }
}
