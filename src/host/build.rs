//! How a host comes to be: what is set up on its shard, then the shard itself.

use super::{Host, HostParts};
use crate::handler::{Handle, Label, Setup, SetupError, Setups, Watch};
use std::sync::Arc;

impl Host {
    /// A host with everything that is set up on its shard.
    ///
    /// # Errors
    ///
    /// If something cannot be set up.
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
        let mut program = setup.finish(routes_count)?;
        let mut settings = (*parts.settings.shard).clone();
        program.settle(&mut settings)?;
        parts.settings.shard = Arc::new(settings);
        watch.name(std::mem::take(&mut program.labels));
        Ok(Self::new(parts, program, watch))
    }
}
