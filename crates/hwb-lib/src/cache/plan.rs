//! What is to be removed, decided before anything is.

use std::collections::BTreeSet;

use hwb_ident::{Digest, ImageReference, Timestamp};
use hwb_store::store::Item;

use super::Scope;

/// What can be removed, and who needs it.
#[derive(Debug, Default)]
pub(super) struct Stock {
    pub(super) pieces: Vec<Piece>,
    pub(super) names: Vec<Name>,
    /// Bytes of everything.
    pub(super) total: u64,
}

/// An item, and who needs it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) item: Item,
    /// Which of [`Stock::names`].
    pub(super) needed_by: BTreeSet<usize>,
    /// Whether something needs it that does not go: a name with a digest, or a run.
    pub(super) is_held: bool,
}

/// A name of an image.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) name: ImageReference,
    /// What the name is kept as.
    pub(super) record: Item,
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) scope: Scope,
    /// Whether names go.
    pub(super) names: Names,
    /// Nothing that was used later.
    pub(super) unused_since: Option<Timestamp>,
    /// No more than it takes to come down to so many bytes.
    pub(super) keep: Option<u64>,
}

/// Whether names go with what they lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    Stay,
    Go,
}

/// What goes, in this order: names first, so that none is left of which a part is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Which of [`Stock::names`].
    pub(super) names: Vec<usize>,
    /// Which of [`Stock::pieces`].
    pub(super) pieces: Vec<usize>,
    /// Bytes that are left.
    pub(super) left: u64,
}

/// Something that goes in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Piece(usize),
    Name(usize),
}

/// Decides what goes: first what nothing needs, then, if that is asked for, the rest; each the longest unused first.
pub(super) fn plan(stock: &Stock, terms: &Terms) -> Plan {
    let mut steps: Vec<(bool, Timestamp, Step)> = Vec::new();
    for (number, piece) in stock.pieces.iter().enumerate() {
        if piece.may_go(terms.scope) {
            let is_needed = piece.is_held || !piece.needed_by.is_empty();
            steps.push((is_needed, piece.item.used(), Step::Piece(number)));
        }
    }
    if terms.names == Names::Go {
        let names = stock.names.iter().enumerate();
        steps.extend(names.map(|(number, name)| (true, name.record.used(), Step::Name(number))));
    }
    steps.sort_unstable();
    let mut gone = Gone { stock, terms, names: BTreeSet::new(), pieces: BTreeSet::new(), left: stock.total };
    for (_, used, step) in steps {
        if terms.keep.is_some_and(|keep| gone.left <= keep) {
            break;
        }
        if gone.is_old(used) {
            gone.take(step);
        }
    }
    Plan {
        names: gone.names.into_iter().collect(),
        pieces: gone.pieces.into_iter().collect(),
        left: gone.left,
    }
}

impl Piece {
    /// Whether it goes by itself. What is unpacked comes again from what is packed, whoever needs it.
    fn may_go(&self, scope: Scope) -> bool {
        let is_free = !self.is_held && self.needed_by.is_empty();
        is_free || scope == Scope::All && self.item.kind == super::SNAPSHOTS
    }
}

/// What goes as far as it is known.
struct Gone<'a> {
    stock: &'a Stock,
    terms: &'a Terms,
    names: BTreeSet<usize>,
    pieces: BTreeSet<usize>,
    left: u64,
}

impl Gone<'_> {
    fn is_old(&self, used: Timestamp) -> bool {
        self.terms.unused_since.is_none_or(|since| used <= since)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Piece(number) => self.take_piece(number),
            Step::Name(number) => {
                self.names.insert(number);
                self.left = self.left.saturating_sub(self.stock.names[number].record.usage.bytes);
                for (number, piece) in self.stock.pieces.iter().enumerate() {
                    let was_needed = !piece.is_held && !piece.needed_by.is_empty();
                    let is_free = was_needed && piece.needed_by.is_subset(&self.names);
                    if is_free && self.is_old(piece.item.used()) {
                        self.take_piece(number);
                    }
                }
            }
        }
    }

    fn take_piece(&mut self, number: usize) {
        if self.pieces.insert(number) {
            self.left = self.left.saturating_sub(self.stock.pieces[number].item.usage.bytes);
        }
    }
}

