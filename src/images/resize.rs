//! Resampling with a Lanczos kernel of three lobes, first across, then down.

use std::f32::consts::PI;

use super::Rgba;

/// Lobes of the kernel.
const LOBES: f32 = 3.0;

/// Another size of the same picture. Colours are weighted by their alpha, so that what cannot be seen does not bleed
/// into what can.
pub(super) fn lanczos3(image: Rgba, width: usize, height: usize) -> Rgba {
    if (image.width, image.height) == (width, height) {
        return image;
    }
    let across = Taps::new(image.width, width);
    let mut rows = Vec::with_capacity(image.height * width);
    for row in image.bytes.chunks_exact(image.width * 4) {
        let row: Vec<[f32; 4]> = row.as_chunks::<4>().0.iter().map(premultiplied).collect();
        across.apply(&mut rows, |at| row[at]);
    }
    let down = Taps::new(image.height, height);
    let mut columns = Vec::with_capacity(width * height);
    for column in 0..width {
        down.apply(&mut columns, |at| rows[at * width + column]);
    }
    let mut bytes = Vec::with_capacity(width * height * 4);
    for row in 0..height {
        for column in 0..width {
            bytes.extend(straight(columns[column * height + row]));
        }
    }
    Rgba { width, height, bytes }
}

/// The weights with which pixels of one line make the pixels of another, for each of the latter.
struct Taps(Vec<(usize, Vec<f32>)>);

impl Taps {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "positions within a line of at most SIDE_MAX pixels"
    )]
    fn new(from: usize, to: usize) -> Self {
        let ratio = from as f32 / to as f32;
        // Shrinking needs a kernel as wide as the pixels it makes, or detail turns into patterns.
        let stretch = ratio.max(1.0);
        let taps = |target: usize| {
            let centre = (target as f32 + 0.5) * ratio - 0.5;
            let first = (centre - LOBES * stretch).ceil().max(0.0) as usize;
            let last = ((centre + LOBES * stretch).floor().max(0.0) as usize).min(from - 1);
            let first = first.min(last);
            let mut weights: Vec<f32> = (first..=last).map(|at| kernel((at as f32 - centre) / stretch)).collect();
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            (first, weights)
        };
        Self((0..to).map(taps).collect())
    }

    fn apply(&self, out: &mut Vec<[f32; 4]>, pixel: impl Fn(usize) -> [f32; 4]) {
        for (first, weights) in &self.0 {
            let mut sum = [0.0; 4];
            for (at, weight) in (*first..).zip(weights) {
                for (sum, channel) in sum.iter_mut().zip(pixel(at)) {
                    *sum += weight * channel;
                }
            }
            out.push(sum);
        }
    }
}

fn kernel(x: f32) -> f32 {
    let sinc = |x: f32| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    if x.abs() < LOBES { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

/// Rounded down to whole numbers, as the reference server's library does.
fn premultiplied(&[r, g, b, a]: &[u8; 4]) -> [f32; 4] {
    let colour = |channel: u8| f32::from(channel) * f32::from(a) / 255.0;
    [colour(r).floor(), colour(g).floor(), colour(b).floor(), f32::from(a)]
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
fn straight([r, g, b, a]: [f32; 4]) -> [u8; 4] {
    let byte = |channel: f32| channel.clamp(0.0, 255.0) as u8;
    let alpha = byte(a.round());
    let colour = |channel: f32| if alpha > 0 { byte(channel.round() * 255.0 / f32::from(alpha)) } else { 0 };
    [colour(r), colour(g), colour(b), alpha]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(width: usize, height: usize, pixel: [u8; 4]) -> Rgba {
        Rgba { width, height, bytes: pixel.repeat(width * height) }
    }

    #[test]
    fn flat_stays_flat() {
        for pixel in [[0, 0, 0, 0], [10, 200, 90, 255], [255; 4], [200, 100, 50, 128]] {
            for (width, height) in [(1, 1), (3, 7), (100, 50), (733, 401)] {
                let small = lanczos3(flat(width, height, pixel), 100, 55);
                for found in small.bytes.as_chunks::<4>().0 {
                    let near = found.iter().zip(pixel).all(|(found, expected)| found.abs_diff(expected) <= 2);
                    assert!(near, "{width} x {height}: {found:?} instead of {pixel:?}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_seen_does_not_bleed() {
        // Opaque red beside invisible green.
        let bytes = [[255, 0, 0, 255], [0, 255, 0, 0]].concat().repeat(50);
        let small = lanczos3(Rgba { width: 2, height: 50, bytes }, 4, 100);
        assert!(small.bytes.as_chunks::<4>().0.iter().all(|&[_, green, _, alpha]| green == 0 || alpha == 0));
    }

    #[test]
    fn halves_are_kept_apart() {
        let row = [[0, 0, 0, 255].repeat(200), [255; 4].repeat(200)].concat();
        let small = lanczos3(Rgba { width: 400, height: 4, bytes: row.repeat(4) }, 100, 1);
        assert!(small.bytes[..40 * 4].as_chunks::<4>().0.iter().all(|pixel| pixel[0] < 4));
        assert!(small.bytes[60 * 4..].as_chunks::<4>().0.iter().all(|pixel| pixel[0] > 251));
    }
}
