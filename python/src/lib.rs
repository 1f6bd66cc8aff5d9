//! What Python sees of fgq: the library's public interface, with arrays and exceptions. Everything that only Python knows
//! (modules of PyTorch, iterables, progress bars) is in the package around it.

mod convert;
mod errors;
mod evaluate;
mod images;
mod model;
mod network;
mod plan;
mod pool;
mod preprocess;
mod session;
mod ternarize;
mod training;
mod work;

use pyo3::prelude::*;

#[pymodule]
mod _fgq {
    #[cfg(feature = "command")]
    #[pymodule_export]
    use super::command_line;
    #[pymodule_export]
    use super::convert::convert;
    #[pymodule_export]
    use super::evaluate::{answers, evaluate, evaluate_network, evaluation};
    #[pymodule_export]
    use super::images::Images;
    #[pymodule_export]
    use super::model::{Model, is_packed_model};
    #[pymodule_export]
    use super::network::Network;
    #[pymodule_export]
    use super::plan::{Plan, join_indicators, partial_indicators, plan, plannable_layers};
    #[pymodule_export]
    use super::preprocess::{Preprocess, crop_of};
    #[pymodule_export]
    use super::session::Session;
    #[pymodule_export]
    use super::ternarize::ternarize_tensor;
    #[pymodule_export]
    use super::training::{layer_states, repack};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

/// The command `fgq` with the arguments of a process; its exit code.
#[cfg(feature = "command")]
#[pyfunction]
fn command_line(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| fgq::command_line(arguments))
}
