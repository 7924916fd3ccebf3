//! Columns for people.

use unicode_width::UnicodeWidthStr as _;

/// Lines whose columns stand below each other; the last column is as long as it is.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let widths = std::array::from_fn::<usize, N, _>(|column| {
        rows.iter().map(|row| width(&row[column])).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < N {
                line.push_str(&" ".repeat(widths[column] - width(cell) + 2));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How many columns of a terminal a cell takes; styles take none.
fn width(cell: &str) -> usize {
    anstream::adapter::strip_str(cell).to_string().width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["a", "日本", "x"], ["long", "b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "a     日本  x\nlong  b\n");
        assert_eq!(columns::<2>(&[]), "");
    }
}
