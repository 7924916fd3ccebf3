//! Values of arguments that are more than one word.

use std::time::Duration;

use hwb_lib::settings::ValueError;

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Parses `KEY=VALUE`; the value may hold more of `=`.
pub(super) fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Pair { key: key.to_owned(), value: value.to_owned() }),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Parses `KEY=VALUE` or `KEY`, which has an empty value.
pub(super) fn config_setting(text: &str) -> Result<Pair, String> {
    if text.is_empty() || text.contains('=') {
        return pair(text);
    }
    Ok(Pair { key: text.to_owned(), value: String::new() })
}

/// Parses a JSON object.
pub(super) fn json_object(text: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(value),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses `90`, `90s`, `10m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    hwb_lib::settings::parse_duration(text)
}

/// Parses `30d` and `2w` besides.
pub(super) fn age(text: &str) -> Result<Duration, ValueError> {
    let seconds = |unit, days: u64| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(days * 86_400);
    match seconds('d', 1).or_else(|| seconds('w', 7)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_equals_sign() {
        let check = |text: &str, expect: Option<(&str, &str)>| {
            let found = pair(text).ok();
            let found = found.as_ref().map(|pair| (pair.key.as_str(), pair.value.as_str()));
            assert_eq!(found, expect, "{text}");
        };
        check("A=b", Some(("A", "b")));
        check("A=b=c", Some(("A", "b=c")));
        check("A=", Some(("A", "")));
        check("A", None);
        check("=b", None);
        assert_eq!(config_setting("--flag").unwrap().value, "");
        assert!(config_setting("").is_err());
    }

    #[test]
    fn ages_may_be_long() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(age(text).ok(), seconds.map(Duration::from_secs), "{text}");
        };
        check("30d", Some(2_592_000));
        check("2w", Some(1_209_600));
        check("1h30m", Some(5_400));
        check("0d", Some(0));
        for wrong in ["", "d", "1.5d", "-1d", "x", "99999999999999999999d", "18446744073709551615w"] {
            check(wrong, None);
        }
    }

    #[test]
    fn takes_objects_only() {
        assert!(json_object(r#"{"a": ["b"]}"#).is_ok());
        for wrong in ["[]", "1", "{", ""] {
            assert!(json_object(wrong).is_err(), "{wrong}");
        }
    }
}
