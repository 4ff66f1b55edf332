//! ThumbHash: a picture in about 25 bytes (evanw.github.io/thumbhash), as the vectors of the contract have it.
//!
//! The average colour, and the first terms of cosine transforms of brightness, yellow–blue, red–green and alpha.

use std::f64::consts::PI;

use super::Rgba;

/// The hash of a picture of at most 100 x 100 pixels.
pub(super) fn encode(image: &Rgba) -> Vec<u8> {
    let (width, height) = (image.width, image.height);
    debug_assert!(width <= 100 && height <= 100, "larger pictures are shrunk first");
    let pixels = || image.bytes.as_chunks::<4>().0.iter().map(|pixel| pixel.map(f64::from));
    let (mut average, mut alpha_sum) = ([0.0; 3], 0.0);
    for [r, g, b, a] in pixels() {
        let alpha = a / 255.0;
        for (sum, channel) in average.iter_mut().zip([r, g, b]) {
            *sum += alpha / 255.0 * channel;
        }
        alpha_sum += alpha;
    }
    if alpha_sum > 0.0 {
        average.iter_mut().for_each(|sum| *sum /= alpha_sum);
    }

    let has_alpha = alpha_sum < float(width * height);
    let mut planes: [Vec<f64>; 4] = Default::default();
    for [r, g, b, a] in pixels() {
        let alpha = a / 255.0;
        let over = |average: f64, channel: f64| average * (1.0 - alpha) + alpha / 255.0 * channel;
        let (r, g, b) = (over(average[0], r), over(average[1], g), over(average[2], b));
        planes[0].push((r + g + b) / 3.0);
        planes[1].push((r + g) / 2.0 - b);
        planes[2].push(r - g);
        planes[3].push(alpha);
    }

    // Alpha takes some of the room that brightness has otherwise.
    let terms_max = if has_alpha { 5.0 } else { 7.0 };
    let longer = float(width.max(height));
    let terms = |side: usize| round(terms_max * float(side) / longer).max(1);
    let (across, down) = (terms(width), terms(height));
    let transform = |plane: &[f64], across: u32, down: u32| Terms::of(plane, width, height, across, down);
    let brightness = transform(&planes[0], across.max(3), down.max(3));
    let yellow_blue = transform(&planes[1], 3, 3);
    let red_green = transform(&planes[2], 3, 3);
    let alpha = has_alpha.then(|| transform(&planes[3], 5, 5));

    let is_landscape = width > height;
    let head = round(63.0 * brightness.constant)
        | round(31.5 + 31.5 * yellow_blue.constant) << 6
        | round(31.5 + 31.5 * red_green.constant) << 12
        | round(31.0 * brightness.scale) << 18
        | u32::from(has_alpha) << 23;
    let shape = (if is_landscape { down } else { across })
        | round(63.0 * yellow_blue.scale) << 3
        | round(63.0 * red_green.scale) << 9
        | u32::from(is_landscape) << 15;
    let mut hash = [&head.to_le_bytes()[..3], &shape.to_le_bytes()[..2]].concat();
    if let Some(alpha) = &alpha {
        hash.push(nibbles(round(15.0 * alpha.constant), round(15.0 * alpha.scale)));
    }
    let channels = [Some(brightness), Some(yellow_blue), Some(red_green), alpha];
    let fine: Vec<u32> = channels.iter().flatten().flat_map(|channel| &channel.fine).map(|f| round(15.0 * f)).collect();
    hash.extend(fine.chunks(2).map(|pair| nibbles(pair[0], pair.get(1).copied().unwrap_or(0))));
    hash
}

/// The first terms of the cosine transform of a channel.
struct Terms {
    constant: f64,
    /// Between 0 and 1, a half for none.
    fine: Vec<f64>,
    /// What the fine terms are to be multiplied with.
    scale: f64,
}

impl Terms {
    fn of(plane: &[f64], width: usize, height: usize, across: u32, down: u32) -> Self {
        let mut terms = Self { constant: 0.0, fine: Vec::new(), scale: 0.0 };
        for y in 0..down {
            // A triangle: the fine terms in both directions are left out.
            for x in (0..across).take_while(|x| x * down < across * (down - y)) {
                let wave =
                    |at: usize, side: usize, term: u32| (PI / float(side) * f64::from(term) * (float(at) + 0.5)).cos();
                let waves: Vec<f64> = (0..width).map(|column| wave(column, width, x)).collect();
                let mut sum = 0.0;
                for (row, line) in plane.chunks_exact(width).enumerate() {
                    let factor = wave(row, height, y);
                    for (value, wave) in line.iter().zip(&waves) {
                        sum += value * wave * factor;
                    }
                }
                sum /= float(width * height);
                if x == 0 && y == 0 {
                    terms.constant = sum;
                } else {
                    terms.fine.push(sum);
                    terms.scale = terms.scale.max(sum.abs());
                }
            }
        }
        if terms.scale > 0.0 {
            terms.fine.iter_mut().for_each(|term| *term = 0.5 + 0.5 / terms.scale * *term);
        }
        terms
    }
}

#[allow(clippy::cast_precision_loss, reason = "numbers of pixels of a small picture")]
fn float(count: usize) -> f64 {
    count as f64
}

/// To the nearest whole number, halves upwards.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "terms are between 0 and 63")]
fn round(value: f64) -> u32 {
    (value + 0.5).floor().max(0.0) as u32
}

#[allow(clippy::cast_possible_truncation, reason = "both have four bits")]
fn nibbles(low: u32, high: u32) -> u8 {
    debug_assert!(low < 16 && high < 16);
    (low | high << 4) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{hash, vectors};

    /// The pixels that a vector describes.
    fn pixels(vector: &serde_json::Value, width: usize, height: usize) -> Vec<u8> {
        if vector.get("rgbaHex").is_some() {
            return vectors::hex(vector, "rgbaHex");
        }
        let formula = vectors::text(vector, "pixelFormula");
        let noise = formula.split("text \"").nth(1).and_then(|rest| rest.chars().next());
        let mut bytes = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let byte = |value: usize| u8::try_from(value & 255).unwrap();
            match noise {
                Some(letter) => {
                    let digest = hash::sha256(format!("{letter}:{x}:{y}").as_bytes());
                    let alpha = if formula.contains("bytes 0..3") { digest[3] } else { 255 };
                    bytes.extend([digest[0], digest[1], digest[2], alpha]);
                }
                None if formula.starts_with("r=floor") => {
                    bytes.extend([byte(x * 255 / 99), byte(y * 255 / 99), byte(((x + y) * 255 / 198) ^ 85), 255]);
                }
                None => bytes.extend([byte(x * 6), byte(y * 255 / 99), byte((x * 3) ^ (y * 2)), 255]),
            }
        }
        bytes
    }

    #[test]
    fn hashes_of_the_contract() {
        for vector in vectors::list("thumbhash.json", "/rawPixels") {
            let name = vectors::text(&vector, "name");
            let side = |name| usize::try_from(vectors::number(&vector, name)).unwrap();
            let (width, height) = (side("width"), side("height"));
            let bytes = pixels(&vector, width, height);
            assert_eq!(hash::hex_lower(&hash::sha256(&bytes)), vectors::text(&vector, "rgbaSha256"), "{name}");
            let hash = encode(&Rgba { width, height, bytes });
            let expected = vectors::hex(&vector, "thumbhashHex");
            if vector["exact"] == true {
                assert_eq!(hash, expected, "{name}");
            } else {
                // Terms that are noise of the cosine function.
                assert_eq!((&hash[..5], hash.len()), (&expected[..5], expected.len()), "{name}");
            }
        }
    }
}
