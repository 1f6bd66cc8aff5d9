//! Text files that say which class each image has.
//!
//! | a line | where it comes from |
//! |---|---|
//! | `ILSVRC2012_val_00000001.JPEG 65` | Caffe's `val.txt` and most others; the index counts from 0 |
//! | `ILSVRC2012_val_00000001.JPEG n01751748` | the same with a WordNet id |
//! | `ILSVRC2012_val_00000001,n01751748 85 1 499 272` | Kaggle's `LOC_val_solution.csv`; CSV files may have a header |
//! | `65` | one index per image, images in the order of their names |
//! | `n01751748` | one WordNet id per image, likewise (TensorFlow's `synset_labels.txt`) |
//! | `490` in a `…ground_truth.txt` | ILSVRC's own ids 1..=1000, see [`ilsvrc_classes`] |
//!
//! Empty lines and lines that begin with `#` are skipped.

use crate::data::imagenet;
use crate::error::{Error, ErrorKind, Result};
use crate::inputs::read_text;
use std::collections::HashMap;
use std::path::Path;

/// Largest label file, in bytes; ImageNet's training set needs about 60 MB.
const MAX_BYTES: u64 = 1 << 28;
/// What ILSVRC calls the table of its own ids, in its newer development kits.
const ILSVRC_TABLE: &str = "map_clsloc.txt";

/// A label file's content. Class indices of WordNet ids are those of the 1000 ImageNet classes.
#[derive(Debug)]
pub struct Labels {
    /// Label by image name as written; empty if the file gives labels in image order.
    named: HashMap<String, usize>,
    /// Label by last part of the name, with and without extension; `None` where names contradict each other.
    short: HashMap<String, Option<usize>>,
    /// Labels in image order; empty if the file names the images.
    ordered: Vec<usize>,
    /// Whether the labels are WordNet or ILSVRC ids, which only ImageNet's 1000 classes have.
    pub imagenet: bool,
}

/// One label as written.
#[derive(Clone, Copy)]
struct Label {
    class: usize,
    wordnet: bool,
}

impl Labels {
    /// Reads a label file.
    ///
    /// # Errors
    /// `Io`, if it cannot be read; `Format`, naming the line, if a line cannot be understood or contradicts another.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path, MAX_BYTES)?;
        let mut labels = Self::parse(&text).map_err(|e| e.at_path(path))?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.contains("ground_truth") && !labels.imagenet && !labels.ordered.is_empty() {
            labels.translate_ilsvrc(path)?;
        }
        Ok(labels)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut labels =
            Self { named: HashMap::new(), short: HashMap::new(), ordered: Vec::new(), imagenet: false };
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut kinds = Vec::new();
        for (number, line) in lines {
            match parse_line(line) {
                Some((name, label)) => {
                    labels.add(name, label).map_err(|message| bad_line(number, line, message))?;
                    kinds.push(label.wordnet);
                }
                None if number == 0 && line.contains(',') => {}
                None => return Err(bad_line(number, line, "is neither 'name label' nor a label")),
            }
        }
        if !labels.named.is_empty() && !labels.ordered.is_empty() {
            return Err(format_error("some lines name an image and some do not"));
        }
        labels.imagenet = kinds.contains(&true);
        if kinds.is_empty() || (labels.imagenet && kinds.contains(&false)) {
            return Err(format_error("must have labels, either all class indices or all WordNet ids"));
        }
        Ok(labels)
    }

    fn add(&mut self, name: Option<String>, label: Label) -> std::result::Result<(), &'static str> {
        let Some(name) = name else {
            self.ordered.push(label.class);
            return Ok(());
        };
        let file = file_name(&name);
        for short in [file, stem(file)] {
            let known = self.short.entry(short.to_owned()).or_insert(Some(label.class));
            *known = known.filter(|&class| class == label.class);
        }
        match self.named.insert(name, label.class) {
            Some(before) if before != label.class => Err("contradicts an earlier line"),
            _ => Ok(()),
        }
    }

    /// All labels, in no particular order.
    pub fn classes(&self) -> impl Iterator<Item = usize> {
        self.named.values().chain(&self.ordered).copied()
    }

    /// The labels of `images` (relative paths with `/`, sorted), in their order.
    ///
    /// # Errors
    /// `Argument`, if an image has no label, or labels without names cannot be matched to the images.
    pub fn of(&self, images: &[String]) -> Result<Vec<usize>> {
        if !self.ordered.is_empty() {
            return self.by_order(images);
        }
        images.iter().map(|image| self.by_name(image)).collect()
    }

    fn by_name(&self, image: &str) -> Result<usize> {
        let short = |name: &str| self.short.get(name).copied().flatten();
        let file = file_name(image);
        let found = self.named.get(image).copied().or_else(|| short(file)).or_else(|| short(stem(file)));
        found.ok_or_else(|| argument(format!("no label, or contradicting ones, for image '{image}'")))
    }

    /// Images of ILSVRC's validation set carry their number; of others all must be there.
    fn by_order(&self, images: &[String]) -> Result<Vec<usize>> {
        let numbers: Option<Vec<usize>> = images.iter().map(|image| validation_number(image)).collect();
        if let Some(numbers) = numbers {
            let label = |number: usize| self.ordered.get(number.wrapping_sub(1)).copied();
            let missing = |number| argument(format!("there is no line for validation image {number}"));
            return numbers.into_iter().map(|n| label(n).ok_or_else(|| missing(n))).collect();
        }
        if self.ordered.len() != images.len() {
            let (labels, images) = (self.ordered.len(), images.len());
            let remedy = "use lines of the form 'name label'";
            return Err(argument(format!("{labels} labels without names for {images} images; {remedy}")));
        }
        Ok(self.ordered.clone())
    }

    fn translate_ilsvrc(&mut self, path: &Path) -> Result<()> {
        let classes = ilsvrc_classes(path)?;
        for label in &mut self.ordered {
            let class = label.checked_sub(1).and_then(|i| classes.get(i).copied());
            *label = class
                .ok_or_else(|| format_error(format!("ILSVRC id {label} is not in 1..=1000")).at_path(path))?;
        }
        self.imagenet = true;
        Ok(())
    }
}

