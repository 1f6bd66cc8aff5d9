//! Small sets of places.

/// Most places.
pub(super) const MAX_PLACES: usize = 64;

/// A set of places below [`MAX_PLACES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaceSet(u64);

impl PlaceSet {
    /// The places below `count`.
    pub fn all(count: usize) -> Self {
        Self(if count < MAX_PLACES { (1 << count) - 1 } else { u64::MAX })
    }

    pub fn of(place: u8) -> Self {
        Self(1 << place)
    }

    pub fn contains(self, place: u8) -> bool {
        self.0 >> place & 1 == 1
    }

    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The places, smallest first.
    pub fn places(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let place = rest.trailing_zeros() as u8;
            (rest != 0).then(|| rest &= rest - 1).map(|()| place)
        })
    }

    /// Drops the places that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(u8) -> bool) {
        self.0 = self.places().filter(|&place| keep(place)).fold(0, |set, place| set | 1 << place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_kept_in_order() {
        let mut set = PlaceSet::all(5);
        set.retain(|place| place % 2 == 0);
        assert_eq!(set.places().collect::<Vec<_>>(), [0, 2, 4]);
        assert!(set.contains(2) && !set.contains(1) && set.len() == 3);
        assert_eq!(
            (PlaceSet::all(64).len(), PlaceSet::all(0).len(), PlaceSet::of(63).places().next()),
            (64, 0, Some(63))
        );
    }
}
