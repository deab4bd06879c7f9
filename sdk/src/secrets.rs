//! What comes of secrets that only the host holds. The host adds them to requests by itself.

pub use crate::__bindings::host::sandbox_broker::plugin::secrets::{SasRequest, azure_service_sas, reveal};
