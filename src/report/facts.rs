//! Single figures at the top of a page, and lists of names and values.

use super::text::{bytes, escaped, grouped, percent, short};
use super::{NetworkSummary, Summary};
use crate::bench::Bench;
use crate::eval::{Accuracy, Comparison, Evaluation};
use crate::format::{Bytes, Fidelity, PackedModel};
use crate::judge::Judgement;

/// A figure, what it is and what qualifies it.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    name: &'static str,
    value: String,
    note: String,
}

impl Fact {
    fn new(name: &'static str, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self { name, value: value.into(), note: note.into() }
    }
}

/// All facts side by side.
pub(super) fn list(facts: &[Fact]) -> String {
    let fact = |Fact { name, value, note }: &Fact| {
        let (value, note) = (escaped(value), escaped(note));
        format!("<div><dt>{name}</dt><dd><strong>{value}</strong><span>{note}</span></dd></div>\n")
    };
    format!("<dl class=\"facts\">\n{}</dl>\n", facts.iter().map(fact).collect::<String>())
}

/// Names and values below one another; values that are empty are left out.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let known = pairs.iter().filter(|(_, value)| !value.is_empty());
    let pair =
        |(name, value): &(&str, String)| format!("<dt>{}</dt><dd>{}</dd>\n", escaped(name), escaped(value));
    format!("<dl class=\"pairs\">\n{}</dl>\n", known.map(pair).collect::<String>())
}

/// Of a packed model.
pub(super) fn of_model(summary: &Summary) -> Vec<Fact> {
    let (total, full) = (summary.bytes.total(), full_bytes(summary));
    let times = full as f64 / total.max(1) as f64;
    let ternary = summary.bits_per_ternary_weight().map(|bits| format!("{bits:.2} per ternary weight"));
    vec![
        Fact::new(
            "Size",
            bytes(total),
            format!("{} times smaller than 32-bit weights ({})", short(times), bytes(full)),
        ),
        Fact::new(
            "Bits per weight",
            format!("{:.2}", summary.bits_per_weight()),
            ternary.unwrap_or_default(),
        ),
        Fact::new(
            "Multiplications left",
            format!("{:.1}%", 100.0 * summary.multiplications_left()),
            format!("of {} per image", grouped(summary.layers.iter().map(|layer| layer.products).sum())),
        ),
    ]
}

/// Bytes of all weights at 32 bits.
fn full_bytes(summary: &Summary) -> usize {
    size_of::<f32>() * summary.weights()
}

/// Of a full-precision network.
pub(super) fn of_network(summary: &NetworkSummary) -> Vec<Fact> {
    let parameters = format!("{} parameters at 32 bits", grouped(summary.parameters));
    vec![
        Fact::new("Size", bytes(summary.bytes()), parameters),
        Fact::new("Layers with weights", grouped(summary.layers.len()), ""),
        Fact::new("Multiplications", grouped(summary.multiplications()), "per image"),
    ]
}

/// What the images that judged a conversion say.
pub(super) fn of_fidelity(fidelity: &Fidelity) -> Vec<Fact> {
    let kind = if fidelity.held_back { "held-back" } else { "calibration" };
    fidelity.judgement.iter().flat_map(|judgement| of_judgement(judgement, kind)).collect()
}

fn of_judgement(judgement: &Judgement, kind: &str) -> [Fact; 2] {
    let [low, high] = judgement.agreement_interval();
    let images = judgement.images;
    let divergence = judgement.divergence_interval();
    let interval = divergence.map(|[low, high]| format!("nats; 95% interval {low:.4} to {high:.4}"));
    [
        Fact::new(
            "Agreement with full precision",
            format!("{:.1}%", judgement.agreement_percent()),
            format!("of {} {kind} images; 95% interval {low:.1} to {high:.1}%", grouped(images)),
        ),
        Fact::new(
            "Divergence",
            format!("{:.4}", judgement.divergence),
            interval.unwrap_or_else(|| "nats".into()),
        ),
    ]
}

/// What labelled images say.
pub(super) fn of_evaluation(evaluation: &Evaluation) -> Vec<Fact> {
    let Evaluation { accuracy, comparison, images_per_second, .. } = evaluation;
    let mut facts = vec![
        top1("Top-1", accuracy),
        Fact::new("Top-5", format!("{:.1}%", accuracy.top5_percent()), "right class among the five best"),
    ];
    if let Some(comparison) = comparison {
        facts.push(top1("Top-1 of full precision", &comparison.reference));
        facts.push(drop(comparison));
        facts.extend(of_judgement(&comparison.judgement, "test"));
    }
    facts.push(Fact::new("Images per second", short(*images_per_second), "decoding included"));
    facts
}

