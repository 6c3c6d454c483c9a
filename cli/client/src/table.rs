//! Plain-text tables.

use crate::text::{sanitize, truncate, width};

/// Formats rows as aligned columns; the last one is truncated so that a row fits into `columns`. Every cell
/// is sanitized.
pub fn format_table(header: &[&str], rows: &[Vec<String>], columns: usize) -> String {
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| sanitize(cell)).collect()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|index| {
            rows.iter()
                .chain([&header])
                .filter_map(|row| row.get(index))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let before_last: usize = widths.iter().rev().skip(1).map(|wide| wide + 2).sum();
    let last = columns.saturating_sub(before_last).max(10);
    std::iter::once(&header).chain(&rows).map(|row| line(row, &widths, last)).collect::<Vec<_>>().join("\n")
}

fn line(row: &[String], widths: &[usize], last: usize) -> String {
    let mut out = String::new();
    for (index, cell) in row.iter().enumerate() {
        if index + 1 == row.len() {
            out.push_str(&truncate(cell, last));
        } else {
            out.push_str(cell);
            out.push_str(&" ".repeat((widths[index] + 2).saturating_sub(width(cell))));
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_table_aligns_columns_and_keeps_each_row_on_one_line() {
        let rows = vec![
            vec!["videos/1".into(), "READY".into(), "one\ntwo".into()],
            vec!["videos/映画".into(), "FAILED".into(), "x".repeat(200)],
        ];
        let table = format_table(&["NAME", "STATE", "TITLE"], &rows, 60);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = |line: &str, word: &str| width(&line[..line.find(word).unwrap()]);
        assert_eq!(column(lines[0], "STATE"), column(lines[1], "READY"));
        assert_eq!(column(lines[0], "STATE"), column(lines[2], "FAILED"));
        assert!(lines.iter().all(|line| width(line) <= 60));
    }
}
