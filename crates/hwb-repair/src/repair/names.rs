//! What grafted libraries are called.

use hwb_ident::Digest;

/// So much of a digest tells libraries of one name apart.
const DIGITS: usize = 8;

/// The name of a library in the wheel: its own, with the start of its digest before the ending, so that two wheels in
/// one process never take each other's.
pub(super) fn graft(file_name: &str, digest: &Digest) -> String {
    let hash = &digest.hex()[..DIGITS];
    let at = file_name.find(".so").or_else(|| file_name.find('.')).filter(|at| *at > 0);
    let (stem, ending) = file_name.split_at(at.unwrap_or(file_name.len()));
    if stem.ends_with(&format!("-{hash}")) { file_name.to_owned() } else { format!("{stem}-{hash}{ending}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_known_of_a_library() {
        let digest = Digest::of(b"library");
        let hash = &digest.hex()[..8];
        for (name, expect) in [
            ("libz.so.1.2.13", format!("libz-{hash}.so.1.2.13")),
            ("libglib-2.0.so.0.5600.4", format!("libglib-2.0-{hash}.so.0.5600.4")),
            ("libfoo", format!("libfoo-{hash}")),
            ("libfoo.1", format!("libfoo-{hash}.1")),
            (".so", format!(".so-{hash}")),
        ] {
            assert_eq!(graft(name, &digest), expect);
            assert_eq!(graft(&expect, &digest), expect, "a second time");
        }
    }
}
