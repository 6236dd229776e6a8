//! `--artifact-limit`, for every command that inspects components.

use warren_model::component::{Limits, Setting};

#[derive(Clone, Debug, Default, clap::Args)]
pub struct ArtifactLimits {
    /// Limit of what a component may contain: function-size, locals, block-depth, signature,
    /// nesting, modules, instances, functions, memories, tables, definitions or type-size; may be
    /// repeated
    #[arg(long = "artifact-limit", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<Setting>,
}

impl ArtifactLimits {
    pub fn limits(&self) -> Limits {
        Limits::default().changed(&self.settings)
    }
}

fn setting(text: &str) -> Result<Setting, String> {
    text.parse().map_err(|error| format!("{error}"))
}