/// The class index of each ILSVRC id: `ILSVRC2012_validation_ground_truth.txt` counts classes in an order of its own,
/// which the development kit's `map_clsloc.txt` (lines of `n02119789 1 kit_fox`) translates. It must lie
/// beside the ground truth.
fn ilsvrc_classes(ground_truth: &Path) -> Result<Vec<usize>> {
    let table = ground_truth.with_file_name(ILSVRC_TABLE);
    if !table.exists() {
        let message = format!(
            "ILSVRC's ground truth numbers classes in its own order; put the development kit's {ILSVRC_TABLE} (lines \
             'n02119789 1 kit_fox') beside it, or give a file with lines 'name label'"
        );
        return Err(argument(message).at_path(ground_truth));
    }
    let mut classes = vec![None; imagenet::CLASS_COUNT];
    for (number, line) in read_text(&table, MAX_BYTES)?.lines().enumerate() {
        let mut words = line.split_whitespace();
        let class = words.next().and_then(imagenet::class_of);
        let id = words.next().and_then(|id| id.parse::<usize>().ok());
        match (class, id.and_then(|id| classes.get_mut(id.wrapping_sub(1)))) {
            (Some(class), Some(place)) => *place = Some(class),
            _ => return Err(bad_line(number, line, "is not 'WordNet-id number name'").at_path(&table)),
        }
    }
    let complete: Option<Vec<usize>> = classes.into_iter().collect();
    complete.ok_or_else(|| format_error("does not list all 1000 classes").at_path(&table))
}

/// `name label`, `name,label …` or `label`; `None` if the label is neither a number nor one of the 1000 WordNet ids.
fn parse_line(line: &str) -> Option<(Option<String>, Label)> {
    let (name, label) = if let Some((name, rest)) = line.rsplit_once(',') {
        (Some(name), rest.split_whitespace().next()?)
    } else if let Some((name, label)) = line.rsplit_once(char::is_whitespace) {
        (Some(name), label)
    } else {
        (None, line)
    };
    Some((name.map(plain_name), parse_label(label.trim_matches('"'))?))
}

fn parse_label(text: &str) -> Option<Label> {
    match imagenet::is_wordnet_id(text) {
        true => Some(Label { class: imagenet::class_of(text)?, wordnet: true }),
        false => Some(Label { class: text.parse().ok()?, wordnet: false }),
    }
}

