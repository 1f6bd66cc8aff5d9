//! Training as a web page: loss and what the images held back say, over time.

use super::drawing::{ChartPoint, chart};
use super::page::{page, section};
use super::sheet::{Sheet, SheetCell, SheetColumn};
use crate::train::{BlockError, Epoch};

/// A self-contained page on how training went; the first of `curve` is what it started from.
pub(crate) fn training_page(title: &str, curve: &[Epoch], blocks: &[BlockError]) -> String {
    let divergence = |epoch: &Epoch| epoch.judgement.map(|found| found.divergence);
    let agreement = |epoch: &Epoch| epoch.judgement.map(|found| found.agreement_percent());
    let mut body = figure("Divergence on images held back, in nats", curve, divergence, f64::min);
    body += &figure("Agreement on images held back, in percent", curve, agreement, f64::max);
    body += &figure("Mean loss of the images that train", curve, |epoch| epoch.loss, f64::min);
    body += &section("Epochs", &table(curve));
    body += &section("Blocks", &block_table(blocks));
    page(
        title,
        "Loss and what images held back say, epoch by epoch; epoch 0 is what training started from.",
        &body,
    )
}

/// One figure over the epochs, the best standing out.
fn figure(
    title: &str,
    curve: &[Epoch],
    value: impl Fn(&Epoch) -> Option<f64>,
    better: fn(f64, f64) -> f64,
) -> String {
    let point = |(at, epoch): (usize, &Epoch)| {
        let y = value(epoch)?;
        Some(ChartPoint { x: at as f64, y, interval: None, text: format!("{at}: {y:.4}") })
    };
    let points: Vec<ChartPoint> = curve.iter().enumerate().filter_map(point).collect();
    let Some(best) = points.iter().map(|point| point.y).reduce(better) else { return String::new() };
    let marked = points.iter().find(|point| point.y == best).cloned();
    section(title, &marked.map(|marked| chart(title, "Epochs across", &points, &marked)).unwrap_or_default())
}

fn table(curve: &[Epoch]) -> String {
    let mut sheet = Sheet::new(
        "epochs",
        &[
            SheetColumn::Number("epoch"),
            SheetColumn::Bar("loss"),
            SheetColumn::Bar("agreement, %"),
            SheetColumn::Bar("divergence, nats"),
        ],
    );
    for (at, epoch) in curve.iter().enumerate() {
        let cell = |value: Option<f64>| SheetCell::number(value, |value| format!("{value:.4}"));
        sheet.row([
            SheetCell::number(Some(at as f64), |at| at.to_string()),
            cell(epoch.loss),
            cell(epoch.judgement.map(|found| found.agreement_percent())),
            cell(epoch.judgement.map(|found| found.divergence)),
        ]);
    }
    sheet.to_html()
}

fn block_table(blocks: &[BlockError]) -> String {
    if blocks.is_empty() {
        return String::new();
    }
    let columns = [SheetColumn::Words("last layer"), SheetColumn::Bar("before"), SheetColumn::Bar("after")];
    let mut sheet = Sheet::new("blocks", &columns);
    for BlockError { name, before, after } in blocks {
        let cell = |value: f64| SheetCell::number(Some(value), |value| format!("{value:.4}"));
        sheet.row([SheetCell::words(name), cell(*before), cell(*after)]);
    }
    let note = "<p class=\"note\">Squared distance from full precision\u{2019}s values on images held back, as a share of \
                these.</p>\n";
    note.to_owned() + &sheet.to_html()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Judgement;

    #[test]
    fn pages_show_every_epoch_and_block_and_mark_the_best() {
        let epoch = |loss, agreeing, divergence| Epoch {
            loss,
            judgement: Some(Judgement { images: 10, agreeing, divergence, divergence_error: None }),
        };
        let curve = [epoch(None, 7, 0.5), epoch(Some(2.5), 9, 0.25), epoch(Some(1.5), 8, 0.75)];
        let blocks = [BlockError { name: "a<b".into(), before: 0.125, after: 0.0625 }];
        let page = training_page("Training of <x>", &curve, &blocks);
        for text in ["Marked: 1: 0.2500", "Marked: 1: 90.0000", "Marked: 2: 1.5000", "a&lt;b", "0.0625"] {
            assert!(page.contains(text), "{text}");
        }
        assert!(page.contains("Training of &lt;x&gt;") && !page.contains("<x>") && !page.contains("a<b"));
        let nothing = training_page("", &[Epoch { loss: None, judgement: None }], &[]);
        let (content, _) = nothing.split_once("<script>").unwrap();
        assert!(!content.contains("polyline") && !content.contains("NaN"));
    }
}
