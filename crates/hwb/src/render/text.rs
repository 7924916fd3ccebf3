//! Numbers, times and paths for people.

use std::path::Path;
use std::time::Duration;

use hwb_ident::Timestamp;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// `512 B`, `12.3 KiB`, `4.0 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit_size = 1024_u64;
    for unit in ["KiB", "MiB", "GiB"] {
        let is_last = unit == "GiB";
        if bytes < 1024 {
            break;
        }
        if is_last || bytes / unit_size < 1024 {
            let (whole, rest) = (bytes / unit_size, bytes % unit_size);
            return format!("{whole}.{} {unit}", rest * 10 / unit_size);
        }
        unit_size *= 1024;
    }
    format!("{bytes} B")
}

/// `0.3s`, `12.0s`, `3m 05s`, `1h 02m`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}.{}s", time.subsec_millis() / 100),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `2025-03-09 14:05:00Z`.
pub(crate) fn time(time: Timestamp) -> String {
    let civil = time.civil();
    format!(
        "{}-{:02}-{:02} {:02}:{:02}:{:02}Z",
        civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second
    )
}

/// A path as seen from the working directory, if it is below it.
pub(crate) fn path(path: &Path, cwd: &Path) -> String {
    let seen = path.strip_prefix(cwd).ok().filter(|path| !path.as_os_str().is_empty());
    seen.unwrap_or(path).display().to_string()
}

/// Foreign text as a terminal may have it: tabs and line ends are kept, colours dropped, and every other character that
/// could move the cursor, reorder or command is spelled out.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\x1b' if let Some(rest) = after_colour(letters.as_str()) => letters = rest.chars(),
            '\n' | '\t' => shown.push(letter),
            '\r' => shown.push_str("\\r"),
            letter if letter.is_control() => shown.push_str(&format!("\\x{:02x}", u32::from(letter))),
            // What makes text run the other way shows it as something that it is not.
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(letter.escape_unicode());
            }
            letter => shown.push(letter),
        }
    }
    shown
}

/// What follows the rest of a sequence that sets colours and nothing else.
fn after_colour(text: &str) -> Option<&str> {
    let is_number = |letter: char| letter.is_ascii_digit() || letter == ';';
    text.strip_prefix('[')?.trim_start_matches(is_number).strip_prefix('m')
}

/// A line of foreign output in one row: what a progress bar would show last, without its escape sequences, and
/// [`visible`].
pub(crate) fn row(line: &str) -> String {
    let line = anstream::adapter::strip_str(line).to_string();
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line).replace('\t', "    ");
    visible(&line).replace('\n', "\\n")
}

/// As much of the text as `columns` hold.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut width = 0;
    for letter in text.chars() {
        width += letter.width().unwrap_or(0);
        if width >= columns {
            break;
        }
        kept.push(letter);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |bytes: u64, expect: &str| assert_eq!(size(bytes), expect);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check(12_600, "12.3 KiB");
        check(1024 * 1024 - 1, "1023.9 KiB");
        check(1024 * 1024, "1.0 MiB");
        check(5 * 1024 * 1024 * 1024 * 1024, "5120.0 GiB");
    }

    #[test]
    fn times() {
        let check = |millis: u64, expect: &str| assert_eq!(elapsed(Duration::from_millis(millis)), expect);
        check(0, "0.0s");
        check(340, "0.3s");
        check(59_999, "59.9s");
        check(185_000, "3m 05s");
        check(3_720_000, "1h 02m");
        assert_eq!(time(Timestamp::from_seconds(315_532_800)), "1980-01-01 00:00:00Z");
    }

    #[test]
    fn rows_are_safe() {
        let check = |line: &str, expect: &str| assert_eq!(row(line), expect);
        check("plain", "plain");
        check("\x1b[31mred\x1b[0m\tnext", "red    next");
        check("10%\r50%\r100%\r", "100%");
        check("bell\x07\x1b]0;title\x07!", "bell!");
        check("two\nlines", "two\\nlines");
    }

    #[test]
    fn what_commands_a_terminal_is_spelled_out() {
        let check = |text: &str, expect: &str| assert_eq!(visible(text), expect);
        check("plain\n\ttext, grüße, 日本語 🎈", "plain\n\ttext, grüße, 日本語 🎈");
        check("\x1b[2J\x1b]52;c;cm0=\x07", "\\x1b[2J\\x1b]52;c;cm0=\\x07");
        check("a\rb\x08\x7f\0", "a\\rb\\x08\\x7f\\x00");
        check("\u{9b}31m", "\\x9b31m");
        check("\x1b[1;31mred\x1b[0m \x1b[31", "red \\x1b[31");
        check("a\u{202e}b", "a\\u{202e}b");
    }

    #[test]
    fn fits() {
        let check = |text: &str, columns: usize, expect: &str| assert_eq!(fit(text, columns), expect);
        check("hello", 5, "hello");
        check("hello!", 5, "hell…");
        check("日本語", 6, "日本語");
        check("日本語", 5, "日本…");
        check("日本語", 4, "日…");
        check("x", 0, "");
    }

    #[test]
    fn paths_below_the_working_directory_are_short() {
        assert_eq!(path(Path::new("/a/b/c"), Path::new("/a")), "b/c");
        assert_eq!(path(Path::new("/a"), Path::new("/a")), "/a");
        assert_eq!(path(Path::new("/b/c"), Path::new("/a")), "/b/c");
    }
}
