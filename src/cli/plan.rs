//! `fgq plan`: which layer gets which precision, under a budget.

use super::amount::{Amount, amount, bytes, count};
use super::indicators::IndicatorArgs;
use super::output::{Output, check_writable, grouped, warn};
use super::table::{Column, Table};
use anyhow::{Context, bail};
use fgq::{Budgets, FrontierPoint, Indicators, Outliers, Plan, PlanOptions, UniformBits};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Points of the frontier.
const POINTS: usize = 20;

/// Arguments of `fgq plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    indicators: IndicatorArgs,
    /// Where to write the plan, for `fgq convert --plan`
    #[arg(short, long, value_name = "PLAN.json")]
    output: Option<PathBuf>,
    /// Print the frontier of size against predicted damage instead of one plan
    #[arg(long)]
    pareto: bool,
    /// Write a web page with bits per layer and the frontier
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Factor of the weights' indicators against the activations' [default: as the indicators say, else 1]
    #[arg(long, value_name = "X")]
    alpha: Option<f64>,
    /// Indicators that are smaller than with the next more bits: forbid, keep, or auto (forbid if all are plain bits)
    #[arg(long, value_name = "forbid|keep|auto", default_value = "auto", value_parser = outliers)]
    outliers: Outliers,
    /// A control: the plan with the most predicted damage that uses at least what the budgets allow
    #[arg(long, conflicts_with_all = ["pareto", "report"])]
    reversed: bool,
    #[command(flatten)]
    budgets: BudgetArgs,
}

/// What the plan may use; each is optional.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Budgets")]
struct BudgetArgs {
    /// Size of the file, as in 400KB (1000 bytes) or 400KiB (1024)
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_size: Option<u64>,
    /// How many times smaller than all weights at 32 bits
    #[arg(long, value_name = "X")]
    compression_ratio: Option<f64>,
    /// Bits per weight, scales included, on average over the planned layers without
    /// classifier and depthwise ones
    #[arg(long, value_name = "X")]
    mean_bits: Option<f64>,
    /// Bit operations of the planned layers per image, as in 57.3G
    #[arg(long, value_name = "N", value_parser = count)]
    bitops: Option<u64>,
    /// With --activation-level: as many bit operations as with these bits in every planned layer
    #[arg(long, value_name = "BITS", requires = "activation_level")]
    weight_level: Option<f64>,
    /// Bits of activations for --weight-level
    #[arg(long, value_name = "BITS", requires = "weight_level")]
    activation_level: Option<f64>,
    /// Multiplications left per image, as in 20M, or as a share of all, as in 10%
    #[arg(long, value_name = "N|X%", value_parser = amount)]
    max_multiplications: Option<Amount>,
    /// Input activations of any one planned layer, in bytes
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_largest_activation: Option<u64>,
    /// Input activations of all planned layers together, in bytes
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_total_activation: Option<u64>,
}

fn outliers(text: &str) -> anyhow::Result<Outliers> {
    Ok(match text {
        "auto" => Outliers::Auto,
        "forbid" => Outliers::Forbid,
        "keep" => Outliers::Keep,
        _ => bail!("give forbid, keep or auto"),
    })
}

impl BudgetArgs {
    /// The budgets for a network with so many multiplications.
    fn budgets(&self, multiplications: u64) -> Budgets {
        let levels = self.weight_level.zip(self.activation_level);
        Budgets {
            max_size: self.max_size,
            compression_ratio: self.compression_ratio,
            mean_bits: self.mean_bits,
            bit_ops: self.bitops,
            levels: levels.map(|(weight, activation)| UniformBits { weight, activation }),
            max_multiplications: self.max_multiplications.map(|amount| match amount {
                Amount::Count(count) => count,
                Amount::Share(share) => (share * multiplications as f64) as u64,
            }),
            max_largest_activation: self.max_largest_activation,
            max_total_activation: self.max_total_activation,
        }
    }
}

/// A plan and how long it took.
#[derive(Serialize)]
struct PlanJson<'a> {
    seconds: f64,
    proven: bool,
    #[serde(flatten)]
    plan: &'a Plan,
}

#[derive(Serialize)]
struct ParetoJson<'a> {
    seconds: f64,
    pareto: &'a [FrontierPoint],
}