fn top1(name: &'static str, accuracy: &Accuracy) -> Fact {
    let [low, high] = accuracy.top1_interval();
    let note = format!(
        "{} of {}; 95% interval {low:.1} to {high:.1}%",
        grouped(accuracy.top1),
        grouped(accuracy.images)
    );
    Fact::new(name, format!("{:.1}%", accuracy.top1_percent()), note)
}

fn drop(comparison: &Comparison) -> Fact {
    let [low, high] = comparison.drop_interval();
    let p = comparison.p_value();
    let p = if p < 1e-4 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") };
    let note = format!("points of top-1; 95% interval {low:.1} to {high:.1}; McNemar {p}");
    Fact::new("Drop", format!("{:.1}", comparison.drop()), note)
}

/// What a benchmark measured.
pub(super) fn of_bench(bench: &Bench) -> Vec<Fact> {
    let median = bench.median().as_secs_f64();
    let rate = bench.products() as f64 / median.max(f64::MIN_POSITIVE);
    let threads = if bench.threads == 1 { "1 thread".into() } else { format!("{} threads", bench.threads) };
    let least = bench.shortest().as_secs_f64();
    vec![
        Fact::new(
            "Time per image",
            format!("{} ms", short(1e3 * median)),
            format!("median of {} runs; {} ms at least", bench.runs.len(), short(1e3 * least)),
        ),
        Fact::new(
            "Products per second",
            format!("{} G", short(rate / 1e9)),
            format!("{:.0}% of {} G measured", 100.0 * rate / bench.peak, short(bench.peak / 1e9)),
        ),
        Fact::new("Kernels", bench.kernels.name(), threads),
    ]
}

/// The bytes of a model by kind, against those of the original.
pub(super) fn sizes(summary: &Summary) -> String {
    let Bytes { codes, scales, requantization, tables, metadata } = summary.bytes;
    let kinds = [
        ("codes of weights", codes),
        ("scales of groups", scales),
        ("biases and multipliers", requantization),
        ("tables", tables),
        ("graph, names, figures", metadata),
    ];
    let (total, full) = (summary.bytes.total(), full_bytes(summary));
    let most = total.max(full);
    let part = |(at, &(_, count)): (usize, &(&str, usize))| {
        format!("<i class=\"k{at}\" style=\"width:{:.3}%\"></i>", percent(count, most))
    };
    let key = |(at, &(name, count)): (usize, &(&str, usize))| {
        format!("<span class=\"key k{at}\"></span>{name} {}", bytes(count))
    };
    let some = || kinds.iter().enumerate().filter(|(_, (_, count))| *count > 0);
    let (parts, keys): (String, String) = (some().map(part).collect(), some().map(key).collect());
    format!(
        "<figure><figcaption>32-bit weights: {full}</figcaption><div class=\"stack\"><i class=\"k4\" \
         style=\"width:{whole:.3}%\"></i></div><figcaption>This file: {total}</figcaption><div class=\"stack\">{parts}</div>\
         <figcaption>{keys}</figcaption></figure>\n",
        whole = percent(full, most),
        full = bytes(full),
        total = bytes(total),
    )
}

/// Where a packed model comes from and how images become its inputs.
pub(super) fn origin(model: &PackedModel) -> String {
    let provenance = &model.provenance;
    let options: Vec<String> =
        provenance.options.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let plan = provenance.plan.as_ref().map(|plan| {
        let budgets: Vec<String> = plan.budgets.iter().map(|(key, value)| format!("{key} {value}")).collect();
        format!("predicted damage {}; {}", plan.objective, budgets.join(", "))
    });
    let classes = match model.classes.as_slice() {
        [] => "no names known".into(),
        [first, .., last] if model.classes.len() > 12 => {
            format!("{} names, {first} to {last}", model.classes.len())
        }
        names => names.join(", "),
    };
    pairs(&[
        ("Made by", provenance.generator.clone()),
        ("From", provenance.source.clone()),
        ("SHA-256 of that", provenance.source_sha256.clone()),
        ("Options", options.join(", ")),
        ("Plan", plan.unwrap_or_default()),
        ("Preprocessing", model.preprocess.to_string()),
        ("Classes", classes),
    ])
}
