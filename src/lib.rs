//! modelcache: fills volumes with models from the Hugging Face Hub, and says what is wrong when it cannot.

pub mod api;
pub mod hub;
pub mod reason;
