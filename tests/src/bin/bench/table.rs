//! Aligned columns of text.

use std::fmt;

/// A table: text to the left, numbers to the right.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self { title: title.into(), rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it has nothing but its header.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\n{}", self.title)?;
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let is_numeric = |column: usize| {
            self.rows.iter().skip(1).filter_map(|row| row.get(column)).all(|cell| is_number(cell))
        };
        let numeric: Vec<bool> = (0..columns).map(is_numeric).collect();
        for row in &self.rows {
            let mut line = String::from(" ");
            for ((cell, width), right) in row.iter().zip(&widths).zip(&numeric) {
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
                line.push(' ');
                line += &if *right { padding + cell } else { cell.clone() + &padding };
                line.push(' ');
            }
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.bytes().all(|byte| byte.is_ascii_digit() || b".,".contains(&byte))
}

/// A number with as many digits as it deserves.
pub(crate) fn number(value: impl Into<Option<f64>>) -> String {
    match value.into() {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => grouped(value.round()),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// A whole number with its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digit.is_ascii_digit() && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let mut table = Table::new("Title", &["name", "a second"]);
        table.row(["one".to_owned(), number(1234.4)]);
        table.row(["another".to_owned(), number(None)]);
        assert_eq!(
            table.to_string(),
            "\nTitle\n  name     a second\n  one         1,234\n  another         -\n"
        );
    }

    #[test]
    fn numbers_have_the_digits_they_deserve() {
        let written = [0.0, 0.123, 12.34, 123.4, 1_234_567.0].map(number);
        assert_eq!(written, ["0.00", "0.12", "12.3", "123", "1,234,567"]);
    }
}
