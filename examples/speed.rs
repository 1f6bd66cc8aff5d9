//! Times a model: `speed MODEL.fgq THREADS [RUNS]`.
#![allow(clippy::unwrap_used, clippy::precedence)]
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let model = fgq::read_model(args[1].as_ref()).unwrap();
    let t = Instant::now();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args[2].parse().unwrap()).build().unwrap();
    let runs = args.get(3).map_or(30, |r| r.parse().unwrap());
    pool.install(|| {
        let session = fgq::Session::new(&model).unwrap();
        let load = t.elapsed();
        let pixels: Vec<u8> = (0..session.input().len()).map(|i| (i * 7919 >> 3) as u8).collect();
        let mut sum = 0i64;
        let mut times: Vec<f64> = (0..runs)
            .map(|_| {
                let t = Instant::now();
                sum += session.run(&pixels).unwrap().data.iter().map(|&x| i64::from(x)).sum::<i64>();
                t.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        if args.len() > 4 {
            let mut best = vec![std::time::Duration::MAX; model.nodes.len()];
            for _ in 0..runs {
                for (b, t) in best.iter_mut().zip(session.run_timed(&pixels).unwrap().1) {
                    *b = t.min(*b);
                }
            }
            let shapes = model.shapes().unwrap();
            for ((node, shape), best) in model.nodes.iter().zip(&shapes).zip(best) {
                let macs = match &node.op {
                    fgq::PackedOp::Conv(c) => shape.positions() * c.outputs * c.channel_len(),
                    _ => 0,
                };
                println!(
                    "{:40} {shape:>14} {:8.1} us {:8.0} GMAC/s",
                    node.name,
                    best.as_secs_f64() * 1e6,
                    macs as f64 / best.as_secs_f64() / 1e9
                );
            }
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{} {} threads: min {:.2} median {:.2} ms; prepared in {:.1} ms; {sum}",
            fgq::Kernels::from_env().unwrap().name(),
            args[2],
            times[0],
            times[times.len() / 2],
            load.as_secs_f64() * 1e3
        );
    });
}
