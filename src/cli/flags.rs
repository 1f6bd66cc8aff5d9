//! The library speaks of fields, users of the command of options.

use regex_lite::{Captures, Regex};

/// Fields and functions that messages of the library name between backticks, and what they are in the command.
const NAMES: [(&str, &str); 31] = [
    ("activation_bits", "--act-bits"),
    ("agreement", "--keep"),
    ("batch", "--batch"),
    ("bit_ops", "--bitops"),
    ("bits", "--bits"),
    ("compression_ratio", "--compression-ratio"),
    ("epochs", "--epochs"),
    ("fixed", "--fixed"),
    ("group", "--group"),
    ("indicate", "`fgq plan MODEL --calib DIR`"),
    ("input_size", "--input-size"),
    ("levels.activation", "--activation-level"),
    ("levels.weight", "--weight-level"),
    ("max_drop", "--max-drop"),
    ("max_largest_activation", "--max-largest-activation"),
    ("max_multiplications", "--max-multiplications"),
    ("max_size", "--max-size"),
    ("max_total_activation", "--max-total-activation"),
    ("mean_bits", "--mean-bits"),
    ("method", "--method"),
    ("minutes", "--minutes"),
    ("mix", "--mix"),
    ("opset", "--opset"),
    ("overrides", "--set"),
    ("plan", "--plan"),
    ("precisions", "--precisions"),
    ("prefix", "--prefix"),
    ("rate", "--rate"),
    ("rules", "--act"),
    ("smoothing", "--smoothing"),
    ("temperature", "--temperature"),
];

/// A message with options in place of fields: `` `max_size = 7` `` becomes `--max-size 7`.
pub fn in_flags(message: &str) -> String {
    let Ok(quoted) = Regex::new("`([a-z_.]+)(?: = ([^`]*))?`") else { return message.to_owned() };
    let flag = |found: &Captures| {
        let known = NAMES.into_iter().find(|(name, _)| *name == &found[1]);
        match (known, found.get(2)) {
            (Some((_, flag)), Some(value)) => format!("{flag} {}", value.as_str()),
            (Some((_, flag)), None) => flag.to_owned(),
            (None, _) => found[0].to_owned(),
        }
    };
    quoted.replace_all(message, flag).into_owned()
}

#[cfg(test)]
mod tests {
    use super::in_flags;

    #[test]
    fn fields_become_options() {
        for (message, expected) in [
            (
                "no plan reaches `max_size = 7`; nearest is `max_size = 66`",
                "no plan reaches --max-size 7; nearest is --max-size 66",
            ),
            ("`overrides` 'x.*' matches no layer", "--set 'x.*' matches no layer"),
            ("`overrides = 'a=int8'`, a smaller `group`", "--set 'a=int8', a smaller --group"),
            ("finish with `indicate`", "finish with `fgq plan MODEL --calib DIR`"),
            ("use `fgq convert` or `unknown`", "use `fgq convert` or `unknown`"),
            ("layer 'a`b': `max_size`", "layer 'a`b': --max-size"),
            ("max_size", "max_size"),
            ("", ""),
        ] {
            assert_eq!(in_flags(message), expected);
        }
    }
}
