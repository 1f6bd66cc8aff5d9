//! Training as a web page: loss and what the images held back say, over time.

use super::page::{ChartPoint, chart, escaped, page};
use crate::train::{BlockError, Epoch};
use std::fmt::Write;

/// A self-contained page on how training went; the first of `curve` is what it started from.
pub(crate) fn training_page(title: &str, curve: &[Epoch], blocks: &[BlockError]) -> String {
    let divergence = |epoch: &Epoch| epoch.judgement.map(|found| found.divergence);
    let agreement = |epoch: &Epoch| epoch.judgement.map(|found| found.agreement_percent());
    let mut body = figure("Divergence on images held back, in nats", curve, divergence, f64::min);
    body += &figure("Agreement on images held back, in percent", curve, agreement, f64::max);
    body += &figure("Mean loss of the images that train", curve, |epoch| epoch.loss, f64::min);
    body += &table(curve);
    if !blocks.is_empty() {
        body += &block_table(blocks);
    }
    page(title, &body)
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
        Some(ChartPoint { x: at as f64, y, text: format!("{at}: {y:.4}") })
    };
    let points: Vec<ChartPoint> = curve.iter().enumerate().filter_map(point).collect();
    let Some(best) = points.iter().map(|point| point.y).reduce(better) else { return String::new() };
    let marked = points.iter().find(|point| point.y == best).cloned();
    let drawn = marked.map(|marked| chart(title, "epochs", &points, &marked)).unwrap_or_default();
    format!("<h2>{title}</h2>{drawn}")
}

fn table(curve: &[Epoch]) -> String {
    let mut table = String::from(
        "<h2>Epochs</h2><table><tr><th>epoch</th><th>loss</th><th>agreement</th><th>divergence</th></tr>",
    );
    for (at, epoch) in curve.iter().enumerate() {
        let cell = |value: Option<f64>| value.map(|value| format!("{value:.4}")).unwrap_or_default();
        let [loss, agreement, divergence] = [
            epoch.loss,
            epoch.judgement.map(|found| found.agreement_percent()),
            epoch.judgement.map(|found| found.divergence),
        ]
        .map(cell);
        // Writing to a string cannot fail.
        let _ =
            write!(table, "<tr><td>{at}</td><td>{loss}</td><td>{agreement}</td><td>{divergence}</td></tr>");
    }
    table + "</table>"
}

fn block_table(blocks: &[BlockError]) -> String {
    let mut table = String::from(
        "<h2>Blocks</h2><p>Squared distance from full precision\u{2019}s values on images held back, as a share of these.</p>\
         <table><tr><th>last layer</th><th>before</th><th>after</th></tr>",
    );
    for BlockError { name, before, after } in blocks {
        let _ = write!(table, "<tr><td>{}</td><td>{before:.4}</td><td>{after:.4}</td></tr>", escaped(name));
    }
    table + "</table>"
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
        for text in ["orange: 1: 0.2500", "orange: 1: 90.0000", "orange: 2: 1.5000", "a&lt;b", "0.0625"] {
            assert!(page.contains(text), "{text}");
        }
        assert!(page.contains("Training of &lt;x&gt;") && !page.contains("<x>") && !page.contains("<script"));
        let nothing = training_page("", &[Epoch { loss: None, judgement: None }], &[]);
        assert!(!nothing.contains("polyline") && !nothing.contains("NaN"));
    }
}
