//! The names of layers that lie on others.

use hwb_ident::Digest;

/// The chain id of each layer, lowest first: the name of the tree that comes out where it is applied to those below.
///
/// A layer alone has its diff id; on others it has the digest of their chain id, a blank, and its diff id.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut below = None;
    let name = |diff_id: &Digest| {
        let chain_id =
            below.map_or(*diff_id, |below: Digest| Digest::of(format!("{below} {diff_id}").as_bytes()));
        below = Some(chain_id);
        chain_id
    };
    diff_ids.iter().map(name).collect()
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
        assert_eq!(chain_ids(&[]), []);
        assert_ne!(chain_ids(&[b, a])[1], ab);
    }
}
