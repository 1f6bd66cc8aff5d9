//! How many of the calibration images judge.

/// One image in this many judges a conversion, but at least [`FEWEST`] where they are no more than one in [`LEAST_SHARE`].
const SHARE: usize = 8;
const FEWEST: usize = 8;
const LEAST_SHARE: usize = 4;

/// Who decides how many images are held back from fitting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum HeldBack {
    /// As many as suit the number of images.
    #[default]
    Share,
    /// That many, but at most half of all.
    Count(usize),
}

impl HeldBack {
    /// How many of `images` images are held back. Of too few, none.
    pub(super) fn of(self, images: usize) -> usize {
        match self {
            Self::Share => (images / SHARE).max(FEWEST.min(images / LEAST_SHARE)),
            Self::Count(count) => count.min(images / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HeldBack::{Count, Share};

    #[test]
    fn few_images_hold_back_a_quarter_and_many_an_eighth() {
        let held_back = [0, 1, 3, 4, 10, 31, 32, 64, 72, 512, 4000].map(|images| Share.of(images));
        assert_eq!(held_back, [0, 0, 0, 1, 2, 7, 8, 8, 9, 64, 500]);
    }

    #[test]
    fn no_more_than_half_are_held_back() {
        assert_eq!([1, 2, 100, 256].map(|images| Count(64).of(images)), [0, 1, 50, 64]);
    }
}
