//! Aligned columns of text.

use std::fmt::{self, Display};

/// A table: text to the left, numbers to the right.
pub(crate) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<'a>(title: &str, header: impl IntoIterator<Item = &'a str>) -> Self {
        let header = header.into_iter().map(str::to_owned).collect();
        Self { title: title.to_owned(), rows: vec![header] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl Display for Table {
    /// Writes nothing when there are no rows below the header.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [header, body @ ..] = &self.rows[..] else { return Ok(()) };
        if body.is_empty() {
            return Ok(());
        }
        let column = |at: usize| self.rows.iter().filter_map(move |row| row.get(at));
        let widths: Vec<usize> = (0..header.len())
            .map(|at| column(at).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        let numeric: Vec<bool> =
            (0..header.len()).map(|at| column(at).skip(1).all(|cell| is_number(cell))).collect();
        writeln!(formatter, "\n{}", self.title)?;
        for row in &self.rows {
            let cells = row.iter().zip(&widths).zip(&numeric).map(|((cell, width), is_numeric)| {
                if *is_numeric { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") }
            });
            writeln!(formatter, "{}", cells.collect::<String>().trim_end())?;
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
        Some(value) if value >= 100.0 => grouped(value.round() as u64),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// A count with its thousands apart.
fn grouped(value: u64) -> String {
    if value < 1000 {
        return value.to_string();
    }
    format!("{},{:03}", grouped(value / 1000), value % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let mut table = Table::new("Title", ["name", "a second"]);
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
