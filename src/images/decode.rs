//! From a file to pixels, within limits.

use std::io::Cursor;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{Error, Format, Rgba};

/// Longest side of an image. Sixteen times that of the largest avatar that GitHub keeps.
pub const SIDE_MAX: u32 = 16_384;

/// Pixels of an image; decoding takes up to nine bytes for each.
pub const PIXELS_MAX: usize = 1 << 24;

/// Passes over a progressive JPEG. Files made for slow lines have about ten; each costs a pass over all pixels.
pub const JPEG_SCANS_MAX: usize = 32;

/// Memory that the PNG decoder may take besides the pixels.
const PNG_BYTES_MAX: usize = 8 * PIXELS_MAX;

pub(super) fn decode(format: Format, file: &[u8]) -> Result<Rgba, Error> {
    match format {
        Format::Png => decode_png(file),
        Format::Jpeg => decode_jpeg(file),
    }
}

fn check_size(width: usize, height: usize) -> Result<(), Error> {
    let side_max = SIDE_MAX as usize;
    let is_within = width.max(height) <= side_max && width.saturating_mul(height) <= PIXELS_MAX;
    if is_within { Ok(()) } else { Err(Error::TooLarge { width, height }) }
}

fn damaged(error: impl std::fmt::Display) -> Error {
    Error::Damaged(error.to_string())
}

fn decode_png(file: &[u8]) -> Result<Rgba, Error> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), png::Limits { bytes: PNG_BYTES_MAX });
    // Whatever the file has: eight bits for each channel, grey or colour, with alpha.
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let head = decoder.read_header_info().map_err(damaged)?;
    let (width, height) = (head.width as usize, head.height as usize);
    check_size(width, height)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader.output_buffer_size().ok_or(Error::TooLarge { width, height })?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(damaged)?;
    bytes.truncate(frame.buffer_size());
    let bytes = match frame.color_type {
        png::ColorType::Rgba => bytes,
        png::ColorType::Rgb => rgb_to_rgba(&bytes),
        png::ColorType::GrayscaleAlpha => {
            bytes.as_chunks::<2>().0.iter().flat_map(|&[grey, alpha]| [grey, grey, grey, alpha]).collect()
        }
        png::ColorType::Grayscale => bytes.iter().flat_map(|&grey| [grey, grey, grey, 255]).collect(),
        png::ColorType::Indexed => return Err(damaged("its palette was not applied")),
    };
    complete(Rgba { width, height, bytes })
}

fn decode_jpeg(file: &[u8]) -> Result<Rgba, Error> {
    let options = DecoderOptions::default()
        .set_max_width(SIDE_MAX as usize)
        .set_max_height(SIDE_MAX as usize)
        // Otherwise a truncated file is filled up with grey.
        .set_strict_mode(true)
        .jpeg_set_max_scans(JPEG_SCANS_MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(damaged)?;
    let info = decoder.info().ok_or_else(|| damaged("it has no size"))?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    check_size(width, height)?;
    let bytes = decoder.decode().map_err(damaged)?;
    let bytes = match decoder.output_colorspace() {
        Some(ColorSpace::RGB) => rgb_to_rgba(&bytes),
        Some(ColorSpace::Luma) => bytes.iter().flat_map(|&grey| [grey, grey, grey, 255]).collect(),
        other => return Err(damaged(format_args!("its colours are {other:?}"))),
    };
    complete(Rgba { width, height, bytes })
}

fn rgb_to_rgba(bytes: &[u8]) -> Vec<u8> {
    bytes.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect()
}

/// Everything behind relies on there being as many pixels as the size says.
fn complete(image: Rgba) -> Result<Rgba, Error> {
    let is_complete = image.width > 0 && image.height > 0 && image.bytes.len() == image.width * image.height * 4;
    if is_complete { Ok(image) } else { Err(damaged("there are fewer pixels than it promises")) }
}
