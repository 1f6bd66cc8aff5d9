//! Where full-precision networks come from: model files that become a graph.

mod safetensors;

/// What a model file leaves open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Height and width of the input, for files that do not fix them.
    pub input_size: Option<[usize; 2]>,
    /// Name of the architecture whose weights a safetensors file holds.
    pub architecture: Option<String>,
}
