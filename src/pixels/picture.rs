//! Decoded images.

use crate::error::{Error, ErrorKind, Result};

/// A decoded image: rows of pixels of one (grey) or three (red, green, blue) bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// `height × width × channels` bytes.
    pub data: Vec<u8>,
}

impl Picture {
    pub(super) fn check(&self) -> Result<()> {
        let Self { height, width, channels, data } = self;
        let len = height.checked_mul(*width).and_then(|pixels| pixels.checked_mul(*channels));
        if len == Some(data.len()) && !data.is_empty() && matches!(channels, 1 | 3) {
            return Ok(());
        }
        let message =
            format!("{} bytes are no picture of {height}x{width} with {channels} channels", data.len());
        Err(Error::new(ErrorKind::Image, message))
    }

    /// The image in three channels; grey is repeated.
    pub fn into_rgb(self) -> Self {
        match self.channels {
            3 => self,
            _ => self.map_pixels(3, |pixel, out| out.extend(pixel.iter().cycle().take(3))),
        }
    }

    /// The image in one channel, by Pillow's fixed-point ITU-R 601 luma.
    pub fn into_grey(self) -> Self {
        match self.channels {
            1 => self,
            _ => self.map_pixels(1, |pixel, out| out.push(luma([pixel[0], pixel[1], pixel[2]]))),
        }
    }

    fn map_pixels(self, channels: usize, mut convert: impl FnMut(&[u8], &mut Vec<u8>)) -> Self {
        let mut data = Vec::with_capacity(self.height * self.width * channels);
        self.data.chunks_exact(self.channels).for_each(|pixel| convert(pixel, &mut data));
        Self { channels, data, ..self }
    }
}

/// Pillow's fixed-point ITU-R 601 luma of red, green and blue.
pub(crate) fn luma(pixel: [u8; 3]) -> u8 {
    let weighted = pixel.iter().zip([19595u32, 38470, 7471]).map(|(&p, w)| u32::from(p) * w);
    ((weighted.sum::<u32>() + 0x8000) >> 16) as u8
}
