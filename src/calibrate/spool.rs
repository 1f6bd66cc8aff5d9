//! Activations of many images, in memory while they are few, else in a temporary file.

use crate::data::spread;
use crate::error::{self, Error, Result};
use crate::tensor::{Batch, Shape};
use rayon::prelude::*;
use std::fs::File;
use std::io::ErrorKind;
#[cfg(unix)]
use std::os::unix::fs::FileExt;
#[cfg(windows)]
use std::os::windows::fs::FileExt;

/// Images of one chunk.
pub(crate) const CHUNK: usize = 16;
/// Tensors up to this many bytes stay in memory.
const IN_MEMORY: usize = 64 << 20;

/// One activation tensor of all calibration images, written and read in chunks of [`CHUNK`] images.
#[derive(Debug)]
pub(crate) struct Spool {
    shape: Shape,
    images: usize,
    place: Storage,
}

#[derive(Debug)]
enum Storage {
    Memory(Vec<u8>),
    /// Deleted by the system when it is closed.
    File(File),
}

impl Spool {
    /// An empty spool for about `expected` images.
    pub(crate) fn new(shape: Shape, expected: usize) -> Result<Self> {
        let place = if shape.len().saturating_mul(expected) <= IN_MEMORY {
            Storage::Memory(Vec::with_capacity(shape.len() * expected))
        } else {
            Storage::File(tempfile::tempfile().map_err(storage)?)
        };
        Ok(Self { shape, images: 0, place })
    }

    /// `images` images, each as `make` yields it, made side by side.
    pub(crate) fn of(
        shape: Shape,
        images: usize,
        make: impl Fn(usize) -> Result<Vec<u8>> + Sync,
    ) -> Result<Self> {
        let mut spool = Self::new(shape, images)?;
        if let Storage::File(file) = &spool.place {
            let write = |image| write_at(file, image * shape.len(), &make(image)?).map_err(storage);
            (0..images).into_par_iter().try_for_each(write)?;
            spool.images = images;
            return Ok(spool);
        }
        for first in (0..images).step_by(CHUNK) {
            let made: Result<Vec<_>> =
                (first..images.min(first + CHUNK)).into_par_iter().map(&make).collect();
            made?.iter().try_for_each(|image| spool.push(image))?;
        }
        Ok(spool)
    }

    /// Appends images.
    pub(crate) fn push(&mut self, codes: &[u8]) -> Result<()> {
        match &mut self.place {
            Storage::Memory(bytes) => bytes.extend_from_slice(codes),
            Storage::File(file) => write_at(file, self.images * self.shape.len(), codes).map_err(storage)?,
        }
        self.images += codes.len() / self.shape.len();
        Ok(())
    }

    /// Number of images.
    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> usize {
        self.images.div_ceil(CHUNK)
    }

    /// The images of chunk `index`.
    pub(crate) fn chunk(&self, index: usize) -> Result<Batch<u8>> {
        let first = index * CHUNK;
        let images = CHUNK.min(self.images - first);
        Ok(Batch { images, shape: self.shape, data: self.read(first, images)? })
    }

    /// At most `count` images, spread evenly.
    pub(crate) fn spread(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        spread(self.images, count).into_iter().map(|image| self.image(image)).collect()
    }

    /// Image `index`.
    pub(crate) fn image(&self, index: usize) -> Result<Vec<u8>> {
        self.read(index, 1)
    }

    /// Shape of an image's activations.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The codes of `images` images from image `first` on.
    fn read(&self, first: usize, images: usize) -> Result<Vec<u8>> {
        let (start, len) = (first * self.shape.len(), images * self.shape.len());
        match &self.place {
            Storage::Memory(bytes) => Ok(bytes[start..][..len].to_vec()),
            Storage::File(file) => read_at(file, start, len).map_err(storage),
        }
    }
}

/// Real values of many images, each in the order channel, row, column.
#[derive(Debug)]
pub(crate) struct RealSpool(Spool);

