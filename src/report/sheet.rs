//! Tables that can be sorted and searched, with bars behind the numbers.

use super::text::{NONE, escaped};
use std::fmt::Write;

/// Title and content of a column.
#[derive(Debug, Clone, Copy)]
pub(super) enum SheetColumn {
    Words(&'static str),
    Number(&'static str),
    /// Numbers from zero up, each with a bar in proportion.
    Bar(&'static str),
}

/// What stands in a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SheetCell {
    text: String,
    value: Option<f64>,
}

impl SheetCell {
    pub(super) fn words(text: impl Into<String>) -> Self {
        Self { text: text.into(), value: None }
    }

    /// A number and how it is shown, if it is known.
    pub(super) fn number(value: Option<f64>, show: impl FnOnce(f64) -> String) -> Self {
        let value = value.filter(|value| value.is_finite());
        Self { text: value.map_or_else(|| NONE.to_owned(), show), value }
    }
}

/// A table.
#[derive(Debug)]
pub(super) struct Sheet {
    /// What the rows are, in the plural.
    things: &'static str,
    columns: Vec<SheetColumn>,
    rows: Vec<Vec<SheetCell>>,
}

impl SheetColumn {
    fn title(self) -> &'static str {
        match self {
            Self::Words(title) | Self::Number(title) | Self::Bar(title) => title,
        }
    }

    fn class(self) -> &'static str {
        if matches!(self, Self::Words(_)) { " class=\"words\"" } else { "" }
    }
}

impl Sheet {
    pub(super) fn new(things: &'static str, columns: &[SheetColumn]) -> Self {
        Self { things, columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl Into<Vec<SheetCell>>) {
        self.rows.push(cells.into());
    }

    /// The table without the columns that say nothing; nothing if there are no rows.
    pub(super) fn to_html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let columns: Vec<usize> = (0..self.columns.len()).filter(|&at| self.says_something(at)).collect();
        let things = self.things;
        let heads: String = columns.iter().map(|&at| self.head(at)).collect();
        let most: Vec<f64> = columns.iter().map(|&at| self.most(at)).collect();
        let row = |row: &Vec<SheetCell>| {
            let cells: String = columns
                .iter()
                .zip(&most)
                .filter_map(|(&at, &most)| self.cell(at, row.get(at)?, most))
                .collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = self.rows.iter().map(row).collect();
        format!(
            "<div class=\"sheet\"><p class=\"tools\"><label>Search {things} <input type=\"search\"></label>\
             <span role=\"status\"></span></p><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of \
             {things}\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div></div>\n"
        )
    }

    fn says_something(&self, column: usize) -> bool {
        let cells = || self.rows.iter().filter_map(|row| row.get(column));
        match self.columns[column] {
            SheetColumn::Words(_) => cells().any(|cell| !cell.text.is_empty()),
            _ => cells().any(|cell| cell.value.is_some()),
        }
    }

    fn most(&self, column: usize) -> f64 {
        let values = self.rows.iter().filter_map(|row| row.get(column)?.value);
        values.fold(f64::MIN_POSITIVE, f64::max)
    }

    fn head(&self, column: usize) -> String {
        let (title, class) = (self.columns[column].title(), self.columns[column].class());
        format!("<th scope=\"col\"{class} aria-sort=\"none\"><button type=\"button\">{title}</button></th>")
    }

    fn cell(&self, column: usize, cell: &SheetCell, most: f64) -> Option<String> {
        let (text, class) = (escaped(&cell.text), self.columns[column].class());
        let mut out = format!("<td{class}");
        if let Some(value) = cell.value {
            write!(out, " data-value=\"{value}\"").ok()?;
            if matches!(self.columns[column], SheetColumn::Bar(_)) {
                write!(
                    out,
                    " class=\"bar\" style=\"--part:{:.1}%\"",
                    (100.0 * value / most).clamp(0.0, 100.0)
                )
                .ok()?;
            }
        }
        Some(format!("{out}>{text}</td>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_say_nothing_are_left_out() {
        let mut sheet = Sheet::new(
            "things",
            &[
                SheetColumn::Words("name"),
                SheetColumn::Bar("size"),
                SheetColumn::Number("time"),
                SheetColumn::Words("why"),
            ],
        );
        assert_eq!(sheet.to_html(), "");
        for (name, size) in [("<i>", 1.0), ("b", f64::NAN), ("c", 4.0)] {
            let time = SheetCell::number(None, |_| String::new());
            sheet.row([
                SheetCell::words(name),
                SheetCell::number(Some(size), |it| it.to_string()),
                time,
                SheetCell::words(""),
            ]);
        }
        let html = sheet.to_html();
        assert!(html.contains("&lt;i&gt;") && html.contains("--part:25.0%") && html.contains("\u{2013}"));
        assert!(
            !html.contains("<i>") && !html.contains("time") && !html.contains("why") && !html.contains("NaN")
        );
    }
}
