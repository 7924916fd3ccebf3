//! Build requirements that exist only as sdists: built by the ordinary way, one level further down.

use std::sync::Arc;

use hwb_ident::PackageName;
use hwb_uv::{BuildFailure, SdistBuilder, SdistRequest};

use crate::artifact::{self, Promise};
use crate::build::cell::{self, Inputs};
use crate::error::{Error, ErrorKind};
use crate::event::{Cell, Event};
use crate::source;
use crate::world::{Phases, World};

/// How many builds may wait for each other.
const DEEPEST: usize = 8;

/// Builds sdists for the resolver, remembering which builds wait for it.
#[derive(Debug)]
pub(crate) struct NestedBuilder {
    world: Arc<World>,
    chain: Vec<PackageName>,
}

/// Why a requirement cannot be built.
#[derive(Debug, thiserror::Error)]
enum NestedError {
    /// It needs itself.
    #[error("the build requirements form a cycle: {0}")]
    Cycle(String),
    /// There is no end to it.
    #[error("build requirements are nested more than {DEEPEST} deep: {0}")]
    Deep(String),
    /// The wheel cannot be handed over.
    #[error("failed to hand over the built wheel")]
    Hand(#[source] std::io::Error),
}

impl NestedBuilder {
    pub(crate) fn new(world: Arc<World>, chain: &[PackageName]) -> Self {
        Self { world, chain: chain.to_vec() }
    }

    fn extend(&self, name: Option<&PackageName>) -> Result<Vec<PackageName>, Error> {
        let mut chain = self.chain.clone();
        let Some(name) = name else { return Ok(chain) };
        let is_cycle = chain.contains(name);
        chain.push(name.clone());
        let shown = || chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ");
        if is_cycle {
            return Err(Error::new(ErrorKind::Resolution, NestedError::Cycle(shown())));
        }
        if chain.len() > DEEPEST {
            return Err(Error::new(ErrorKind::Resolution, NestedError::Deep(shown())));
        }
        Ok(chain)
    }

    fn build(&self, request: &SdistRequest) -> Result<String, Error> {
        let chain = self.extend(request.name.as_ref())?;
        let world = &self.world;
        let name =
            request.name.as_ref().map_or_else(|| "a build requirement".to_owned(), ToString::to_string);
        world.tell(Event::Note { message: format!("building `{name}` from source: a build needs it") });
        let directory = match &request.subdirectory {
            Some(subdirectory) => request.source_tree.join(subdirectory),
            None => request.source_tree.clone(),
        };
        let tree = source::acquire_directory(world, &directory)?;
        let inputs = Inputs { chain, ..Inputs::default() };
        let mut phases = Phases::new(world, Cell(usize::MAX));
        let python = cell::find_python(
            world,
            &tree.read_project()?,
            Some(&request.python.to_string_lossy()),
            &mut phases,
        )?;
        let built = cell::build_wheel(world, &tree, &python, &inputs, &mut phases)?;
        let promise = Promise { name: request.name.clone(), version: None };
        let finished = artifact::finish_wheel(built.directory(), &built.file, &promise, tree.epoch)?;
        fs_err::write(request.destination.join(&finished.file), &finished.bytes)
            .map_err(|source| Error::new(ErrorKind::Machine, NestedError::Hand(source)))?;
        Ok(finished.file)
    }
}

impl SdistBuilder for NestedBuilder {
    fn build_wheel(&self, request: &SdistRequest) -> Result<String, BuildFailure> {
        self.build(request).map_err(BuildFailure::from)
    }
}
