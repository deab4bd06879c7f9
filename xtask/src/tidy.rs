//! Checks.
pub(crate) fn tidy(_ws: &crate::workspace::Workspace) -> anyhow::Result<()> {
    Ok(())
}