/// The digest that a blob is called by.
pub(super) fn blob_digest(item: &Item) -> Option<Digest> {
    let hex: String = item.name.iter().map(|part| part.to_string_lossy()).collect();
    format!("sha256:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use hwb_store::store::Usage;

    use super::*;

    fn item(kind: &str, name: &str, day: u64) -> Item {
        let changed = Some(Timestamp::from_seconds(day * 86_400));
        Item { kind: kind.to_owned(), name: name.into(), usage: Usage { bytes: 10, files: 1, changed } }
    }

    /// Two images that share a blob, one that a digest names or a run needs, what nothing needs, and what is no image.
    fn stock() -> Stock {
        let piece = |kind: &str, name: &str, day: u64, needed_by: &[usize]| Piece {
            item: item(kind, name, day),
            needed_by: needed_by.iter().copied().collect(),
            is_held: name.starts_with("held"),
        };
        let name =
            |name: &str, day: u64| Name { name: name.parse().unwrap(), record: item("records", name, day) };
        Stock {
            pieces: vec![
                piece("blobs", "free", 20, &[]),
                piece("blobs", "old", 1, &[0]),
                piece("blobs", "shared", 2, &[0, 1]),
                piece("blobs", "new", 19, &[1]),
                piece("blobs", "held", 1, &[0]),
                piece("snapshots", "old", 3, &[0]),
                piece("snapshots", "held", 3, &[]),
                piece("snapshots", "free", 4, &[]),
                piece("uv", "", 5, &[]),
            ],
            names: vec![name("old", 6), name("new", 19)],
            total: 200,
        }
    }

    #[test]
    fn what_is_asked_for_goes() {
        let check = |terms: Terms, names: &[&str], pieces: &str, left: u64| {
            let stock = stock();
            let plan = plan(&stock, &terms);
            let shown: Vec<_> = plan
                .pieces
                .iter()
                .map(|number| &stock.pieces[*number].item)
                .map(|item| format!("{}:{}", item.kind, item.name.display()))
                .collect();
            let gone: Vec<_> = plan.names.iter().map(|number| stock.names[*number].name.familiar()).collect();
            assert_eq!(
                (gone.as_slice(), shown.join(" ").as_str(), plan.left),
                (&names.iter().map(|name| format!("{name}:latest")).collect::<Vec<_>>()[..], pieces, left),
                "{terms:?}"
            );
        };
        let terms = |scope, day: Option<u64>, keep: Option<u64>| Terms {
            scope,
            names: if scope == Scope::All { Names::Go } else { Names::Stay },
            unused_since: day.map(|day| Timestamp::from_seconds(day * 86_400)),
            keep,
        };
        let free = "blobs:free snapshots:free uv:";
        check(terms(Scope::Unneeded, None, None), &[], free, 170);
        check(terms(Scope::Unneeded, Some(10), None), &[], "snapshots:free uv:", 180);
        // The longest unused first, and no more than it takes.
        check(terms(Scope::Unneeded, None, Some(195)), &[], "snapshots:free", 190);
        check(terms(Scope::Unneeded, None, Some(185)), &[], "snapshots:free uv:", 180);
        check(terms(Scope::Unneeded, None, Some(0)), &[], free, 170);
        check(terms(Scope::Unneeded, None, Some(200)), &[], "", 200);
        let all =
            "blobs:free blobs:old blobs:shared blobs:new snapshots:old snapshots:held snapshots:free uv:";
        check(terms(Scope::All, None, None), &["old", "new"], all, 100);
        // A shared blob stays as long as one of its images does.
        let old = "blobs:old snapshots:old snapshots:held snapshots:free uv:";
        check(terms(Scope::All, Some(10), None), &["old"], old, 140);
        // What is needed goes when what is not did not suffice.
        check(
            terms(Scope::All, None, Some(165)),
            &[],
            &format!("blobs:free snapshots:old {}", "snapshots:free uv:"),
            160,
        );
        check(terms(Scope::All, None, Some(145)), &["old"], &format!("blobs:free {old}"), 130);
    }
}
