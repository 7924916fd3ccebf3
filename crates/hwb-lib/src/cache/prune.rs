//! `hwb cache prune`: what nothing needs goes, and more if that is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use hwb_ident::Timestamp;
use hwb_snapshot::Snapshot;
use hwb_store::Store;
use hwb_store::store::{Alone, Item, Reach, Usage};

use super::plan::{Name, Names, Piece, Plan, Stock, Terms, blob_digest, plan};
use super::{BLOBS, CacheError, RECORDS, Removed, SNAPSHOTS, open, remove_failed};
use crate::ambient::Ambient;
use crate::error::{Error, ErrorKind};
use crate::image::{IMAGES, NamedParts, Needs, Parts, Reaching};
use crate::settings::Settings;

/// What may be there at any time; what is not there is fine to name.
const KINDS: [&str; 11] =
    [BLOBS, "cargo", "environments", "git", "history", "logs", "mirrors", RECORDS, "runs", SNAPSHOTS, "uv"];

/// What comes again by itself.
const RENEWABLE: [&str; 7] = [BLOBS, "cargo", "environments", "git", "mirrors", SNAPSHOTS, "uv"];

/// How much of what is there may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What no image that has a name and no run needs.
    Unneeded,
    /// The names of images and what they need too, but for names with a digest and what runs need.
    All,
}

/// What is to be removed. What processes left that died goes in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneRequest {
    /// Only these kinds; where none is named, parts of images, and with [`Scope::All`] whatever comes again by itself.
    pub kinds: Vec<String>,
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
    /// Only so much that the cache has no more bytes than this, the longest unused first.
    pub keep_size: Option<u64>,
    /// How much of it.
    pub scope: Scope,
}

impl PruneRequest {
    fn wants(&self, kind: &str) -> bool {
        match self.scope {
            _ if !self.kinds.is_empty() => self.kinds.iter().any(|wanted| wanted == kind),
            Scope::Unneeded => [BLOBS, SNAPSHOTS].contains(&kind),
            Scope::All => RENEWABLE.contains(&kind),
        }
    }

    fn terms(&self, clock: Timestamp) -> Terms {
        let names = match self.scope {
            Scope::All if self.wants(BLOBS) || self.wants(RECORDS) => Names::Go,
            Scope::All | Scope::Unneeded => Names::Stay,
        };
        let before = |age: Duration| Timestamp::from_seconds(clock.seconds().saturating_sub(age.as_secs()));
        Terms { scope: self.scope, names, unused_since: self.older_than.map(before), keep: self.keep_size }
    }
}

/// Removes some of the cache.
///
/// # Errors
///
/// If there is no such kind, or something cannot be removed.
pub fn prune(settings: &Settings, ambient: &Ambient, request: &PruneRequest) -> Result<Removed, Error> {
    let store = open(settings)?;
    let failed = |source| remove_failed(settings, source);
    let reach = Reaching { ambient };
    let there = store.kinds().map_err(failed)?;
    let is_known = |kind: &&String| KINDS.contains(&kind.as_str()) || there.contains(kind);
    if let Some(unknown) = request.kinds.iter().find(|kind| !is_known(kind)) {
        let hint = format!("there are {}", KINDS.join(", "));
        return Err(Error::new(ErrorKind::Usage, CacheError::UnknownKind(unknown.clone())).hint(hint));
    }
    let swept = store.swept(Some(&reach)).map_err(failed)?;
    let mut removed = Removed { bytes: swept.bytes, files: swept.files, ..Removed::default() };
    let Some(mut alone) = store.alone(Some(&reach)).map_err(failed)? else {
        removed.in_use = there.into_iter().filter(|kind| request.wants(kind)).collect();
        return Ok(removed);
    };
    let stock = take_stock(&store, &alone, request, Some(&reach))?;
    let Plan { names, pieces, left } = plan(&stock, &request.terms(ambient.clock));
    for Name { name, record } in names.iter().map(|number| &stock.names[*number]) {
        alone.discard(record).map_err(failed)?;
        removed.images.push(name.to_string());
    }
    removed.images.sort();
    for Piece { item, .. } in pieces.iter().map(|number| &stock.pieces[*number]) {
        alone.discard(item).map_err(failed)?;
    }
    let gone = alone.finish().map_err(failed)?;
    removed.bytes += gone.bytes;
    removed.files += gone.files;
    removed.left = request.keep_size.map(|_| left);
    Ok(removed)
}

/// Looks at what may go, and at who needs it. Nobody else uses the store.
fn take_stock(
    store: &Store,
    alone: &Alone<'_>,
    request: &PruneRequest,
    reach: Option<&dyn Reach>,
) -> Result<Stock, Error> {
    let needs = Needs::of(store)?;
    let held = alone.held()?;
    let mut pieces = Vec::new();
    for kind in store.kinds()?.iter().filter(|kind| request.wants(kind) && !held.contains(*kind)) {
        let items = alone.items(kind)?.into_iter();
        pieces.extend(items.filter(|item| !is_name(item)).map(|item| needed(store, item, &needs)));
    }
    let mut records = BTreeMap::new();
    if !needs.names.is_empty() {
        records.extend(alone.items(RECORDS)?.into_iter().map(|item| (item.name.clone(), item)));
    }
    let name = |NamedParts { name, record, .. }: &NamedParts| {
        // What is not there any more is removed easily.
        let absent = || Item { kind: RECORDS.to_owned(), name: record.clone(), usage: Usage::default() };
        Name { name: name.clone(), record: records.get(record).cloned().unwrap_or_else(absent) }
    };
    let total = match request.keep_size {
        Some(_) => store.usage(reach)?.into_values().sum::<Usage>().bytes,
        None => 0,
    };
    Ok(Stock { pieces, names: needs.names.iter().map(name).collect(), total })
}

/// Whether it is the name of an image: one of [`Stock::names`], or one that is held.
fn is_name(item: &Item) -> bool {
    item.kind == RECORDS && item.name.starts_with(IMAGES)
}

fn needed(store: &Store, item: Item, needs: &Needs) -> Piece {
    let is_part: Box<dyn Fn(&Parts) -> bool> = match item.kind.as_str() {
        BLOBS => {
            let digest = blob_digest(&item);
            Box::new(move |parts| digest.is_some_and(|digest| parts.blobs.contains(&digest)))
        }
        SNAPSHOTS => {
            let chain = Snapshot::new(store.place(&item)).chain_id();
            Box::new(move |parts| chain.is_some_and(|chain| parts.chains.contains(&chain)))
        }
        _ => Box::new(|_| false),
    };
    let names = needs.names.iter().enumerate();
    let needed_by = names.filter(|(_, named)| is_part(&named.parts)).map(|(number, _)| number).collect();
    Piece { needed_by, is_held: is_part(&needs.held), item }
}
