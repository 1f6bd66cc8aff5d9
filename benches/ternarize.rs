//! Speed of `ternarize_tensor` on two threads, in bytes of `f32` read, beside the sum of the same weights: what memory
//! allows.

use criterion::{Criterion, SamplingMode, Throughput};
use fgq::{TernarizeOptions, ternarize_tensor};
use ndarray::{Array4, ArrayView4};
use rayon::prelude::*;
use std::hint::black_box;

/// Shapes with 102 MB (the weights of ResNet-50) and 64 MB.
const SHAPES: [[usize; 4]; 2] = [[1408, 2016, 3, 3], [4096, 4096, 1, 1]];

fn main() -> Result<(), rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global()?;
    let mut criterion = Criterion::default().configure_from_args();
    SHAPES.into_iter().for_each(|shape| measure(&mut criterion, shape));
    criterion.final_summary();
    Ok(())
}

fn measure(criterion: &mut Criterion, shape: [usize; 4]) {
    let weights = weights(shape);
    let mut group = criterion.benchmark_group(format!("{shape:?}"));
    group.throughput(Throughput::Bytes(4 * weights.len() as u64));
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.bench_function("sum", |bencher| bencher.iter(|| sum(black_box(weights.view()))));
    for size in [4, 64] {
        let options = TernarizeOptions::group(size);
        let run = || ternarize_tensor(black_box(weights.view()), &options);
        group.bench_function(format!("N={size}"), |bencher| bencher.iter(run));
    }
    group.finish();
}

/// Deterministic weights with a triangular distribution.
fn weights(shape: [usize; 4]) -> Array4<f32> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u32 << 24) as f32
    };
    Array4::from_shape_simple_fn(shape, || uniform() - uniform())
}

fn sum(weights: ArrayView4<f32>) -> f32 {
    let sums = weights.as_slice().unwrap_or_default().par_chunks(1 << 16).map(|part| {
        let mut lanes = [0.0f32; 64];
        for block in part.as_chunks::<64>().0 {
            lanes.iter_mut().zip(block).for_each(|(lane, weight)| *lane += weight);
        }
        lanes.iter().sum::<f32>()
    });
    sums.sum()
}
