//! The names of layers that lie on others.

use hwb_ident::Digest;

/// The chain id of layers that are applied in this order: the name of the tree that comes out. `None` if there are
/// none.
///
/// A layer alone has its diff id; on others it has the digest of their chain id, a blank, and its diff id.
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    let (first, rest) = diff_ids.split_first()?;
    Some(rest.iter().fold(*first, on))
}

/// The chain id of each layer, lowest first.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut below = None;
    let name = |diff_id: &Digest| {
        let chain_id = below.map_or(*diff_id, |below| on(below, diff_id));
        below = Some(chain_id);
        chain_id
    };
    diff_ids.iter().map(name).collect()
}

fn on(below: Digest, diff_id: &Digest) -> Digest {
    Digest::of(format!("{below} {diff_id}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_depends_on_those_below() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        let ab = Digest::of(format!("{a} {b}").as_bytes());
        let abc = Digest::of(format!("{ab} {c}").as_bytes());
        assert_eq!(chain_ids(&[a, b, c]), [a, ab, abc]);
        assert_eq!(chain_id(&[a, b, c]), Some(abc));
        assert_eq!(chain_id(&[a]), Some(a));
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_ids(&[]), []);
        assert_ne!(chain_id(&[b, a]), Some(ab));
    }
}
