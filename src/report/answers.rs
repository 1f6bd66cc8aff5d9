//! What a network answers: which classes it takes for which, and the images on which answers differ.

use super::sheet::{Sheet, SheetCell, SheetColumn};
use super::text::{escaped, grouped, percent};
use super::thumbnail::thumbnail;
use crate::data::Images;
use crate::eval::{GivenClass, ImageAnswer};
use crate::format::Preprocess;
use std::collections::BTreeMap;

/// Most classes whose confusion is drawn as a square.
const SQUARE: usize = 24;
/// Most pairs of classes that are named otherwise.
const PAIRS: usize = 25;
/// Most images that are shown.
const SHOWN: usize = 60;
/// How much of a colour the fullest cell has, in percent: text stays readable on it.
const FULLEST: f64 = 42.0;

/// An image on which answers differ.
#[derive(Debug)]
struct ShownImage {
    name: String,
    answer: ImageAnswer,
    /// Its address, if it can be shown.
    picture: Option<String>,
}

/// Answers, with the images that are worth a look.
#[derive(Debug, Default)]
pub(super) struct Answered {
    answers: Vec<ImageAnswer>,
    shown: Vec<ShownImage>,
    classes: Vec<String>,
}

impl Answered {
    pub(super) fn new(
        answers: &[ImageAnswer],
        images: &dyn Images,
        preprocess: &Preprocess,
        classes: &[String],
    ) -> Self {
        let show = |answer: &ImageAnswer| ShownImage {
            name: images.name(answer.image),
            answer: *answer,
            picture: images
                .pixels(answer.image, preprocess)
                .ok()
                .and_then(|pixels| thumbnail(pixels, preprocess)),
        };
        let mut worth: Vec<&ImageAnswer> = answers.iter().filter(|answer| is_worth_a_look(answer)).collect();
        worth.sort_by_key(|answer| !is_lost(answer));
        let shown = worth.into_iter().take(SHOWN).map(show).collect();
        Self { answers: answers.to_vec(), shown, classes: classes.to_vec() }
    }

    fn class(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
    }

    /// Right classes and classes given; without labels, full precision's answers and classes given.
    fn confusion(&self) -> (&'static str, BTreeMap<(usize, usize), usize>) {
        let is_labelled = self.answers.iter().all(|answer| answer.label.is_some());
        let wanted = |answer: &ImageAnswer| {
            if is_labelled { answer.label } else { answer.reference.map(|reference| reference.class) }
        };
        let mut counts = BTreeMap::new();
        for answer in &self.answers {
            if let Some(wanted) = wanted(answer) {
                *counts.entry((wanted, answer.given.class)).or_insert(0) += 1;
            }
        }
        (if is_labelled { "right class" } else { "full precision" }, counts)
    }

    /// Which classes are taken for which.
    pub(super) fn confusion_html(&self) -> String {
        let (rows, counts) = self.confusion();
        let classes = counts.keys().map(|&(wanted, given)| wanted.max(given) + 1).max().unwrap_or(0);
        let classes = classes.max(if self.classes.len() <= SQUARE { self.classes.len() } else { 0 });
        match classes {
            0 => String::new(),
            1..=SQUARE => self.square(rows, &counts, classes),
            _ => self.confused(rows, &counts),
        }
    }

    fn square(&self, rows: &str, counts: &BTreeMap<(usize, usize), usize>, classes: usize) -> String {
        let heads: String = (0..classes).map(|class| self.square_head("col", class)).collect();
        let row = |wanted: usize| {
            let count = |given: usize| counts.get(&(wanted, given)).copied().unwrap_or(0);
            let total = (0..classes).map(count).sum();
            let cell = |given: usize| square_cell(count(given), total, wanted == given);
            let cells: String = (0..classes).map(cell).collect();
            format!("<tr>{}{cells}</tr>\n", self.square_head("row", wanted))
        };
        let body: String = (0..classes).map(row).collect();
        format!(
            "<p class=\"note\">Rows: {rows}. Columns: the class given. Numbers of images.</p>\n\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of confusion\">\
             <table class=\"matrix\">\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
        )
    }

    fn square_head(&self, scope: &str, class: usize) -> String {
        let name = escaped(&self.class(class));
        format!("<th scope=\"{scope}\" class=\"words\"><span title=\"{name}\">{name}</span></th>")
    }

    fn confused(&self, rows: &'static str, counts: &BTreeMap<(usize, usize), usize>) -> String {
        let mut pairs: Vec<_> = counts.iter().filter(|((wanted, given), _)| wanted != given).collect();
        pairs.sort_by_key(|&(pair, &count)| (usize::MAX - count, *pair));
        let mut sheet = Sheet::new(
            "confusions",
            &[SheetColumn::Words(rows), SheetColumn::Words("class given"), SheetColumn::Bar("images")],
        );
        for ((wanted, given), count) in pairs.iter().take(PAIRS).map(|&(&pair, &count)| (pair, count)) {
            let images = SheetCell::number(Some(count as f64), |_| grouped(count));
            sheet.row([SheetCell::words(self.class(wanted)), SheetCell::words(self.class(given)), images]);
        }
        let some = if pairs.len() > PAIRS {
            format!("The {PAIRS} most frequent of {}. ", grouped(pairs.len()))
        } else {
            String::new()
        };
        let sheet = sheet.to_html();
        if sheet.is_empty() {
            sheet
        } else {
            format!("<p class=\"note\">{some}Rows: {rows} and class given.</p>\n{sheet}")
        }
    }

