//! Times steps of training in full precision: for each line on stdin, that many; answers with their median in milliseconds.
//!
//! `cargo bench --bench train_step -- NET.onnx BATCH THREADS`, as `benches/train_peers.py` does it.

use fgq::{BenchOptions, LoadOptions, bench_training, load, median};
use std::error::Error;
use std::io::stdin;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [network, batch, threads] = arguments.as_slice() else {
        return Err("give NET.onnx BATCH THREADS".into());
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let graph = load(Path::new(network), &LoadOptions::default())?.graph;
    println!("ready");
    for line in stdin().lines() {
        let options = BenchOptions { runs: line?.parse()?, seed: 0 };
        let steps = bench_training(graph.clone(), batch.parse()?, &options)?;
        println!("{}", 1e3 * median(steps).as_secs_f64());
    }
    Ok(())
}
