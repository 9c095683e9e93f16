//! Construction of a host: runs the embedder's setups, then creates the shard.

use super::{Host, HostParts};
use crate::handler::{Handle, Label, Setup, SetupError, Setups, Watch};
use std::sync::Arc;

impl Host {
    /// Creates a host after running the setups of its shard.
    ///
    /// # Errors
    ///
    /// The [`SetupError`] of the first setup that fails or panics.
    pub(crate) fn build(
        mut parts: HostParts,
        setups: &Setups,
        watch: Watch,
    ) -> Result<Self, SetupError> {
        let mut setup = Setup::new(Handle::new(Arc::clone(&parts.core), parts.id));
        for set_up in setups.iter() {
            if watch.run(Label::SETUP, || set_up(&mut setup)).is_err() {
                return Err(SetupError::panicked());
            }
        }
        let routes_count = parts.settings.shard.routes.len();
        let mut registry = setup.finish(routes_count)?;
        let mut settings = (*parts.settings.shard).clone();
        registry.apply_to(&mut settings)?;
        parts.settings.shard = Arc::new(settings);
        watch.name(std::mem::take(&mut registry.labels));
        Ok(Self::new(parts, registry, watch))
    }
}
