//! Tables with aligned columns.

use std::fmt;

/// A column's title and the side its cells are aligned to.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// Rows of cells under titles.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([self.columns[column].title().chars().count()]).max().unwrap_or(0)
    }
}

impl Column {
    fn title(&self) -> &'static str {
        match self {
            Self::Left(title) | Self::Right(title) => title,
        }
    }

    fn align(&self, cell: &str, width: usize) -> String {
        match self {
            Self::Left(_) => format!("{cell:<width$}"),
            Self::Right(_) => format!("{cell:>width$}"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let titles = self.columns.iter().map(|column| column.title().to_owned()).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let cells = self.columns.iter().zip(&widths).enumerate();
            let cells = cells.map(|(i, (column, &width))| column.align(row.get(i).map_or("", |c| c), width));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[Column::Left("name"), Column::Right("n"), Column::Left("why")]);
        table.row(["a".into(), "1000".into()]);
        table.row(["längere".into(), "1".into(), "x".into()]);
        assert_eq!(table.to_string(), "name        n  why\na        1000\nlängere     1  x\n");
    }
}
