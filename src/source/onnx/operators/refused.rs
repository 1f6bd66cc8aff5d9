//! Operators that are known but not supported, with what to do about them.

const QUANTIZED: &str = "the model is already quantized; give the float model it was made from";
const DETECTION: &str = "it belongs after the logits; export the model without its post-processing";
const CONTROL: &str =
    "control flow has to be resolved; export the model by tracing, or simplify it with onnxsim";
const SEQUENCE: &str = "fgq converts feed-forward convolutional networks";

const REMEDIES: &[(&str, &[&str])] = &[
    (
        QUANTIZED,
        &[
            "QuantizeLinear",
            "DequantizeLinear",
            "DynamicQuantizeLinear",
            "ConvInteger",
            "MatMulInteger",
            "QLinearConv",
            "QLinearMatMul",
        ],
    ),
    (DETECTION, &["ArgMax", "ArgMin", "TopK", "NonMaxSuppression", "NonZero"]),
    (CONTROL, &["If", "Loop", "Scan"]),
    (SEQUENCE, &["LSTM", "GRU", "RNN", "Attention", "Einsum"]),
    ("only networks that never enlarge their maps are converted", &["ConvTranspose", "Resize", "Upsample"]),
    ("replace it by BatchNormalization, or export another network", &["LRN", "LpNormalization"]),
];

/// Why the operator called `name` is refused, and the remedy.
pub(super) fn reason(name: &str) -> String {
    let remedy = REMEDIES.iter().find(|(_, names)| names.contains(&name)).map(|(remedy, _)| *remedy);
    let remedy =
        remedy.unwrap_or("simplify the model (onnxsim) or replace the operator; docs/operators.md lists all");
    format!("the operator is not supported; {remedy}")
}
