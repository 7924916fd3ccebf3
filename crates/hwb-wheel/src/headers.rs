//! Fields as e-mail writes them (RFC 822), which core metadata and `WHEEL` borrow.

/// Fields in order, then what follows the first empty line.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    /// Names in lower case; values trimmed, with their continuation lines.
    fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Headers {
    /// Reads what Python's `email` would. A line that is no field ends the fields, as an empty one does.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = decode(bytes);
        let mut rest = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut headers = Self::default();
        while !rest.is_empty() {
            let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
            let line = &rest[..end];
            let after = rest[end..].strip_prefix("\r\n").or_else(|| rest.get(end + 1..)).unwrap_or("");
            if line.is_empty() {
                after.clone_into(&mut headers.body);
                break;
            }
            if line.starts_with([' ', '\t']) {
                // Before the first field there is nothing that it could continue.
                if let Some((_, value)) = headers.fields.last_mut() {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_name(name)) {
                headers.fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            } else {
                rest.clone_into(&mut headers.body);
                break;
            }
            rest = after;
        }
        headers
    }

    /// Every value of a field; `name` is in lower case.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.trim())
    }

    /// The first value of a field.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.trim())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// UTF-8, and Latin-1 for the lines that are not.
fn decode(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let decode_line = |line: &[u8]| {
        std::str::from_utf8(line)
            .map_or_else(|_| line.iter().copied().map(char::from).collect(), str::to_owned)
    };
    bytes.split_inclusive(|&byte| byte == b'\n').map(decode_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], fields: &[(&str, &str)], body: &str) {
        let headers = Headers::parse(bytes);
        let found: Vec<_> =
            headers.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, fields);
        assert_eq!(headers.body, body);
    }

    #[test]
    fn reads_fields_and_body() {
        check(b"", &[], "");
        check(b"Name: a\nVersion:1\n", &[("name", "a"), ("version", "1")], "");
        check(b"Name: a\r\n\r\nbody: x\r\n", &[("name", "a")], "body: x\r\n");
        check(b"\xef\xbb\xbfName: a", &[("name", "a")], "");
        check(b"A: b\n  c\n\td\nE: f", &[("a", "b\n  c\n\td"), ("e", "f")], "");
        check(b" stray\nA: b", &[("a", "b")], "");
        check(b"A: b\nno field here\nC: d", &[("a", "b")], "no field here\nC: d");
        check(b"A: caf\xe9\nB: caf\xc3\xa9\n\n\xe9", &[("a", "café"), ("b", "café")], "é");
    }
}
