//! Pieces of C.

use std::fmt::{Display, Write};

/// Longest line of numbers.
const WIDTH: usize = 110;

/// A constant array; empty ones are written with one zero, which C wants.
pub(super) fn array<T: Display>(kind: &str, name: &str, values: &[T]) -> String {
    let mut text = format!("static const {kind} {name}[{}] = {{", values.len().max(1));
    let mut line = WIDTH;
    for value in values {
        let number = format!("{value}, ");
        if line + number.len() > WIDTH {
            text.push_str("\n    ");
            line = 4;
        }
        line += number.len();
        text.push_str(&number);
    }
    if values.is_empty() {
        text.push('0');
    }
    let end = text.trim_end().trim_end_matches(',').len();
    text.truncate(end);
    text.push_str("\n};\n");
    text
}

/// An `int32_t` constant; the least cannot be written as it is.
pub(super) fn number(value: i32) -> String {
    match value {
        i32::MIN => "-2147483647 - 1".to_owned(),
        _ => value.to_string(),
    }
}

/// What remains of a name in a comment.
pub(super) fn harmless(name: &str) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || "._-:".contains(c) { c } else { '_' };
    name.chars().map(harmless).collect()
}

/// A structure's constant: fields and values.
pub(super) fn structure(kind: &str, name: &str, fields: &[(&str, String)]) -> String {
    let mut text = format!("static const struct {kind} {name} = {{\n");
    for (field, value) in fields {
        let _ = writeln!(text, "    .{field} = {value},");
    }
    text.push_str("};\n");
    text
}
