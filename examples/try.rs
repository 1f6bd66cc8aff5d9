//! scratch
use fgq::*;
use std::path::Path;
struct P(std::time::Instant);
impl Progress for P {
    fn start(&self, s: &str, n: usize) {
        eprintln!("{:?} {s} {n}", self.0.elapsed());
    }
    fn advance(&self, _: usize) {}
}
fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let loaded = load(Path::new(&a[1]), &LoadOptions::default())?;
    let g = loaded.graph;
    let base = Preprocess::default_for(g.input.channels, g.input.height, g.input.width)?;
    let pre = if a[1].contains("squeeze") { Preprocess::preset("caffe")? } else { base };
    let calib = Dataset::unlabelled(Path::new(&a[2]))?.spread(a[6].parse().unwrap_or(1000));
    let t = std::time::Instant::now();
    let mut o = ConvertOptions {
        group: a[4].parse().unwrap_or(4),
        activation_bits: a[5].parse().unwrap_or(8),
        ..Default::default()
    };
    if a[4] == "int8" {
        o.overrides.push((".*".parse()?, Precision::Int8));
    }
    let c = convert(g.clone(), &pre, &calib, &o, &P(t))?;
    println!("converted in {:?}", t.elapsed());
    let w = write_model(&c.model, Path::new("/tmp/x.fgq"))?;
    println!("{w:?}");
    let m = read_model(Path::new("/tmp/x.fgq"))?;
    let test = Dataset::labelled(Path::new(&a[3]), None, if a[1].contains("squeeze") { 1000 } else { 10 })?;
    let e = evaluate(&m, &test, Some(&g), &())?;
    let x = e.comparison.unwrap();
    println!(
        "top1 {} ref {} agree {} ips {}",
        e.accuracy.top1_percent(),
        x.reference.top1_percent(),
        x.agreement_percent(),
        e.images_per_second
    );
    Ok(())
}
