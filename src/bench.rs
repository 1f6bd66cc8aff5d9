//! How fast a packed model runs, node by node, against what the machine can do.

use crate::clock::Instant;
use crate::error::Result;
#[cfg(feature = "train")]
use crate::fold::fold;
use crate::format::{PackedId, PackedModel, PackedNode, PackedOp};
use crate::graph::{Graph, Interpreter};
use crate::runtime::{Kernels, Session};
use crate::tensor::Shape;
#[cfg(feature = "train")]
use crate::train::Supervised;
use std::time::Duration;

/// Runs before the first one that counts.
const WARM_UP: usize = 3;
/// How long one measurement of the peak takes, about.
const PEAK_TIME: Duration = Duration::from_millis(1);

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchOptions {
    /// Runs that count, at least one.
    pub runs: usize,
    /// Chooses the pixels.
    pub seed: u64,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { runs: 30, seed: 0 }
    }
}

/// What a benchmark measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Bench {
    /// The kernels that ran.
    pub kernels: Kernels,
    /// Number of threads.
    pub threads: usize,
    /// Products per second that all threads reach together with these kernels' multiplications alone.
    pub peak: f64,
    /// Time of each whole run, in order.
    pub runs: Vec<Duration>,
    /// All nodes, in execution order.
    pub layers: Vec<BenchLayer>,
    /// Where a setting was asked for.
    pub switching: Option<SwitchTimes>,
}

/// How long a session takes to switch from full width to a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchTimes {
    /// For the first time, when weights are expanded.
    pub first: Duration,
    /// When all is there; the median over the runs.
    pub back: Duration,
}

/// What one node of the model costs.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchLayer {
    /// Name of its node.
    pub name: String,
    /// What it does: `conv`, `max_pool`, …
    pub operator: &'static str,
    /// Name of the node whose kernel writes it too, in that node's time, if it has none of its own.
    pub with: Option<String>,
    /// Shape of its result.
    pub shape: Shape,
    /// Products of a weight and an activation, padding included.
    pub products: usize,
    /// Bytes of weights as its kernel reads them.
    pub weight_bytes: usize,
    /// Bytes of activations that it reads, each counted once.
    pub input_bytes: usize,
    /// Bytes of activations or logits that it writes.
    pub output_bytes: usize,
    /// Median over the runs. All nodes are timed within one run, so what one leaves in the caches helps the next.
    pub time: Duration,
}

impl Bench {
    /// Median time of a whole run.
    pub fn median(&self) -> Duration {
        median(self.runs.clone())
    }

    /// Shortest time of a whole run.
    pub fn shortest(&self) -> Duration {
        self.runs.iter().min().copied().unwrap_or_default()
    }

    /// Products of one run.
    pub fn products(&self) -> usize {
        self.layers.iter().map(|layer| layer.products).sum()
    }
}

impl BenchLayer {
    /// All bytes read and written.
    pub fn bytes(&self) -> usize {
        self.weight_bytes + self.input_bytes + self.output_bytes
    }
}

/// Times a model, at a setting if it switches, on one image of noise, with the kernels that `FGQ_KERNELS` names or the
/// fastest ones.
///
/// Whole runs come first, one after another. Then runs that are timed node by node take turns with measurements of the
/// peak, so that a machine that others disturb disturbs both alike.
///
/// # Errors
/// As [`Session::new`] and [`Session::set`].
pub fn bench(model: &PackedModel, setting: Option<&str>, options: &BenchOptions) -> Result<Bench> {
    let mut session = Session::new(model)?;
    let switching = setting.map(|setting| switch(&mut session, setting, options)).transpose()?;
    let pixels = noise(options.seed, session.input().len());
    let mut runs = Vec::new();
    for run in 0..WARM_UP + options.runs.max(1) {
        let start = Instant::now();
        session.run(&pixels)?;
        if run >= WARM_UP {
            runs.push(start.elapsed());
        }
    }
    let (mut times, mut peaks) = (model.nodes.map(|_| Vec::new()), Vec::new());
    for _ in 0..options.runs.max(1) {
        peaks.push(peak(session.kernels()));
        let (_, run) = session.run_timed(&pixels)?;
        let run = run.into_iter().chain(std::iter::repeat(Duration::ZERO));
        times.iter_mut().zip(run).for_each(|(times, time)| times.push(time));
    }
    peaks.sort_by(f64::total_cmp);
    let layers = layers(model, &session, times.into_iter().map(median))?;
    let threads = rayon::current_num_threads();
    let peak = peaks[peaks.len() / 2];
    Ok(Bench { kernels: session.kernels(), threads, peak, runs, layers, switching })
}

/// Brings a session that was just made to a setting, and times that.
fn switch(session: &mut Session, setting: &str, options: &BenchOptions) -> Result<SwitchTimes> {
    let timed = |session: &mut Session| {
        let start = Instant::now();
        session.set(setting).map(|()| start.elapsed())
    };
    let first = timed(session)?;
    let full = session.widths().last().copied().unwrap_or_default();
    let mut back = Vec::new();
    for _ in 0..options.runs.max(1) {
        session.set_bits(None, full)?;
        back.push(timed(session)?);
    }
    Ok(SwitchTimes { first, back: median(back) })
}