    /// The title of the images that are shown, and the images.
    pub(super) fn images_html(&self) -> (&'static str, String) {
        let has_reference = self.answers.iter().any(|answer| answer.reference.is_some());
        let title =
            if has_reference { "Images on which the answers differ" } else { "Images with wrong answers" };
        let all = self.answers.iter().filter(|answer| is_worth_a_look(answer)).count();
        let share = percent(all, self.answers.len());
        let mut html = match (self.answers.len(), all) {
            (0, _) => return (title, String::new()),
            (images, 0) => return (title, format!("<p>None of {}.</p>\n", grouped(images))),
            (images, _) => format!("<p>{} of {} ({share:.1}%)", grouped(all), grouped(images)),
        };
        if self.shown.len() < all {
            html += &format!("; {} of them are shown", self.shown.len());
        }
        html += ".</p>\n<div class=\"cards\">\n";
        self.shown.iter().for_each(|shown| html += &self.card(shown));
        (title, html + "</div>\n")
    }

    fn card(&self, ShownImage { name, answer, picture }: &ShownImage) -> String {
        let name = escaped(name);
        let picture = picture.as_ref().map(|address| format!("<img src=\"{address}\" alt=\"{name}\">"));
        let right = answer.label.map(|label| format!("right: <b>{}</b><br>", escaped(&self.class(label))));
        let full =
            answer.reference.map(|given| format!("full precision: {}<br>", self.given(given, answer.label)));
        format!(
            "<figure>{}<figcaption>{}{}this model: {}<br>{name}</figcaption></figure>\n",
            picture.unwrap_or_default(),
            right.unwrap_or_default(),
            full.unwrap_or_default(),
            self.given(answer.given, answer.label),
        )
    }

    /// A class and how probable it seems, marked where it is known to be right or wrong.
    fn given(&self, GivenClass { class, probability, .. }: GivenClass, label: Option<usize>) -> String {
        let (kind, mark) = match label {
            Some(label) if label == class => (" class=\"right\"", " \u{2713}"),
            Some(_) => (" class=\"wrong\"", " \u{2717}"),
            None => ("", ""),
        };
        format!("<b{kind}>{}{mark}</b> {:.0}%", escaped(&self.class(class)), 100.0 * probability)
    }
}

fn square_cell(count: usize, total: usize, is_right: bool) -> String {
    let part = FULLEST * percent(count, total) / 100.0;
    let class = if is_right { "" } else { " class=\"off\"" };
    let text = if count == 0 { String::new() } else { grouped(count) };
    format!("<td{class} style=\"--part:{part:.1}%\">{text}</td>")
}

/// Whether the answers differ or, without full precision, the answer is wrong.
fn is_worth_a_look(answer: &ImageAnswer) -> bool {
    if answer.reference.is_some() { answer.differs() } else { answer.is_wrong() }
}

/// Whether full precision is right where the model is not.
fn is_lost(answer: &ImageAnswer) -> bool {
    answer.label.is_some() && answer.label == answer.reference.map(|reference| reference.class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::PixelImages;

    fn answer(image: usize, label: Option<usize>, given: usize, reference: Option<usize>) -> ImageAnswer {
        let class = |class| GivenClass { class, probability: 0.5, in_top5: false };
        ImageAnswer { image, label, given: class(given), reference: reference.map(class), divergence: None }
    }

    fn answered(answers: &[ImageAnswer], classes: &[&str]) -> Answered {
        let images = PixelImages { pixels: vec![vec![9; 12]; 4], labels: vec![] };
        let classes: Vec<String> = classes.iter().map(|&name| name.to_owned()).collect();
        Answered::new(answers, &images, &Preprocess::default_for(3, 2, 2).unwrap(), &classes)
    }

    #[test]
    fn the_images_that_were_lost_come_first() {
        let answers =
            [answer(0, Some(0), 0, Some(0)), answer(1, Some(0), 0, Some(1)), answer(2, Some(0), 1, Some(0))];
        let (title, html) = answered(&answers, &["cat", "dog"]).images_html();
        assert_eq!(title, "Images on which the answers differ");
        assert!(html.contains("2 of 3 (66.7%)") && !html.contains("image 0"));
        assert!(html.find("image 2").unwrap() < html.find("image 1").unwrap());
        assert!(html.contains("full precision: <b class=\"right\">cat \u{2713}</b> 50%"));
    }

    #[test]
    fn without_full_precision_wrong_answers_are_shown() {
        let answers = [answer(0, Some(0), 0, None), answer(1, Some(0), 1, None)];
        let (title, html) = answered(&answers, &[]).images_html();
        assert_eq!(title, "Images with wrong answers");
        assert!(html.contains("1 of 2") && html.contains("class 1 \u{2717}"), "{html}");
        let (_, none) = answered(&answers[..1], &[]).images_html();
        assert_eq!(none, "<p>None of 1.</p>\n");
    }

    #[test]
    fn few_classes_make_a_square_and_many_a_list() {
        let few = [answer(0, None, 1, Some(0)), answer(1, None, 1, Some(1))];
        let html = answered(&few, &["a", "b", "c"]).confusion_html();
        assert!(html.contains("Rows: full precision") && html.matches("<td").count() == 10, "{html}");
        let many =
            [answer(0, Some(2), 900, None), answer(1, Some(2), 900, None), answer(2, Some(3), 3, None)];
        let html = answered(&many, &[]).confusion_html();
        assert!(
            html.contains("class 900") && html.contains("data-value=\"2\"") && !html.contains("class 3"),
            "{html}"
        );
        assert_eq!(answered(&[], &[]).confusion_html(), "");
    }

    #[test]
    fn hostile_names_do_no_harm() {
        let hostile = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>";
        let answered = answered(&[answer(0, Some(0), 1, Some(0))], &[hostile, hostile]);
        let html = answered.confusion_html() + &answered.images_html().1;
        assert!(!html.contains("<script") && !html.contains("<img src=x") && html.contains("&lt;script&gt;"));
    }
}