impl RealSpool {
    /// As [`Spool::of`].
    pub(crate) fn of(
        shape: Shape,
        images: usize,
        make: impl Fn(usize) -> Result<Vec<f32>> + Sync,
    ) -> Result<Self> {
        let Shape { channels, height, width } = shape;
        let bytes = |image| Ok(bytemuck::cast_slice(&make(image)?).to_vec());
        Ok(Self(Spool::of(Shape::new(4 * channels, height, width), images, bytes)?))
    }

    /// Number of images.
    pub(crate) fn images(&self) -> usize {
        self.0.images()
    }

    /// Image `index`.
    pub(crate) fn image(&self, index: usize) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.0.image(index)?))
    }
}

fn read_at(file: &File, offset: usize, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    in_parts(len, ErrorKind::UnexpectedEof, |done| {
        #[cfg(unix)]
        return file.read_at(&mut bytes[done..], (offset + done) as u64);
        #[cfg(windows)]
        return file.seek_read(&mut bytes[done..], (offset + done) as u64);
    })?;
    Ok(bytes)
}

fn write_at(file: &File, offset: usize, bytes: &[u8]) -> std::io::Result<()> {
    in_parts(bytes.len(), ErrorKind::WriteZero, |done| {
        #[cfg(unix)]
        return file.write_at(&bytes[done..], (offset + done) as u64);
        #[cfg(windows)]
        return file.seek_write(&bytes[done..], (offset + done) as u64);
    })
}

/// Calls `part` with what is done until it has moved `len` bytes; `stuck` is the error if it moves none.
fn in_parts(
    len: usize,
    stuck: ErrorKind,
    mut part: impl FnMut(usize) -> std::io::Result<usize>,
) -> std::io::Result<()> {
    let mut done = 0;
    while done < len {
        match part(done) {
            Ok(0) => return Err(stuck.into()),
            Ok(moved) => done += moved,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn storage(source: std::io::Error) -> Error {
    Error::new(error::ErrorKind::Io, "the temporary file for activations failed; is the disk full?")
        .because(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_memory_hold_the_same() {
        let shape = Shape::new(3, 2, 2);
        let data: Vec<u8> = (0..shape.len() * (2 * CHUNK + 3)).map(|i| (i * 7 % 251) as u8).collect();
        for expected in [1, usize::MAX] {
            let mut spool = Spool::new(shape, expected).unwrap();
            for chunk in data.chunks(CHUNK * shape.len()) {
                spool.push(chunk).unwrap();
            }
            assert_eq!((spool.images(), spool.chunks()), (2 * CHUNK + 3, 3));
            let restored: Vec<u8> =
                (0..3).rev().map(|i| spool.chunk(i).unwrap().data).rev().flatten().collect();
            assert_eq!(restored, data);
            let images: Vec<&[u8]> = data.chunks(shape.len()).collect();
            assert_eq!(spool.spread(4).unwrap(), [4, 13, 21, 30].map(|image| images[image].to_vec()));
            assert_eq!(spool.spread(99).unwrap().concat(), data);
        }
        for (shape, images) in [(shape, 2 * CHUNK + 3), (Shape::new(1 << 22, 1, 1), CHUNK + 1)] {
            let image = |at: usize| (0..shape.len()).map(|i| (i * 7 + at) as u8).collect::<Vec<u8>>();
            let spool = Spool::of(shape, images, |at| Ok(image(at))).unwrap();
            assert_eq!(spool.images(), images);
            assert!((0..images).all(|at| spool.image(at).unwrap() == image(at)));
            let fails = |at| if at == 7 { Err(storage(ErrorKind::Other.into())) } else { Ok(image(at)) };
            assert!(Spool::of(shape, images, fails).is_err());
        }
    }

    #[test]
    fn interrupted_and_short_transfers_go_on() {
        let mut answers = [Ok(3), Err(ErrorKind::Interrupted), Ok(4)].into_iter();
        let mut asked = Vec::new();
        let moved = in_parts(7, ErrorKind::WriteZero, |done| {
            asked.push(done);
            answers.next().unwrap().map_err(Into::into)
        });
        assert!(moved.is_ok() && asked == [0, 3, 3]);
        assert_eq!(in_parts(7, ErrorKind::WriteZero, |_| Ok(0)).unwrap_err().kind(), ErrorKind::WriteZero);
    }
}