/// Plans, writes what was asked for, and shows the plan or the frontier.
pub fn run(args: &Args) -> anyhow::Result<Output> {
    let options = args.check()?;
    let indicators = args.indicators.resolve(|candidates| args.check_feasible(candidates, &options))?;
    let budgets = args.budgets.budgets(indicators.multiplications());
    let start = Instant::now();
    let plan = fgq::plan(&indicators, &budgets, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    if !plan.is_proven() {
        warn(format!("not proven to be optimal; no plan has less predicted damage than {:.6}", plan.bound));
    }
    let frontier = match args.pareto || args.report.is_some() {
        true => fgq::frontier(&indicators, &budgets, &options, POINTS)?,
        false => Vec::new(),
    };
    if let Some(path) = &args.report {
        fgq::replace_file(path, plan.to_html(&frontier).as_bytes())?;
    }
    if let Some(path) = &args.output {
        plan.write(path)?;
    }
    if args.pareto {
        let seconds = start.elapsed().as_secs_f64();
        return Output::new(frontier_table(&frontier), &ParetoJson { seconds, pareto: &frontier });
    }
    Output::new(
        text(&plan, args.reversed, seconds)?,
        &PlanJson { seconds, proven: plan.is_proven(), plan: &plan },
    )
}

impl Args {
    /// Refuses what can be refused without indicators, which may take long to find.
    fn check(&self) -> anyhow::Result<PlanOptions> {
        for (path, option) in [(&self.output, "-o"), (&self.report, "--report")] {
            path.iter().try_for_each(|path| check_writable(path, option))?;
        }
        let options = PlanOptions { alpha: self.alpha, outliers: self.outliers, reversed: self.reversed };
        options.check()?;
        self.budgets.budgets(0).check()?;
        Ok(options)
    }

    /// Refuses budgets that no plan keeps, whatever the figures of the candidates turn out to be.
    fn check_feasible(&self, candidates: &Indicators, options: &PlanOptions) -> anyhow::Result<()> {
        let budgets = self.budgets.budgets(candidates.multiplications());
        let without_file = Budgets { max_size: None, compression_ratio: None, ..budgets.clone() };
        fgq::plan(candidates, &without_file, options)?;
        fgq::plan(candidates, &budgets, options).context("even if the file held nothing but weights")?;
        Ok(())
    }
}

fn frontier_table(frontier: &[FrontierPoint]) -> Table {
    let mut table =
        Table::new(&[Column::Right("bytes"), Column::Right("bits per weight"), Column::Right("damage")]);
    for point in frontier {
        table.row([
            grouped(point.bytes as usize),
            format!("{:.3}", point.mean_bits),
            format!("{:.6}", point.objective),
        ]);
    }
    table
}

fn text(plan: &Plan, reversed: bool, seconds: f64) -> Result<String, std::fmt::Error> {
    let mut text = layer_table(plan).to_string();
    let uses = &plan.uses;
    let proven = if plan.is_proven() { "" } else { ", not proven" };
    writeln!(text)?;
    let which = if reversed { "the most with the budgets used up" } else { "the least within the budgets" };
    writeln!(text, "predicted damage   {:.6} ({which}{proven})", plan.objective)?;
    writeln!(text, "bytes              {}", grouped(uses.bytes as usize))?;
    writeln!(text, "bits per weight    {:.3}", uses.mean_bits)?;
    writeln!(text, "compression ratio  {:.3}", uses.compression_ratio)?;
    writeln!(text, "bit operations     {}", grouped(uses.bit_ops as usize))?;
    writeln!(text, "multiplications    {}", grouped(uses.multiplications as usize))?;
    if let (Some(largest), Some(total)) = (uses.largest_activation, uses.total_activation) {
        let (largest, total) = (grouped(largest as usize), grouped(total as usize));
        writeln!(text, "activation bytes   {largest} in the largest, {total} in all")?;
    }
    writeln!(text, "seconds            {seconds:.3}")?;
    Ok(text)
}

fn layer_table(plan: &Plan) -> Table {
    let mut table = Table::new(&[
        Column::Left("layer"),
        Column::Right("parameters"),
        Column::Left("weights"),
        Column::Right("bits"),
        Column::Right("activations"),
        Column::Right("damage"),
    ]);
    for layer in &plan.layers {
        table.row([
            layer.name.clone(),
            grouped(layer.parameters as usize),
            layer.weights.clone(),
            format!("{:.3}", layer.weight_bits),
            layer.activation_bits.to_string(),
            format!("{:.6}", layer.damage),
        ]);
    }
    table
}
