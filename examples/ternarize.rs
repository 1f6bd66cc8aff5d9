//! Ternarizes every weight tensor of a safetensors file: `ternarize MODEL.safetensors [GROUP]`.

#![allow(clippy::disallowed_methods)]

use fgq::{TernarizeOptions, ternarize_tensor};
use ndarray::ArrayD;
use safetensors::{Dtype, SafeTensors};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: ternarize MODEL.safetensors [GROUP]")?;
    let group = arguments.next().map_or(Ok(4), |group| group.parse())?;
    let bytes = std::fs::read(path)?;
    let (mut total, mut weights) = (Duration::ZERO, 0);
    let file = SafeTensors::deserialize(&bytes)?;
    let mut tensors: Vec<_> = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, tensor) in tensors {
        if tensor.dtype() != Dtype::F32 || tensor.shape().len() < 2 {
            continue;
        }
        let (words, _) = tensor.data().as_chunks::<4>();
        let values = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        let array = ArrayD::from_shape_vec(tensor.shape(), values)?;
        let start = Instant::now();
        let ternary = ternarize_tensor(array.view(), &TernarizeOptions::group(group))?;
        total += start.elapsed();
        weights += array.len();
        let (error, zeros) = (100.0 * ternary.relative_error(), 100.0 * ternary.zero_share());
        println!("{name:32} {:?} error {error:.1}% zeros {zeros:.1}%", tensor.shape());
    }
    println!("{weights} weights in {:.3} s, group size {group}", total.as_secs_f64());
    Ok(())
}