/// A name as written in a label file → a relative path with `/`.
fn plain_name(name: &str) -> String {
    let name = name.trim().trim_matches('"').replace('\\', "/");
    name.trim_start_matches("./").to_owned()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn stem(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

/// The number of `…/ILSVRC2012_val_00000293.JPEG`, from 1.
pub fn validation_number(image: &str) -> Option<usize> {
    let digits = stem(file_name(image)).strip_prefix("ILSVRC2012_val_")?;
    (digits.len() == 8).then(|| digits.parse().ok()).flatten()
}

fn bad_line(number: usize, line: &str, message: &str) -> Error {
    let shown: String = line.chars().take(60).collect();
    format_error(format!("line {} '{shown}' {message}", number + 1))
}

fn format_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}

fn argument(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Argument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, images: &[&str]) -> Result<Vec<usize>> {
        Labels::parse(text)?.of(&images.iter().map(|&i| i.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn lines_with_names() {
        assert_eq!(
            of("a.png 3\r\n\n# note\nmy photo.jpg\t12\n", &["my photo.jpg", "a.png"]).unwrap(),
            [12, 3]
        );
        assert_eq!(of("./val/a.png 3\nval\\b.png 4", &["val/b.png", "val/a.png"]).unwrap(), [4, 3]);
        assert_eq!(of("a.png n01440764\nb.png n15075141", &["a.png", "b.png"]).unwrap(), [0, 999]);
        assert_eq!(of("\u{feff}file,label\n\"a.png\",3\nb.png, 4", &["b.png", "a.png"]).unwrap(), [4, 3]);
    }

    #[test]
    fn kaggle_lines() {
        let text = "ImageId,PredictionString\nILSVRC2012_val_00048981,n03995372 85 1 499 272 n03995372 131 0 499 254\n";
        assert_eq!(of(text, &["ILSVRC2012_val_00048981.JPEG"]).unwrap(), [740]);
    }

    #[test]
    fn folders_may_differ_unless_names_contradict() {
        assert_eq!(of("n01440764/a.png 3", &["a.png"]).unwrap(), [3]);
        assert_eq!(of("a.png 3", &["deep/er/a.png"]).unwrap(), [3]);
        let two = "x/a.png 3\ny/a.png 4";
        assert_eq!(of(two, &["x/a.png", "y/a.png"]).unwrap(), [3, 4]);
        assert!(of(two, &["a.png"]).is_err());
        assert!(of("x/a.png 3\ny/a.png 4\nz/a.png 3", &["a.png"]).is_err());
    }

    #[test]
    fn lines_in_image_order() {
        assert_eq!(of("7\n8\n", &["a.png", "b.png"]).unwrap(), [7, 8]);
        assert_eq!(of("n01440764\nn01443537", &["a.png", "b.png"]).unwrap(), [0, 1]);
        assert!(
            of("7\n8\n9", &["a.png", "b.png"]).unwrap_err().to_string().contains("3 labels without names")
        );
        let validation = ["ILSVRC2012_val_00000003.JPEG", "ILSVRC2012_val_00000001.JPEG"];
        assert_eq!(of("7\n8\n9\n10", &validation).unwrap(), [9, 7]);
        assert!(of("7\n8", &validation).unwrap_err().to_string().contains("validation image 3"));
        assert!(of("7", &["ILSVRC2012_val_00000000.JPEG"]).is_err());
    }

    #[test]
    fn bad_lines_are_named() {
        let error = |text: &str| of(text, &["a.png"]).unwrap_err().to_string();
        assert!(error("a.png 3\nb.png cat").contains("line 2 'b.png cat'"));
        assert!(error("a.png -1").contains("line 1"));
        assert!(error("a.png n00000001").contains("line 1"));
        assert!(error("a.png 3\na.png 4").contains("line 2 'a.png 4' contradicts"));
        assert!(error("a.png 3\n4").contains("some lines name an image"));
        assert!(error("a.png 3\nb.png n01440764").contains("either all class indices"));
        assert!(error("").contains("must have labels"));
        assert!(error("b.png 3").contains("no label"));
    }
}
