//! `fgq info`: what this program and this machine can do.

use super::output::Output;
use fgq::{Kernels, PRESETS};
use serde::Serialize;

#[derive(Serialize)]
struct Info {
    version: &'static str,
    target: String,
    cpu_features: Vec<&'static str>,
    threads: usize,
    kernels: &'static str,
    architectures: Vec<&'static str>,
    presets: [&'static str; 8],
}

/// Version, CPU, kernels, architectures and presets.
pub fn run() -> anyhow::Result<Output> {
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        cpu_features: cpu_features(),
        threads: rayon::current_num_threads(),
        kernels: Kernels::from_env()?.name(),
        architectures: fgq::architectures(),
        presets: PRESETS,
    };
    Output::new(info.text(), &info)
}

impl Info {
    fn text(&self) -> String {
        let features = match self.cpu_features.is_empty() {
            true => "none that matter here".to_owned(),
            false => self.cpu_features.join(" "),
        };
        let lines = [
            ("fgq", self.version.to_owned()),
            ("target", self.target.clone()),
            ("CPU features", features),
            ("threads", self.threads.to_string()),
            ("kernels", format!("{} (FGQ_KERNELS=NAME chooses others)", self.kernels)),
            ("architectures", self.architectures.join(" ")),
            ("presets", self.presets.join(" ")),
        ];
        lines.map(|(key, value)| format!("{key:<15}{value}\n")).concat()
    }
}

/// Names of the features that integer or float kernels can use and this CPU has.
macro_rules! detected {
    ($detect:ident: $($feature:tt),+) => {
        [$(($feature, std::arch::$detect!($feature))),+].iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect()
    };
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    detected!(is_x86_feature_detected: "sse4.1", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512vnni", "avxvnni")
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<&'static str> {
    detected!(is_aarch64_feature_detected: "neon", "dotprod", "i8mm", "sve")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}
