//! The 1000 classes of ILSVRC2012.

use std::sync::LazyLock;

/// One `wnid name` per line, in class order (`fixtures/make_imagenet_classes.py`).
static CLASSES: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    include_str!("imagenet_classes.txt").lines().filter_map(|line| line.split_once(' ')).collect()
});

/// Number of classes.
pub const CLASS_COUNT: usize = 1000;

/// The class index of a WordNet id such as `n01440764`, or `None` if it is not among the 1000.
pub fn class_of(wordnet_id: &str) -> Option<usize> {
    CLASSES.binary_search_by_key(&wordnet_id, |&(id, _)| id).ok()
}

/// Whether `text` has the form of a WordNet id: `n` and eight digits.
pub fn is_wordnet_id(text: &str) -> bool {
    matches!(text.strip_prefix('n'), Some(digits) if digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Class names of a network with `outputs` outputs, if that number says that its classes are ImageNet's: 1000,
/// or 1001 with a background class first.
pub fn class_names(outputs: usize) -> Option<Vec<String>> {
    let background = outputs.checked_sub(CLASS_COUNT).filter(|&n| n <= 1)?;
    let names = CLASSES.iter().map(|&(_, name)| name);
    Some(std::iter::repeat_n("background", background).chain(names).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_and_known_ones_are_in_place() {
        assert_eq!(CLASSES.len(), CLASS_COUNT);
        assert!(CLASSES.iter().all(|(id, name)| is_wordnet_id(id) && !name.is_empty()));
        assert!(CLASSES.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(class_of("n01440764"), Some(0));
        assert_eq!(class_of("n02119789"), Some(278));
        assert_eq!(class_of("n15075141"), Some(999));
        assert_eq!(class_of("n00000000"), None);
    }

    #[test]
    fn wordnet_ids_have_eight_digits() {
        assert!(!is_wordnet_id("n0144076") && !is_wordnet_id("m01440764") && !is_wordnet_id("n0144076x"));
    }

    #[test]
    fn names_of_1000_and_1001_outputs() {
        assert_eq!(class_names(1000).unwrap()[0], "tench");
        let with_background = class_names(1001).unwrap();
        assert_eq!(
            (with_background.len(), &*with_background[0], &*with_background[1]),
            (1001, "background", "tench")
        );
        assert!(class_names(10).is_none() && class_names(1002).is_none());
    }
}