/// Times the full-precision network on one image of noise, as often as `options` say.
///
/// # Errors
/// As [`Interpreter::new`].
pub fn bench_reference(graph: &Graph, options: &BenchOptions) -> Result<Vec<Duration>> {
    let interpreter = Interpreter::new(graph)?;
    let len = graph.input.len();
    let image = real_noise(options.seed, len);
    interpreter.run(&image)?;
    let run = |_| {
        let start = Instant::now();
        interpreter.run(&image).map(|_| start.elapsed())
    };
    (0..options.runs.max(1)).map(run).collect()
}

/// Times steps of training in full precision on `batch` images of noise: forward, cross entropy, backward, stochastic gradient
/// descent with momentum. Batch normalization is folded before; one step comes first that does not count.
///
/// # Errors
/// As [`fold`] and [`Interpreter::new`]; values that are not finite.
#[cfg(feature = "train")]
pub fn bench_training(graph: Graph, batch: usize, options: &BenchOptions) -> Result<Vec<Duration>> {
    let graph = fold(graph)?;
    let mut network = Supervised::new(&graph)?;
    let classes = graph.shapes()?[graph.output].len();
    let (length, seeds) = (graph.input.len(), options.seed..options.seed + batch.max(1) as u64);
    let labels: Vec<usize> = seeds.clone().map(|seed| seed as usize % classes).collect();
    let images: Vec<Vec<f32>> = seeds.map(|seed| real_noise(seed, length)).collect();
    let step = |_| {
        let images = images.clone();
        let start = Instant::now();
        network.step(images, &labels, 1e-6).map(|_| start.elapsed())
    };
    let times: Vec<Duration> = (0..=options.runs.max(1)).map(step).collect::<Result<_>>()?;
    Ok(times[1..].to_vec())
}

/// The middle one, the later of two.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn layers(
    model: &PackedModel,
    session: &Session,
    times: impl Iterator<Item = Duration>,
) -> Result<Vec<BenchLayer>> {
    let (shapes, weights, with) = (model.shapes()?, session.weight_bytes(), session.written_with());
    let nodes = model.nodes.enumerate().zip(&shapes).zip(times);
    let layer = |(((id, node), &shape), time): (((PackedId, &PackedNode), &Shape), Duration)| BenchLayer {
        name: node.name.clone(),
        operator: node.op.name(),
        with: with[id].map(|maker| model.nodes[maker].name.clone()),
        shape,
        products: products(node, shape),
        weight_bytes: weights.get(id).copied().unwrap_or(0),
        input_bytes: node.inputs.iter().map(|&input| shapes[input].len()).sum(),
        output_bytes: shape.len() * if model.nodes.is_last(id) { size_of::<i32>() } else { 1 },
        time,
    };
    Ok(nodes.map(layer).collect())
}

fn products(node: &PackedNode, shape: Shape) -> usize {
    match &node.op {
        PackedOp::Conv(conv) => shape.len() * conv.channel_len(),
        _ => 0,
    }
}

/// Products per second of all threads together.
fn peak(kernels: Kernels) -> f64 {
    let rates = rayon::broadcast(|_| {
        let (start, mut rounds, mut products) = (Instant::now(), 1, 0);
        while start.elapsed() < PEAK_TIME {
            products += kernels.multiply(rounds);
            rounds = (2 * rounds).min(1 << 10);
        }
        products as f64 / start.elapsed().as_secs_f64()
    });
    rates.iter().sum()
}

/// Bytes by a multiplicative generator (splitmix64).
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The same between −2 and 2.
fn real_noise(seed: u64, len: usize) -> Vec<f32> {
    noise(seed, len).iter().map(|&byte| f32::from(byte) / 64.0 - 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::arbitrary::model;

    #[test]
    fn every_node_is_timed_and_counted() {
        for seed in 0..20 {
            let model = model(seed);
            let bench = bench(&model, None, &BenchOptions { runs: 2, seed }).unwrap();
            assert_eq!((bench.layers.len(), bench.runs.len()), (model.nodes.len(), 2));
            assert!(bench.peak > 0.0 && bench.shortest() <= bench.median());
            for (layer, node) in bench.layers.iter().zip(&model.nodes) {
                let is_conv = matches!(node.op, PackedOp::Conv(_));
                assert_eq!((layer.products > 0, layer.weight_bytes > 0), (is_conv, is_conv), "{layer:?}");
                assert!(layer.output_bytes >= layer.shape.len());
                assert!(layer.with.is_none() || (node.op.name() == "narrow" && layer.time.is_zero()));
            }
        }
    }

    #[test]
    fn noise_is_that_of_its_seed() {
        assert_ne!(noise(7, 100), noise(8, 100));
        // splitmix64 from 0 begins with e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f.
        assert_eq!(noise(0, 3), [0xe2, 0x6e, 0x06]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let times = [5, 1, 9, 2, 7].map(Duration::from_millis);
        assert_eq!(median(times.to_vec()), Duration::from_millis(5));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
