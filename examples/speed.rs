//! Times a model: `speed MODEL.fgq THREADS [RUNS]`.
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
        times.sort_by(f64::total_cmp);
        println!(
            "{} {} threads: min {:.2} median {:.2} ms; prepared in {:.1} ms; {sum}",
            fgq::Kernels::from_env().unwrap().name(), args[2], times[0], times[times.len() / 2], load.as_secs_f64() * 1e3
        );
    });
}
